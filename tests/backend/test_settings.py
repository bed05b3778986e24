"""How many workers a run has where, and what those on Lambda cannot reach."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import maggjob
from maggjob.backend.settings import settings_of
from maggjob.backend.workers import default_workers
from maggjob.catalog.catalog import Catalog
from maggjob.config.load import builtin_configs
from maggjob.errors import InputError
from maggjob.pipeline.reach import check_reach
from maggjob.pipeline.session import RunDescription
from tests.granule_files import beam, write_granule


def settings(**section: Any) -> dict[str, Any]:
    return {
        "lithops": {},
        "aws": {"region": "eu-central-1"},
        "aws_s3": {"storage_bucket": "ours"},
        "aws_lambda": {"runtime": "maggjob:01", **section},
    }


@pytest.mark.parametrize(
    ("asked", "configured", "workers"),
    # What is asked for counts, also above the share of a user.
    [(None, 1700, 1700), (50, 1700, 50), (5000, 1700, 5000), (None, None, 400), (None, 3, 3), (1, 3, 1)],
)
def test_workers_on_lambda_are_those_of_its_configuration(
    asked: int | None, configured: int | None, workers: int
) -> None:
    given = settings(**({} if configured is None else {"max_workers": configured}))
    setting = settings_of("aws_lambda", 5, asked, given)
    assert setting.workers == workers
    assert setting.config is not None
    assert setting.config["aws_lambda"]["max_workers"] == workers  # or Lithops would start more
    assert setting.config["lithops"]["storage"] == "aws_s3"
    assert given["aws_lambda"].get("max_workers") == configured


@pytest.mark.parametrize(
    ("asked", "chosen", "workers"), [(None, 250, 250), (None, 9000, 300), (50, 250, 50), (700, 250, 700)]
)
def test_workers_on_lambda_are_chosen_below_the_share_of_a_user(asked: int | None, chosen: int, workers: int) -> None:
    limits: list[int] = []

    def choose(limit: int) -> int:
        limits.append(limit)
        return chosen

    setting = settings_of("aws_lambda", 5, asked, settings(max_workers=300), choose=choose)
    assert setting.workers == workers
    assert limits == ([300] if asked is None else [])


def test_workers_here_are_what_this_machine_feeds() -> None:
    assert settings_of("localhost", 1).workers == 1
    assert settings_of("localhost", 10**6).workers == default_workers()
    assert settings_of("localhost", 10**6, 3).workers == 3
    assert settings_of("serial", 10**6, 3).workers == 1


def test_where_the_buckets_are() -> None:
    assert settings_of("aws_lambda", 5, given=settings()).region == "eu-central-1"
    assert settings_of("aws_lambda", 5, given=settings(region="us-east-1")).region == "us-east-1"
    assert settings_of("aws_lambda", 5, given=settings(), region="us-west-2").region == "us-west-2"
    assert settings_of("localhost", 5).region is None


def test_where_credentials_go() -> None:
    assert settings_of("aws_lambda", 5, given=settings()).private_bucket == "ours"
    assert settings_of("localhost", 5, given=settings()).private_bucket is None
    for section in ({}, None):
        with pytest.raises(InputError, match="storage_bucket"):
            _ = settings_of("aws_lambda", 5, given=settings() | {"aws_s3": section}).private_bucket


def test_a_file_that_is_missing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no Lithops configuration .*x\.yaml; 'maggjob init --lithops'"):
        settings_of("aws_lambda", 5, given=tmp_path / "x.yaml")


@pytest.mark.parametrize(
    ("given", "asked", "said"),
    [
        (settings(max_workers=0), None, "max_workers of aws_lambda .* is 0"),
        (settings(max_workers="many"), None, "'many'"),
        (settings(runtime="maggjob:CHANGE-ME"), None, "still says CHANGE-ME"),
        ({"lithops": {}}, None, "no section 'aws_lambda'"),
        (settings(), 0, "max_workers is 0"),
    ],
    ids=["none", "word", "placeholder", "section", "asked"],
)
def test_a_configuration_that_cannot_be_used(given: dict[str, Any], asked: int | None, said: str) -> None:
    with pytest.raises(InputError, match=said):
        settings_of("aws_lambda", 5, asked, given)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    write_granule(tmp_path / "ATL06_20190222031200_08500211_006_01.h5", {"gt1l": beam(60)})
    return maggjob.make_catalog(tmp_path)


def remote(catalog: Catalog) -> Catalog:
    moved = [replace(e, urls={"s3": f"s3://archive/{e.id}.h5"}) for e in catalog.granules]
    return replace(catalog, granules=tuple(moved))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"store": "map.zarr"}, r"store map\.zarr: .*--store s3://BUCKET"),
        ({"store": "file:///tmp/map.zarr"}, r"store /tmp/map\.zarr"),
        ({"store": None}, r"store atl06\.zarr"),
        ({"indexes": "indexes"}, "indexes at indexes: .*--indexes s3://BUCKET"),
        ({"local": True}, "1 of 1 granules are local files, such as /.*ATL06_20190222031200.*maggjob catalog"),
    ],
    ids=["store", "file", "default", "indexes", "granules"],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_what_lies_here_is_refused_before_anything_is_written(
    catalog: Catalog, change: dict[str, Any], said: str, dry_run: bool
) -> None:
    options: dict[str, Any] = {"store": "s3://ours/map.zarr", "catalog": remote(catalog), "lithops_config": settings()}
    if change == {"local": True}:
        options["catalog"], change = catalog, {}
    content = yaml.safe_load(builtin_configs()["atl06.yaml"].read_text())
    content["data_source"]["sources"] = ["s3://archive"]
    config = Path("atl06.yaml")
    config.write_text(yaml.safe_dump(content))
    before = sorted(Path.cwd().rglob("*"))
    with pytest.raises(InputError, match=said):
        maggjob.run(config, backend="lambda", dry_run=dry_run, **(options | change))
    assert sorted(Path.cwd().rglob("*")) == before


def test_elsewhere_nothing_is_refused(catalog: Catalog) -> None:
    local, url = [g.urls["file"] for g in catalog.granules], "s3://archive/a.h5"
    for backend in ("localhost", "serial"):
        check_reach(backend, RunDescription("map.zarr", "all", {}, {}, local, {"indexes": "indexes"}))
    check_reach("aws_lambda", RunDescription("s3://ours/map.zarr", "all", {}, {}, [url], {"indexes": None}))
