"""Whole runs on Lambda, from bucket to bucket: they write the same bytes as local runs, and count every fault."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import boto3
import pytest

import maggjob
from maggjob.backend.bill import Prices
from maggjob.backend.executor import run_tasks
from maggjob.backend.retry import RetryPolicy
from maggjob.catalog.catalog import Catalog
from maggjob.cli.results import INCOMPLETE, tell
from maggjob.errors import AccessError, ExpiredKeysError
from maggjob.pipeline.overview_files import read_overview
from maggjob.pipeline.result import RunResult, read_summary
from maggjob.show.text import summary
from maggjob.storage.credentials import CredentialSet, S3Credentials
from tests import calls
from tests.aws import clocks, doomed, faults
from tests.aws.conftest import KEY
from tests.aws.faults import Crash, Disconnect, Duplicate, Hang, Lose, OutOfMemory
from tests.aws.front import Front, front
from tests.aws.lambda_service import Run
from tests.aws.world import BUCKET, World

ARCHIVE, RESULTS = "archive", "results"
AREA = (-105.0, -76.0, -100.0, -75.0)


def make_buckets(*names: str) -> None:
    for name in names:
        boto3.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Catalog of a few simulated granules, as files."""
    folder = tmp_path_factory.mktemp("granules")
    maggjob.simulate(folder, area=AREA, every=20, most=4)
    return maggjob.make_catalog(folder)


def moved(here: Catalog, bucket: str) -> Catalog:
    """The catalog, with its granules in a bucket."""
    s3 = boto3.client("s3")
    for entry in here.granules:
        s3.upload_file(entry.urls["file"].removeprefix("file://"), bucket, Path(entry.urls["file"]).name)
    entries = [replace(e, urls={"s3": f"s3://{bucket}/{Path(e.urls['file']).name}"}) for e in here.granules]
    return replace(here, granules=tuple(entries))


@pytest.fixture(scope="module")
def shared_catalog(aws_world: World, local: Catalog) -> Catalog:
    make_buckets(ARCHIVE, RESULTS)
    return moved(local, ARCHIVE)


@pytest.fixture
def catalog(aws: World, shared_catalog: Catalog) -> Catalog:
    return shared_catalog


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
    """Return whether the tally counts every cell, granule and segment of the plan once."""
    tally = result.tally
    states = [tally.cells[state] for state in ("complete", "empty", "partial", "failed")]
    return (
        tally.cells["planned"] == len(result.plan.cells) == sum(states)
        and sum(tally.granules.values()) == len(result.plan.used_granules)
        and tally.segments["rows"] == sum(n for state, n in tally.segments.items() if state != "rows")
    )


# ---- without a fault


@dataclass(frozen=True)
class Indexed:
    """A run with indexes, and what the Lambda service saw of it."""

    result: RunResult
    runs: list[Run]
    left: list[str]
    """Keys of what Lithops left in its bucket."""


