"""Cells of a small archive in a bucket, mapped on Lambda: the same parts, byte for byte, as everywhere else."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import boto3
import pytest

import maggjob
from maggjob.backend.executor import run_tasks
from maggjob.backend.settings import lithops_config
from maggjob.catalog.catalog import Catalog
from maggjob.model.reports import CellReport
from maggjob.model.tasks import CellTask
from tests.aws.world import World
from tests.granule_files import beam, write_granule

ARCHIVE, RESULTS = "archive", "results"


@pytest.fixture
def catalog(aws: World, tmp_path: Path) -> Catalog:
    """Three granules of two beams, in a bucket."""
    s3 = boto3.client("s3")
    for bucket in (ARCHIVE, RESULTS):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    for i, (south, west) in enumerate(((-74.6, -100.0), (-75.2, -101.0), (-75.0, -99.0))):
        beams = {
            b: beam(250, seed=9 * i + k, south=south, west=west, step=4e-3) for k, b in enumerate(("gt1l", "gt2r"))
        }
        path = write_granule(tmp_path / f"ATL06_2019022203120{i}_085{i}0211_006_01.h5", beams, chunk=64)
        s3.upload_file(str(path), ARCHIVE, path.name)
    here = maggjob.make_catalog(tmp_path)
    moved = [replace(e, urls={"s3": f"s3://{ARCHIVE}/{Path(e.urls['file']).name}"}) for e in here.granules]
    return replace(here, granules=tuple(moved))


def parts_of(tasks: list[CellTask], store: str) -> Mapping[str, bytes]:
    prefix = f"{store.removeprefix(f's3://{RESULTS}/')}.run/parts/"
    found = boto3.resource("s3").Bucket(RESULTS).objects.filter(Prefix=prefix)
    parts = {item.key.removeprefix(prefix): item.get()["Body"].read() for item in found}
    assert sorted(parts) == sorted(f"{task.id}.npz" for task in tasks)
    return parts


def science(report: CellReport) -> dict[str, object]:
    """Return the part of a report that must be the same in two places."""
    differ = ("seconds", "peak_memory", "part")
    return {key: value for key, value in report.to_dict().items() if key not in differ}


@pytest.mark.dear("whole runs compare the parts of Lambda and localhost; this is map_cell alone, without a run")
def test_parts_are_the_same_bytes_on_lambda_localhost_and_here(aws: World, catalog: Catalog) -> None:
    reports, parts = {}, {}
    for backend, config in (
        ("serial", None),
        ("localhost", lithops_config("localhost", 2)),
        ("aws_lambda", aws.fresh_config()),
    ):
        store = f"s3://{RESULTS}/{backend}.zarr"
        tasks = maggjob.tasks("atl06.yaml", catalog=catalog, store=store, region="us-west-2")
        outcomes = run_tasks(maggjob.map_cell, tasks, backend=backend, config=config, deadline=600)
        assert [outcome.message for outcome in outcomes] == [None] * len(tasks)
        reports[backend] = [outcome.value for outcome in outcomes if outcome.value is not None]
        parts[backend] = parts_of(tasks, store)
    assert len(parts["serial"]) > 2
    assert parts["aws_lambda"] == parts["localhost"] == parts["serial"]
    plain = {backend: [science(report) for report in found] for backend, found in reports.items()}
    assert plain["aws_lambda"] == plain["localhost"] == plain["serial"]
    assert maggjob.reduce_tally(reports["aws_lambda"]).cells["complete"] == len(parts["serial"])
    assert aws.job_objects == []
