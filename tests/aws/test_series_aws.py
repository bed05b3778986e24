"""The series job on Lambda: from a search of CMR to a bucket, with the same bytes as on this machine."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

import maggjob
from maggjob.backend.executor import run_tasks
from maggjob.config.series import load_series_config
from maggjob.pipeline.series import SeriesResult
from maggjob.simulator.sst import simulate_sst
from maggjob.storage.credentials import CredentialSet, S3Credentials
from tests import calls
from tests.aws.world import World
from tests.cmr_server import Cmr, serve

PODAAC, RESULTS = "podaac-ops-cumulus-protected", "results"
START, END = "2019-01-01", "2019-01-03"


def record(path: Path) -> dict[str, Any]:
    """Return a granule as CMR lists those of POCLOUD."""
    day = f"{path.name[:4]}-{path.name[4:6]}-{path.name[6:8]}"
    size = {"Name": path.name, "SizeInBytes": path.stat().st_size}
    return {
        "meta": {"concept-id": f"G{path.name[:8]}-POCLOUD"},
        "umm": {
            "GranuleUR": path.stem,
            "TemporalExtent": {"RangeDateTime": {"BeginningDateTime": f"{day}T09:00:00.000Z"}},
            "DataGranule": {"ArchiveAndDistributionInformation": [size]},
            "RelatedUrls": [{"Type": "GET DATA VIA DIRECT ACCESS", "URL": f"s3://{PODAAC}/{path.name}"}],
        },
    }


@pytest.fixture
def cmr(aws: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cmr]:
    """Return a stand-in for CMR that lists three days, which lie in PO.DAAC's bucket."""
    monkeypatch.chdir(tmp_path)
    there = {bucket.name for bucket in boto3.resource("s3").buckets.all()}
    for bucket in {PODAAC, RESULTS} - there:
        boto3.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    paths = simulate_sst("sst", start=START, end=END, every=12)
    for path in paths:
        boto3.client("s3").upload_file(str(path), PODAAC, path.name)
    with serve(Cmr([record(path) for path in paths])) as served:
        yield served


def run(aws: World, cmr: Cmr, store: str, **options: Any) -> SeriesResult:
    content = load_series_config("mur25_sst.yaml").model_dump()
    content["search"]["endpoint"] = cmr.endpoint
    lambda_options = {"backend": "aws_lambda", "lithops_config": aws.fresh_config(), "deadline": 600}
    done = maggjob.series(content, start=START, end=END, store=store, **(lambda_options | options))
    assert isinstance(done, SeriesResult)
    return done


def issue(monkeypatch: pytest.MonkeyPatch, centre: str) -> list[list[str]]:
    """Replace Earthdata's login by credentials of one data centre; return what they were asked for."""
    asked: list[list[str]] = []

    def obtain(urls: list[str], auth: object) -> CredentialSet:
        asked.append(urls)
        keys = S3Credentials("testing", "testing", "testing", datetime.now(UTC) + timedelta(hours=1))
        return CredentialSet({centre: keys})

    monkeypatch.setattr("maggjob.storage.earthdata.login", object)
    monkeypatch.setattr("maggjob.storage.earthdata.obtain", obtain)
    return asked


def objects(prefix: str) -> dict[str, bytes]:
    found = boto3.resource("s3").Bucket(RESULTS).objects.filter(Prefix=prefix)
    return {one.key: one.get()["Body"].read() for one in found}


@pytest.mark.dear("two whole runs, one of them on the emulator")
def test_lambda_gives_the_bytes_of_this_machine(aws: World, cmr: Cmr, monkeypatch: pytest.MonkeyPatch) -> None:
    # Lithops makes its bucket, which holds the credentials.
    run_tasks(calls.square, [1], backend="aws_lambda", config=aws.fresh_config())
    asked = issue(monkeypatch, "PODAAC")
    done = run(aws, cmr, f"s3://{RESULTS}/sst.zarr")
    assert done.complete, done.summary
    assert all(url.startswith(f"s3://{PODAAC}/") for url in asked[0])
    (stage,) = done.summary["stages"]
    assert (stage["name"], stage["calls"], stage["failed"]) == ("map", 3, 0)
    assert stage["billed_s"] > 0
    here = maggjob.series("mur25_sst.yaml", files="sst", start=START, end=END, store="sst.zarr", backend="serial")
    assert isinstance(here, SeriesResult)
    local = {
        f"sst.zarr/{p.relative_to('sst.zarr')}": p.read_bytes() for p in Path("sst.zarr").rglob("*") if p.is_file()
    }
    local |= {name: Path(name).read_bytes() for name in ("sst.nc", "sst.png")}
    cloud = {key: content for key, content in objects("sst").items() if not key.startswith("sst.zarr.run/")}
    assert cloud == local
    assert maggjob.read_status(f"s3://{RESULTS}/sst.zarr").stage == "done"
    # Nothing is left to do.
    assert run(aws, cmr, f"s3://{RESULTS}/sst.zarr").taken == 3


@pytest.mark.dear("a whole run on the emulator")
def test_credentials_of_another_data_centre_are_counted(aws: World, cmr: Cmr, monkeypatch: pytest.MonkeyPatch) -> None:
    issue(monkeypatch, "NSIDC")
    done = run(aws, cmr, f"s3://{RESULTS}/other.zarr", backend="serial")
    assert not done.complete
    assert done.summary["series"]["errors"].keys() == {"auth"}
    assert "PODAAC" in done.summary["series"]["errors"]["auth"]["examples"][0]["message"]
    assert not any(key.startswith("other.zarr/") for key in objects("other"))