@pytest.fixture(scope="module")
def indexed(aws_world: World, shared_catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Indexed:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAGGJOB_CACHE", str(tmp_path_factory.mktemp("cache-of-maggjob")))
        aws_world.service.end_sandboxes()
        aws_world.service.runs.clear()
        result = do(aws_world, shared_catalog, "some/folder/indexed.zarr", index=True)
        return Indexed(result, [run for run in aws_world.service.runs if run.calls], aws_world.job_objects)


def assert_same(there: RunResult, here: RunResult) -> None:
    """Both runs are complete and wrote the same bytes."""
    assert there.complete
    assert balanced(there)
    assert there.tally == here.tally
    assert there.tally.observations > 1000
    zarr, other = (objects(RESULTS, f"{run.store_path.removeprefix(f's3://{RESULTS}/')}/") for run in (there, here))
    assert len(zarr) > 5
    assert zarr == other
    parts, other = (
        objects(RESULTS, f"{run.store_path.removeprefix(f's3://{RESULTS}/')}.run/parts/") for run in (there, here)
    )
    assert len(parts) == len(there.plan.cells)
    assert parts == other


@pytest.mark.dear("two whole runs, one of them on the emulator")
def test_the_zarr_is_the_same_bytes_as_on_localhost(aws: World, catalog: Catalog, indexed: Indexed) -> None:
    assert_same(indexed.result, do(aws, catalog, "here.zarr", "localhost", index=True, max_workers=2))
    assert indexed.left == []


@pytest.mark.dear("two whole runs: bytes without indexes are compared after each fault as well")
def test_without_indexes_the_zarr_is_the_same_bytes_as_on_localhost(aws: World, catalog: Catalog) -> None:
    there = do(aws, catalog, "plain-lambda.zarr", index=False)
    assert_same(there, do(aws, catalog, "plain-here.zarr", "localhost", index=False, max_workers=2))


def test_an_event_is_small(indexed: Indexed) -> None:
    assert len(indexed.runs) > 2
    assert max(run.size for run in indexed.runs) < 2000


@pytest.mark.dear("a whole run in the emulator")
def test_the_summary_has_calls_and_dollars_of_each_stage(aws: World, indexed: Indexed, whole: dict[str, bytes]) -> None:
    result, runs = indexed.result, indexed.runs
    stages = {stage.name: stage for stage in result.stages}
    assert list(stages) == ["index", "map", "assembly"]
    assert sum(stage.calls for stage in stages.values()) == len(runs)
    assert sum(stage.cold_starts for stage in stages.values()) == sum(run.cold for run in runs) > 0
    # The service sees a call from outside: what is billed is no longer than that.
    assert 0 < sum(stage.billed_s for stage in stages.values()) < sum(run.seconds + run.init for run in runs) + 0.1
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
    # Requests to buckets are added to what the calls cost.
    of_calls = sum(line.dollars for stage in result.stages for line in stage.bill)
    assert status.dollars == pytest.approx(kept["dollars"])
    assert of_calls < kept["dollars"]
    text = summary(kept)
    said = "index calls,map calls,assembly calls,cold starts,billed,GB-s,compute,INIT,requests,logs".split(",")
    assert [word for word in said if word not in text] == []
    here = read_summary(f"s3://{RESULTS}/whole.zarr")  # of a run without calls
    assert "stages" not in here
    assert "calls  " not in summary(here)


@pytest.mark.dear("a whole run in the emulator")
def test_the_times_of_all_calls_are_kept(aws: World, indexed: Indexed) -> None:
    """Against what the service saw from outside."""
    result, runs = indexed.result, [run for run in indexed.runs if run.calls]
    overview = read_overview(result.store_path)
    assert [stage.stage for stage in overview.calls] == ["index", "map", "assembly"]
    assert sum(len(stage) for stage in overview.calls) == len(runs)
    assert sum(len(stage.init) for stage in overview.calls) == sum(run.cold for run in runs)
    for stage, kept in zip(overview.calls, result.stages, strict=True):
        assert None not in stage.started
        assert stage.attempts == stage.failed == {}
        # What is billed is what ran, with the start of the sandbox.
        assert sum(stage.ran) / 1000 == pytest.approx(kept.billed_s, abs=0.002 * len(stage))
        # Calls of one sandbox follow each other.
        for sandbox in set(stage.workers):
            columns = zip(stage.started, stage.ran, stage.workers, strict=True)
            own = sorted((start or 0, ran) for start, ran, where in columns if where == sandbox)
            assert all(start + ran <= later + 2 for (start, ran), (later, _) in pairwise(own))
    # The bill is that of the whole run, and stands beside what was expected.
    kept_summary = read_summary(result.store_path)
    assert overview.dollars == pytest.approx(kept_summary["dollars"])
    (cost,) = [one for one in overview.estimate if one.what == "cost"]
    assert (cost.actual, cost.expected) == (overview.dollars, kept_summary["expected_dollars"])


# ---- faults: every cell is accounted for


def with_denial(door: Front, extra: str) -> Any:
    """Return the function that records a result, after which S3 denies deletions, and there is something to delete."""
    from maggjob.pipeline.result import keep_record

    def record(*given: Any) -> None:
        keep_record(*given)
        boto3.client("s3").put_object(Bucket=RESULTS, Key=extra, Body=b"")
        door.denied |= {("DELETE", RESULTS), ("POST", RESULTS)}

    return record


@pytest.fixture
def whole(aws: World, catalog: Catalog) -> dict[str, bytes]:
    """The Zarr of a run without faults."""
    if not objects(RESULTS, "whole.zarr/"):
        do(aws, catalog, "whole.zarr", "serial", index=False)
    return objects(RESULTS, "whole.zarr/")


def follow(monkeypatch: pytest.MonkeyPatch, **policy: Any) -> None:
    """Make all runs follow a policy, without Lithops' pause of up to 5 s before it invokes again."""
    monkeypatch.setattr("maggjob.backend.executor.RetryPolicy", lambda: RetryPolicy(**policy))
    monkeypatch.setattr("random.randint", lambda low, high: 0)


APART = "a whole run for each fault; make test has all of them in one run"
REFUSALS = (faults.THROTTLED, faults.UNAVAILABLE, None, Disconnect(), faults.BROKEN)


@pytest.mark.parametrize(
    ("at_invoke", "in_sandbox"),
    [
        ([Lose(), *REFUSALS, Duplicate()], [Crash(0.02), None, OutOfMemory(0.02)]),
        pytest.param(REFUSALS, [], marks=pytest.mark.dear(APART)),
        pytest.param([None, Lose()], [], marks=pytest.mark.dear(APART)),
        pytest.param([Duplicate(), Duplicate()], [], marks=pytest.mark.dear(APART)),
        pytest.param([], [Crash(0.02), None, OutOfMemory(0.02)], marks=pytest.mark.dear(APART)),
    ],
    ids=["all", "throttled", "lost", "twice", "dead"],
)
@pytest.mark.dear("a whole run; each fault alone is in make test of the runner")
def test_what_is_made_good_is_as_if_it_had_not_been(
    aws: World,
    catalog: Catalog,
    whole: dict[str, bytes],
    at_invoke: Sequence[Any],
    in_sandbox: Sequence[Any],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    lost = sum(isinstance(f, Lose) for f in at_invoke)
    follow(monkeypatch)
    clocks.lose_patience(monkeypatch, tasks=lost, submissions=1)
    aws.service.faults.at_invoke.extend(at_invoke)
    aws.service.faults.in_sandbox.extend(in_sandbox)
    name = f"good-{request.node.callspec.id}.zarr"
    result = do(aws, catalog, name, index=False, deadline=1e9)  # by a clock that jumps
    assert not aws.service.faults.at_invoke
    assert not aws.service.faults.in_sandbox
    assert result.complete
    assert balanced(result)
    assert objects(RESULTS, f"{name}/") == whole
    stage, assembly = result.stages
    assert (stage.name, assembly.name) == ("map", "assembly")
    assert stage.throttled == sum(isinstance(f, (faults.Refuse, Disconnect)) for f in at_invoke)
    assert stage.submitted - stage.calls == lost
    assert stage.failed == 0


@pytest.mark.parametrize(
    "doom",
    [
        pytest.param([Crash(), OutOfMemory(), Hang()], marks=pytest.mark.dear("tests/backend lets calls die")),
        pytest.param([Crash()], marks=pytest.mark.dear(APART)),
        pytest.param([OutOfMemory()], marks=pytest.mark.dear(APART)),
        pytest.param([Hang()], marks=pytest.mark.dear(APART)),
    ],
    ids=["all", "crash", "memory", "timeout"],
)
def test_a_call_that_dies_is_a_failed_cell(
    aws: World, catalog: Catalog, doom: list[Any], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    follow(monkeypatch, max_submissions=1)
    if len(doom) > 1:
        monkeypatch.setattr(aws.service, "retry_delays", ())
    monkeypatch.setattr("maggjob.pipeline.map_stage.map_call", doomed.maps)
    strikes = 3 if doom in ([Crash()], [OutOfMemory()]) else 1  # with AWS's own attempts
    clocks.let_die(monkeypatch, aws.service, {0: len(doom)}, strikes)
    aws.service.faults.of_calls |= {(0, f"{number:05d}"): fault for number, fault in enumerate(doom)}
    name = f"died-{request.node.callspec.id}.zarr"
    # As many workers as cells, so that no two cells share a call.
    result = do(aws, catalog, name, index=False, max_workers=len(catalog.cells))
    ended = sum(not isinstance(fault, Hang) for fault in doom)  # a hanging run goes on
    lost, others = result.reports[: len(doom)], result.reports[len(doom) :]
    assert others
    assert all(report.state == "complete" for report in others)
    assert balanced(result)
    for report, cell in zip(lost, result.plan.cells, strict=False):
        assert (report.state, report.reason, report.observations) == ("failed", "died", 0)
        granules = {granule.id for granule in result.plan.granules(cell)}
        assert {(g.id, g.state, g.reason) for g in report.granules} == {(name, "failed", "died") for name in granules}
    assert result.tally.cells["failed"] == len(doom)
    assert result.tally.granules["failed"] == len({granule.id for report in lost for granule in report.granules})
    assert result.tally.errors["died"]["count"] == len(doom)
    assert len(objects(RESULTS, f"{name}.run/parts/")) == len(others)
    stage, assembly = result.stages
    assert (stage.name, assembly.name) == ("map", "assembly")
    assert (stage.calls, stage.failed, stage.unbilled) == (len(result.plan.cells), len(doom), len(doom))
    clocks.wait_for(lambda: len([r for r in aws.service.runs if r.status in ("exit", "oom")]) == strikes * ended)
    streams = {run.log_stream for run in aws.service.runs if run.status != "ok"}
    for report, fault in zip(lost, doom, strict=True):
        assert "log stream" in str(report.message)
        if not isinstance(fault, Hang):
            assert any(f"log stream {stream}" in str(report.message) for stream in streams)
    assert stage.problems[0] in summary(result.to_dict())
    assert aws.job_objects == []


@pytest.mark.dear("4 CPU-seconds; its neighbours cover the same lines")
def test_a_call_that_never_starts_is_a_failed_cell(
    aws: World, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow(monkeypatch)
    clocks.lose_patience(monkeypatch, tasks=1, submissions=2)
    cells = len(catalog.cells)
    aws.service.faults.at_invoke.extend([Lose(), *[None] * (cells - 1), Lose()])
    result = do(aws, catalog, "never.zarr", index=False, deadline=1e9)  # by a clock that jumps
    assert result.tally.cells["failed"] == 1
    assert result.tally.cells["complete"] == cells - 1
    assert result.tally.errors["never_started"]["count"] == 1
    assert result.stages[0].submitted == cells + 1
    assert balanced(result)
    with pytest.raises(SystemExit) as end:
        tell(result.to_dict())
    assert end.value.code == INCOMPLETE


@pytest.mark.parametrize(
    "of",
    [
        pytest.param(["index", "assembly"], marks=pytest.mark.dear("as a call of the map that dies")),
        pytest.param(["index"], marks=pytest.mark.dear(APART)),
        pytest.param(["assembly"], marks=pytest.mark.dear(APART)),
    ],
    ids=",".join,
)
def test_an_index_or_assembly_call_that_dies_costs_no_cell(
    aws: World,
    catalog: Catalog,
    whole: dict[str, bytes],
    of: list[str],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """Cells are mapped without the index; shards that no call wrote are written by the client."""
    follow(monkeypatch, max_submissions=1)
    monkeypatch.setattr("maggjob.pipeline.index_stage.index_call", doomed.indexes)
    monkeypatch.setattr("maggjob.pipeline.assembling.shard_call", doomed.writes)
    numbers = [("index", "map", "assembly").index(name) for name in of]
    monkeypatch.setattr(aws.service, "retry_delays", ())
    clocks.let_die(monkeypatch, aws.service, dict.fromkeys(numbers, 1))
    aws.service.faults.of_calls |= {(number, "00000"): Crash() for number in numbers}
    name = f"costs-none-{request.node.callspec.id}.zarr"
    result = do(aws, catalog, name, index=True, indexes=f"s3://{RESULTS}/indexes-of-{name}")
    assert result.complete
    assert balanced(result)
    assert objects(RESULTS, f"{name}/") == whole
    assert result.indexed is not None
    assert (result.indexed.states.get("failed", 0) > 0) == ("index" in of)
    assert [(stage.name, stage.failed) for stage in result.stages] == [
        (name, int(name in of)) for name in ("index", "map", "assembly")
    ]


@pytest.mark.dear("a whole run in the emulator")
def test_parts_of_calls_whose_answers_are_lost_count_as_complete(
    aws: World, catalog: Catalog, whole: dict[str, bytes], door: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All invocations are put off once as well. The statuses of two calls are listed, but cannot be read."""
    follow(monkeypatch, max_submissions=1)
    asleep = faults.Refuse(409, "ResourceConflictException", "The function is in the following state: Pending")
    aws.service.faults.at_invoke.extend([asleep, *REFUSALS, asleep])
    made = clocks.follow(monkeypatch)
    lost = ("-M000/00000/status.json", "-M000/00002/status.json")
    told: list[tuple[int, str]] = []

    def due() -> bool:
        """Only the lost ones are left, and they have ended."""
        return len(made) == 1 and 0 < len(made[0].pending) <= 2 and len(ended()) == len(catalog.cells)

    def ended() -> set[str]:
        return {call for run in aws.service.runs if run.status == "ok" for call in run.calls}

    monkeypatch.setattr("lithops.monitoring.monitor.time", clocks.JumpingClock(due))
    door.lost = lambda path: len(made) == 1 and path.endswith(lost)

    def watch(index: int, outcome: Any) -> None:
        told.append((index, "none" if outcome.value is None else outcome.value.state))

    result = do(aws, catalog, "silent.zarr", index=False, watch=watch)
    assert result.complete
    assert balanced(result)
    assert result.found == 2
    assert objects(RESULTS, "silent.zarr/") == whole
    assert sorted(told) == [(number, "complete") for number in range(len(catalog.cells))]
    silent = [report for report in result.reports if report.earlier]
    assert [report.earlier for report in silent] == [("died",)] * 2
    assert {report.attempts for report in result.reports} == {1}
    assert result.tally.errors == {}
    stage = result.stages[0]
    assert (stage.failed, stage.submitted, stage.throttled) == (2, len(catalog.cells), 6)
    assert "found         2 parts of calls that gave no answer" in summary(result.to_dict())
    assert aws.job_objects == []


# ---- credentials


@pytest.mark.parametrize("backend", ["aws_lambda", "serial"])
@pytest.mark.dear("two runs per case")
def test_a_run_whose_keys_expire_stops_and_goes_on_with_new_ones(
    aws: World, catalog: Catalog, whole: dict[str, bytes], door: Front, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """The keys of the client expire with the first cell. Those of sandboxes do not; calls in process have the same."""
    name = f"expired-{backend}.zarr"
    seen: list[Any] = []

    def watch(index: int, outcome: Any) -> None:
        seen.append(outcome.value.state)
        door.expired.add(KEY)
        aws.service.expired.add(KEY)

    options: dict[str, Any] = {"backend": backend, "index": False}
    options |= {"lithops_config": aws.fresh_config(max_workers=1)} if backend == "aws_lambda" else {}
    with pytest.raises(ExpiredKeysError) as caught:
        do(aws, catalog, name, watch=watch, deadline=1e9, **options)
    aws.service.settle(60.0)  # events that were accepted end without the client
    assert caught.value.unfinished  # type: ignore[attr-defined]
    cells = len(catalog.cells)
    assert str(caught.value).startswith(f"{len(seen)} of {cells} cells are done, but ")
    assert "renew them and run the same command again" in str(caught.value)
    assert 0 < len(seen) < cells
    assert set(seen) == {"complete"}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ASIANEW")
    there = {key for key in objects(RESULTS, f"{name}.run/parts/") if key.endswith(".npz")}
    assert len(there) >= len(seen)
    result = do(aws, catalog, name, **options)
    assert result.complete
    assert balanced(result)
    assert result.taken == len(there)
    assert objects(RESULTS, f"{name}/") == whole
    assert aws.service.expired == {KEY}


@pytest.mark.dear("a whole run on the emulator")
def test_a_clean_up_that_is_denied_after_the_result_is_a_warning(
    aws: World, catalog: Catalog, whole: dict[str, bytes], door: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part that nobody needs cannot be deleted, once the result is there, and neither can the lock."""
    extra = "denied.zarr.run/parts/cycle/left.npz"
    monkeypatch.setattr("maggjob.pipeline.cell_map.keep_record", with_denial(door, extra))
    result = do(aws, catalog, "denied.zarr", "serial", index=False)
    assert result.complete
    assert objects(RESULTS, "denied.zarr/") == whole
    assert objects(RESULTS, extra) == {"": b""}
    (warning,) = read_summary(result.store_path)["warnings"]
    assert "parts that nobody needs remain in s3://results/denied.zarr.run" in warning
    assert f"warning       {warning}" in summary(result.to_dict())


@pytest.mark.dear("a whole run; profiles alone are in tests/storage/test_aws_profile.py")
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


@pytest.mark.usefixtures("catalog")
@pytest.mark.dear("two long runs; renewal alone is in tests/storage/test_credentials.py")
@pytest.mark.parametrize("renewed", [True, False], ids=["renewed", "ended"])
def test_workers_read_the_archive_with_its_credentials_renewed_while_they_run(
    aws: World, local: Catalog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, renewed: bool
) -> None:
    if PROTECTED not in {bucket.name for bucket in boto3.resource("s3").buckets.all()}:
        make_buckets(PROTECTED)
    run_tasks(calls.square, [1], backend="aws_lambda", config=aws.fresh_config())  # Lithops' bucket is there
    catalog, image = moved(local, PROTECTED), aws.service.image
    bodies: list[bytes] = []
    accept = aws.service.accept
    monkeypatch.setattr(aws.service, "accept", lambda f, body, fault: bodies.append(body) or accept(f, body, fault))
    monkeypatch.setattr("maggjob.storage.earthdata.POLL", 0.05)
    monkeypatch.setattr("maggjob.storage.earthdata.login", object)
    with front(aws.endpoint) as door:
        door.keys[PROTECTED] = {"ASIA1"}
        door.renewed = threading.Event()  # after one request, the workers' others wait for the renewal
        issued: list[str] = []

        def obtain(urls: list[str], auth: object) -> CredentialSet:
            """The first set ends soon. The second comes once the first has been used, and makes it invalid."""
            issued.append(f"ASIA{len(issued) + 1}")
            lasts = timedelta(minutes=5 if len(issued) == 1 else 60)
            if len(issued) > 1:
                clocks.wait_for(lambda: door.used)
                door.keys[PROTECTED] = {issued[-1]}
                door.renewed.set()
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
