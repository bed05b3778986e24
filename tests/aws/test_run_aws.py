"""Whole runs on Lambda, from a bucket to a bucket: the same bytes as here, and faults that end in the ledger."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest

import maggjob
from maggjob.catalog import Catalog
from maggjob.result import RunResult
from tests.aws.world import World

ARCHIVE, RESULTS = "archive", "results"
AREA = (-105.0, -76.0, -100.0, -75.0)


def make_buckets(*names: str) -> None:
    for name in names:
        boto3.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})


def simulated(bucket: str) -> Catalog:
    """Catalog of a few simulated granules, moved to a bucket."""
    paths = maggjob.simulate("granules", area=AREA, every=20, most=4)
    here = maggjob.make_catalog("granules")
    for path in paths:
        boto3.client("s3").upload_file(str(path), bucket, Path(path).name)
    moved = [replace(e, urls={"s3": f"s3://{bucket}/{Path(e.urls['file']).name}"}) for e in here.granules]
    return replace(here, granules=tuple(moved))


@pytest.fixture(scope="module")
def _buckets(aws_world: World) -> None:
    make_buckets(ARCHIVE, RESULTS)


@pytest.fixture
def catalog(aws: World, _buckets: None) -> Catalog:
    return simulated(ARCHIVE)


def objects(bucket: str, prefix: str = "") -> dict[str, bytes]:
    found = boto3.resource("s3").Bucket(bucket).objects.filter(Prefix=prefix)
    return {item.key.removeprefix(prefix): item.get()["Body"].read() for item in found}


def do(aws: World, catalog: Catalog, store: str, backend: str = "aws_lambda", **options: Any) -> RunResult:
    given = {"lithops_config": aws.fresh_config()} if backend == "aws_lambda" else {"region": "us-west-2"}
    result = maggjob.run(
        "atl06.yaml", catalog=catalog, store=f"s3://{RESULTS}/{store}", backend=backend, **{**given, **options}
    )
    assert isinstance(result, RunResult)
    return result


def balanced(result: RunResult) -> bool:
    """Whether every cell, granule and segment of the plan is in the tally, once."""
    tally = result.tally
    states = [tally.cells[state] for state in ("complete", "empty", "partial", "failed")]
    return (
        tally.cells["planned"] == len(result.plan.cells) == sum(states)
        and sum(tally.granules.values()) == len(result.plan.used_granules)
        and tally.segments["rows"] == sum(n for state, n in tally.segments.items() if state != "rows")
    )


@pytest.mark.parametrize("index", [True, False], ids=["indexed", "plain"])
def test_the_zarr_is_the_same_bytes_as_on_localhost(aws: World, catalog: Catalog, index: bool) -> None:
    name = f"{index}"
    there = do(aws, catalog, f"{name}-lambda.zarr", index=index)
    here = do(aws, catalog, f"{name}-here.zarr", "localhost", index=index, max_workers=2)
    assert there.complete
    assert balanced(there)
    assert there.tally == here.tally
    assert there.tally.observations > 1000
    zarr = objects(RESULTS, f"{name}-lambda.zarr/")
    assert len(zarr) > 5
    assert zarr == objects(RESULTS, f"{name}-here.zarr/")
    parts = objects(RESULTS, f"{name}-lambda.zarr.run/parts/")
    assert len(parts) == len(there.plan.cells)
    assert parts == objects(RESULTS, f"{name}-here.zarr.run/parts/")
    assert aws.job_objects == []


def test_an_event_is_small(aws: World, catalog: Catalog) -> None:
    do(aws, catalog, "some/folder/small.zarr", index=True)
    sizes = [run.size for run in aws.service.runs if run.calls]
    assert len(sizes) > 2
    assert max(sizes) < 2000
