"""A run that NASA's archive would deny every granule ends before anything is written."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import maggjob
from maggjob.backend.settings import settings_of
from maggjob.catalog.catalog import Catalog
from maggjob.cli.results import BAD_INPUT
from maggjob.errors import AccessError, InputError
from maggjob.pipeline.reach import check_archive, check_region
from maggjob.pipeline.session import RunDescription
from maggjob.storage.credentials import CredentialSet, S3Credentials, write_private
from tests.granule_files import beam, write_granule
from tests.servers import Request, Server, server

NASA = "s3://nsidc-cumulus-prod-protected"
OURS = {"lithops": {}, "aws_s3": {"storage_bucket": "ours"}}
DENIAL = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    folder = tmp_path / "granules"
    folder.mkdir()
    write_granule(folder / "ATL06_20190222031200_08500211_006_01.h5", {"gt1l": beam(60)})
    here = maggjob.make_catalog(folder)
    moved = [replace(entry, urls={"s3": f"{NASA}/{entry.id}.h5"}) for entry in here.granules]
    return replace(here, granules=tuple(moved))


def config(home: str | None, **section: Any) -> dict[str, Any]:
    return OURS | {"aws": {"region": home} if home else {}, "aws_lambda": {"runtime": "m:1", **section}}


def run_of(*urls: str) -> RunDescription:
    return RunDescription("s3://ours/map.zarr", "all", {"cells": 1}, {}, urls)


@pytest.mark.parametrize(
    ("given", "urls", "refused"),
    [
        (config("eu-central-1"), [f"{NASA}/a.h5"], "eu-central-1"),
        (config("us-west-2", region="us-east-1"), [f"{NASA}/a.h5"], "us-east-1"),
        (config("eu-central-1"), ["s3://mine/a.h5", f"{NASA}/a.h5"], "eu-central-1"),
        (config("us-west-2"), [f"{NASA}/a.h5"], None),
        (config(None), [f"{NASA}/a.h5"], None),
        (config("eu-central-1"), ["s3://mine/a.h5", "https://data.nsidc.earthdatacloud.nasa.gov/a.h5"], None),
        (config("eu-central-1"), [], None),
    ],
    ids=["elsewhere", "function", "mixed", "there", "unknown", "others", "none"],
)
def test_workers_elsewhere_are_refused_for_s3_of_the_archive(
    given: dict[str, Any], urls: list[str], refused: str | None
) -> None:
    settings = settings_of("aws_lambda", 1, given=given)
    if refused is None:
        check_region(settings, run_of(*urls))
        return
    with pytest.raises(InputError, match=rf"workers are in {refused}, .*us-west-2 only.*/a\.h5; .*--driver https"):
        check_region(settings, run_of(*urls))


def test_local_workers_are_not_asked_for_a_region() -> None:
    settings = settings_of("localhost", 1, given=config("eu-central-1"))
    check_region(settings, run_of(f"{NASA}/a.h5"))


def test_a_run_elsewhere_writes_nothing(catalog: Catalog, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    with server(lambda request: request.reply(500)) as archive, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", archive.url())
        with pytest.raises(InputError, match="workers are in eu-central-1"):
            maggjob.run(
                "atl06.yaml",
                catalog=catalog,
                store="s3://ours/map.zarr",
                backend="lambda",
                lithops_config=config("eu-central-1"),
            )
        assert archive.seen == []
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """NASA's archive as it is outside of us-west-2, with a login."""
    until = datetime.now(UTC) + timedelta(hours=1)
    issued = CredentialSet({"NSIDC": S3Credentials("ASIA", "s3cret", "s3ssion", until)})
    monkeypatch.setattr("maggjob.storage.earthdata.login", object)
    monkeypatch.setattr("maggjob.storage.earthdata.obtain", lambda urls, auth: issued)

    def answer(request: Request) -> None:
        request.reply(403, DENIAL)

    with server(answer) as archive:
        monkeypatch.setenv("AWS_ENDPOINT_URL", archive.url())
        yield archive


@pytest.mark.parametrize("backend", ["serial", "localhost"])
def test_a_local_run_that_is_denied_ends_at_once(
    catalog: Catalog, closed: Server, tmp_path: Path, backend: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(AccessError, match=r"us-west-2 only\); elsewhere, give --driver https") as caught:
        maggjob.run("atl06.yaml", catalog=catalog, store=tmp_path / "map.zarr", backend=backend)
    # As for bad input: there is nothing to go on with.
    assert not getattr(caught.value, "unfinished", False)
    assert sorted(tmp_path.rglob("*")) == before
    assert 1 <= len(closed.seen) <= 2


def test_the_command_exits_as_for_bad_input(
    catalog: Catalog,
    closed: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from maggjob.cli import commands

    catalog.write(tmp_path / "catalog.json")
    words = ["run", "--config", "atl06.yaml", "--catalog", str(tmp_path / "catalog.json"), "--backend", "serial"]
    monkeypatch.setattr("sys.argv", ["maggjob", *words, "--store", str(tmp_path / "map.zarr")])
    with pytest.raises(SystemExit) as end:
        commands.main()
    assert end.value.code == BAD_INPUT
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert "elsewhere, give --driver https" in line
    assert not (tmp_path / "map.zarr.run").exists()


def test_what_is_wrong_with_one_granule_is_left_to_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "credentials.json"
    until = datetime.now(UTC) + timedelta(hours=1)
    write_private(path, CredentialSet({"NSIDC": S3Credentials("ASIA", "s3cret", "s3ssion", until)}))
    settings = settings_of("serial", 1)
    with server(lambda request: request.reply(404)) as archive:
        monkeypatch.setenv("AWS_ENDPOINT_URL", archive.url())
        check_archive(settings, run_of("s3://mine/b.h5"), str(path))
        assert archive.seen == []
        check_archive(settings, run_of("s3://mine/b.h5", f"{NASA}/a.h5"), str(path))
        assert [seen.path for seen in archive.seen] == ["/nsidc-cumulus-prod-protected/a.h5"]
