"""Whole runs on Lambda, from a bucket to a bucket: the same bytes as here, and faults that end in the ledger."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

import maggjob
from maggjob.backend.bill import Prices
from maggjob.backend.executor import run_tasks
from maggjob.backend.retry import RetryPolicy
from maggjob.catalog.catalog import Catalog
from maggjob.cli.commands import INCOMPLETE, _tell
from maggjob.errors import AccessError
from maggjob.pipeline.result import RunResult, read_summary
from maggjob.show.text import summary
from maggjob.storage.credentials import CredentialSet, S3Credentials
from tests import calls
from tests.aws import faults
from tests.aws.faults import Crash, Disconnect, Duplicate, Hang, Lose, OutOfMemory
from tests.aws.front import front
from tests.aws.world import BUCKET, World

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


# ---- faults: every cell is accounted for


@pytest.fixture
def whole(aws: World, catalog: Catalog) -> dict[str, bytes]:
    """The Zarr as it must be."""
    if not objects(RESULTS, "whole.zarr/"):
        do(aws, catalog, "whole.zarr", "serial", index=False)
    return objects(RESULTS, "whole.zarr/")


def quick(monkeypatch: pytest.MonkeyPatch, **policy: Any) -> None:
    """Waits that a test can wait for."""
    monkeypatch.setattr("maggjob.backend.executor.RetryPolicy", lambda: RetryPolicy(**policy))
    monkeypatch.setattr("random.randint", lambda low, high: 0)  # Lithops' pause of up to 5 s before it invokes again


@pytest.mark.parametrize(
    ("at_invoke", "in_sandbox"),
    [
        ([faults.THROTTLED, faults.UNAVAILABLE, None, Disconnect(), faults.BROKEN], []),
        ([None, Lose()], []),
        ([Duplicate(), Duplicate()], []),
        ([], [Crash(0.02), None, OutOfMemory(0.02)]),
    ],
    ids=["throttled", "lost", "twice", "dead"],
)
def test_what_is_made_good_is_as_if_it_had_not_been(
    aws: World,
    catalog: Catalog,
    whole: dict[str, bytes],
    at_invoke: list[Any],
    in_sandbox: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    quick(monkeypatch, resubmit_after=2, give_up_after=20)
    run_tasks(calls.square, [1], backend="aws_lambda", config=aws.fresh_config())  # the function is there
    aws.service.faults.at_invoke.extend(at_invoke)
    aws.service.faults.in_sandbox.extend(in_sandbox)
    name = f"good-{request.node.callspec.id}.zarr"
    result = do(aws, catalog, name, index=False)
    assert not aws.service.faults.at_invoke
    assert not aws.service.faults.in_sandbox
    assert result.complete
    assert balanced(result)
    assert objects(RESULTS, f"{name}/") == whole
    stage, assembly = result.stages
    assert (stage.name, assembly.name) == ("map", "assembly")  # what that did not write in time was written here
    assert stage.throttled == sum(isinstance(f, (faults.Refuse, Disconnect)) for f in at_invoke)
    assert stage.submitted - stage.calls == sum(isinstance(f, Lose) for f in at_invoke)
    assert stage.failed == 0


@pytest.mark.parametrize("fault", [Crash(0.4), OutOfMemory(0.4), Hang(0.4)], ids=["crash", "memory", "timeout"])
def test_a_call_that_dies_is_a_failed_cell(
    aws: World, catalog: Catalog, fault: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    quick(monkeypatch, max_submissions=1)
    monkeypatch.setattr("maggjob.pipeline.cell_map.map_call", calls.naps_and_maps)  # there is time to die in
    config = aws.fresh_config()
    config["lithops"]["execution_timeout"] = 5
    run_tasks(calls.square, [1], backend="aws_lambda", config=config)
    aws.service.runs.clear()
    aws.service.faults.of_calls["M000", "00000"] = fault
    name = f"died-{request.node.callspec.id}.zarr"
    result = do(aws, catalog, name, index=False, lithops_config=config, overwrite=True)
    lost, *others = result.reports
    assert (lost.state, lost.reason, lost.observations) == ("failed", "died", 0)
    assert all(report.state == "complete" for report in others)
    assert balanced(result)
    granules = {granule.id for granule in result.plan.granules(result.plan.cells[0])}
    assert {(g.id, g.state, g.reason) for g in lost.granules} == {(name, "failed", "died") for name in granules}
    assert result.tally.granules["failed"] == len(granules)
    assert result.tally.errors["died"]["count"] == 1
    assert len(objects(RESULTS, f"{name}.run/parts/")) == len(others)
    stage, assembly = result.stages
    assert (stage.name, assembly.name) == ("map", "assembly")  # what that did not write in time was written here
    assert (stage.calls, stage.failed, stage.unbilled) == (len(result.plan.cells), 1, 1)
    streams = {run.log_stream for run in aws.service.runs if run.status != "ok"}
    if not isinstance(fault, Hang):  # which goes on when the run has given up
        assert any(f"log stream {stream}" in stage.problems[0] for stream in streams)
    assert "log stream" in stage.problems[0]
    assert stage.problems[0] in summary(result.to_dict())
    assert aws.job_objects == []


def test_a_call_that_never_starts_is_a_failed_cell(
    aws: World, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch, resubmit_after=1, give_up_after=2)
    run_tasks(calls.square, [1], backend="aws_lambda", config=aws.fresh_config())
    cells = len(catalog.cells)
    aws.service.faults.at_invoke.extend([Lose(), *[None] * (cells - 1), Lose()])
    result = do(aws, catalog, "never.zarr", index=False)
    assert result.tally.cells["failed"] == 1
    assert result.tally.cells["complete"] == cells - 1
    assert result.tally.errors["never_started"]["count"] == 1
    assert balanced(result)
    with pytest.raises(SystemExit) as end:
        _tell(result.to_dict())
    assert end.value.code == INCOMPLETE


def test_an_index_call_that_dies_costs_no_cell(
    aws: World, catalog: Catalog, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch, max_submissions=1)
    monkeypatch.setattr("maggjob.pipeline.index_stage.index_call", calls.naps_and_indexes)
    config = aws.fresh_config()
    config["lithops"]["execution_timeout"] = 5
    run_tasks(calls.square, [1], backend="aws_lambda", config=config)
    aws.service.faults.of_calls["M000", "00000"] = Crash(0.4)
    place = f"s3://{RESULTS}/indexes-of-its-own"
    result = do(aws, catalog, "unindexed.zarr", index=True, indexes=place, lithops_config=config)
    assert result.indexed is not None
    assert result.indexed.states["failed"] > 0
    assert result.complete
    assert balanced(result)
    assert objects(RESULTS, "unindexed.zarr/") == whole
    index, cells, assembly = result.stages
    assert (index.name, index.failed, cells.name, cells.failed) == ("index", 1, "map", 0)
    assert assembly.name == "assembly"  # what that did not write in time was written here


def test_what_an_assembly_call_did_not_write_is_written_here(
    aws: World, catalog: Catalog, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch, max_submissions=1)
    monkeypatch.setattr("maggjob.pipeline.cell_map.shard_call", calls.naps_and_writes)
    config = aws.fresh_config()
    config["lithops"]["execution_timeout"] = 5
    run_tasks(calls.square, [1], backend="aws_lambda", config=config)
    aws.service.faults.in_sandbox.extend([*[None] * len(catalog.cells), *[Crash(0.4)] * 3])
    result = do(aws, catalog, "reduced.zarr", index=False, lithops_config=config)
    assert [(stage.name, stage.failed) for stage in result.stages] == [("map", 0), ("assembly", 1)]
    assert result.complete
    assert balanced(result)
    assert objects(RESULTS, "reduced.zarr/") == whole


# ---- what it took


def test_the_summary_has_calls_and_dollars_of_each_stage(aws: World, catalog: Catalog) -> None:
    aws.service.end_sandboxes()
    result = do(aws, catalog, "summary.zarr", index=True)
    stages = {stage.name: stage for stage in result.stages}
    runs = [run for run in aws.service.runs if run.calls]
    assert list(stages) == ["index", "map", "assembly"]
    assert sum(stage.calls for stage in stages.values()) == len(runs)
    assert sum(stage.cold_starts for stage in stages.values()) == sum(run.cold for run in runs) > 0
    billed = sum(run.seconds + run.init for run in runs)
    assert billed - 0.3 * len(runs) < sum(stage.billed_s for stage in stages.values()) < billed + 0.1
    for stage in stages.values():
        assert stage.gb_s == pytest.approx(2 * stage.billed_s)  # 2,048 MB
        compute, init, requests, logs = stage.bill
        assert compute.quantity + init.quantity == pytest.approx(stage.gb_s)
        assert (init.quantity > 0) == (stage.cold_starts > 0)
        assert requests.dollars == pytest.approx(stage.calls * 0.20e-6)
        assert logs.dollars == pytest.approx(stage.calls * 500 / 1e9 * 0.50)
        assert compute.dollars == pytest.approx(compute.quantity * Prices().gb_second)
        assert 0 <= stage.queued_s <= stage.longest_queued_s
    kept = read_summary(result.store_path)
    assert [stage["name"] for stage in kept["stages"]] == ["index", "map", "assembly"]
    status = maggjob.read_status(result.store_path)
    assert (status.stage, status.parts) == ("done", len(result.reports))
    assert status.dollars == pytest.approx(sum(line.dollars for stage in result.stages for line in stage.bill))
    text = summary(kept)
    said = "index calls,map calls,assembly calls,cold starts,billed,GB-s,compute,INIT,requests,logs".split(",")
    assert [word for word in said if word not in text] == []
    here = do(aws, catalog, "summary-here.zarr", "serial", index=True)
    assert "stages" not in here.to_dict()
    assert "calls  " not in summary(here.to_dict())


# ---- credentials


def test_a_profile_of_aws_is_enough_for_lithops_and_stores(
    aws: World, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "AKIAPROFILE"
    (tmp_path / "profiles").write_text(f"[lab]\naws_access_key_id = {key}\naws_secret_access_key = s3cret\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)  # of the client: sandboxes have those of their role
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "profiles"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    with front(aws.endpoint) as door:
        door.keys = {RESULTS: {key}, BUCKET: {key}}
        monkeypatch.setenv("AWS_ENDPOINT_URL", door.url)
        result = do(aws, catalog, "profile.zarr", index=False)
        assert read_summary(result.store_path)["complete"]
    assert balanced(result)
    assert set(door.used) == {key}
    assert len(door.used) == len([path for _, path in door.requests if path.startswith((f"/{RESULTS}", f"/{BUCKET}"))])


PROTECTED = "nsidc-cumulus-prod-protected"


@pytest.mark.usefixtures("_buckets")
@pytest.mark.parametrize("renewed", [True, False], ids=["renewed", "ended"])
def test_workers_read_the_archive_with_its_credentials_renewed_while_they_run(
    aws: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, renewed: bool
) -> None:
    if PROTECTED not in {bucket.name for bucket in boto3.resource("s3").buckets.all()}:
        make_buckets(PROTECTED)
    run_tasks(calls.square, [1], backend="aws_lambda", config=aws.fresh_config())  # Lithops' bucket is there
    catalog, image = simulated(PROTECTED), aws.service.image
    bodies: list[bytes] = []
    accept = aws.service.accept
    monkeypatch.setattr(aws.service, "accept", lambda f, body, fault: bodies.append(body) or accept(f, body, fault))
    monkeypatch.setattr("maggjob.pipeline.cell_map.map_call", calls.naps_and_maps)  # long after the renewal
    monkeypatch.setattr("maggjob.storage.earthdata.POLL", 0.05)
    monkeypatch.setattr("maggjob.storage.earthdata.login", object)
    with front(aws.endpoint) as door:
        door.keys[PROTECTED] = {"ASIA1"}
        issued: list[str] = []

        def obtain(urls: list[str], auth: object) -> CredentialSet:
            """The first ends soon; the second comes when the first has been used, which then counts for nothing."""
            issued.append(f"ASIA{len(issued) + 1}")
            lasts = timedelta(minutes=5 if len(issued) == 1 else 60)
            if len(issued) > 1:
                until = time.monotonic() + 30
                while not door.used and time.monotonic() < until:
                    time.sleep(0.05)
                door.keys[PROTECTED] = {issued[-1]}
            if len(issued) > 1 and not renewed:
                issued.pop()
                raise AccessError("the data centre is closed")
            return CredentialSet({"NSIDC": S3Credentials(issued[-1], "s3cret", "s3ssion", datetime.now(UTC) + lasts)})

        monkeypatch.setattr("maggjob.storage.earthdata.obtain", obtain)
        aws.service.image = replace(image, environment={**(image.environment or {}), "AWS_ENDPOINT_URL": door.url})
        aws.service.end_sandboxes()
        try:
            with caplog.at_level("DEBUG", "maggjob"):
                place = f"s3://{RESULTS}/indexes-{renewed}"
                result = do(aws, catalog, f"protected-{renewed}.zarr", index=True, indexes=place)
        finally:
            aws.service.image = image
            aws.service.end_sandboxes()
    assert balanced(result)
    cells = len(result.plan.cells)
    if renewed:
        assert result.complete
        assert set(door.used) == set(issued) == {"ASIA1", "ASIA2"}
    else:
        assert result.tally.cells["failed"] == cells
        assert result.tally.errors.keys() == {"auth"}
        assert "the data centre is closed" in caplog.text
    assert objects(BUCKET, "maggjob.private/") == {}
    shown = [*bodies, *objects(RESULTS).values(), caplog.text.encode(), summary(result.to_dict()).encode()]
    shown += [aws.service.log(run.log_stream).encode() for run in aws.service.runs]
    assert len(bodies) >= cells
    for secret in (b"s3cret", b"s3ssion", b"ASIA"):
        assert not any(secret in text for text in shown)
