"""The job that knows no cells (`tests.pipeline.second_job`), on Lambda: the same table, calls and their cost."""

from pathlib import Path

import boto3
import pytest

from maggjob.pipeline.session import SessionOptions
from maggjob.pipeline.status import read_status
from tests.aws.world import World
from tests.granule_files import SEGMENTS, beam, write_granule
from tests.pipeline.second_job import table_of_means

DATASET = f"gt1l/{SEGMENTS}/h_li"


@pytest.fixture
def granules(aws: World, tmp_path: Path) -> list[Path]:
    """Return three granules, which also lie in a bucket; the third lacks the beam."""
    s3 = boto3.client("s3")
    for bucket in ("archive", "results"):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    paths = [tmp_path / f"ATL06_2019022203120{i}_085{i}0211_006_01.h5" for i in range(3)]
    for number, path in enumerate(paths):
        write_granule(path, {"gt1l" if number < 2 else "gt2l": beam(40 + number, seed=number)})
        s3.upload_file(str(path), "archive", path.name)
    return paths


@pytest.mark.dear("a Lambda run; those of the series and the scenes job are like it")
def test_a_second_job_runs_on_lambda(aws: World, granules: list[Path]) -> None:
    here = table_of_means([str(path) for path in granules], DATASET, "means", SessionOptions(backend="serial"))
    store = "s3://results/means"
    urls = [f"s3://archive/{path.name}" for path in granules]
    options = SessionOptions(backend="aws_lambda", lithops_config=aws.fresh_config(), deadline=600)
    summary = table_of_means(urls, DATASET, store, options)
    assert summary["table"] == here["table"]
    ledger = summary["tasks"]["map"]
    assert (ledger["tasks"], ledger["done"], ledger["failed"]) == (3, 2, 1)
    assert ledger["errors"]["worker"]["examples"][0]["what"] == granules[2].stem
    (stage,) = summary["stages"]
    assert (stage["name"], stage["calls"], stage["failed"]) == ("map", 3, 1)
    assert stage["billed_s"] > 0
    status = read_status(store)
    assert (status.stage, status.result) == ("done", summary)
    # Requests to buckets are added to what the calls cost.
    assert status.dollars == summary["dollars"] > stage["dollars"]
