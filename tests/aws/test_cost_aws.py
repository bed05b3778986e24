"""What a run on Lambda costs: its requests are those that its plan counts, its bill is kept, and a limit stops it."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import maggjob
from maggjob.backend.bills import bills_in, keep_bill
from maggjob.backend.executor import run_tasks
from maggjob.backend.settings import BackendSettings
from maggjob.backend.spending import SpendGuard
from maggjob.catalog.catalog import Catalog
from maggjob.cli import commands
from maggjob.cli.commands import main
from maggjob.errors import InputError, SpendError
from maggjob.pipeline import billing
from maggjob.pipeline.assembling import describe
from maggjob.pipeline.result import RunResult
from maggjob.pipeline.session import RunDescription, Session, SessionOptions
from maggjob.planning.cloud import CloudRun, cloud_run
from maggjob.planning.requests import POLL
from maggjob.show.text import summary
from tests import calls
from tests.aws.test_run_aws import ARCHIVE, RESULTS, balanced, make_buckets, moved, objects
from tests.aws.world import BUCKET, World
from tests.servers import Seen

AREA = (-105.0, -76.0, -100.0, -75.0)
WORKERS = 2


@pytest.fixture(scope="module")
def shared_catalog(aws_world: World, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    folder = tmp_path_factory.mktemp("granules")
    maggjob.simulate(folder, area=AREA, every=20, most=4)
    make_buckets(ARCHIVE, RESULTS)
    # Lithops asks once for the metadata of a new function, and keeps them.
    run_tasks(calls.square, [1], backend="aws_lambda", config=aws_world.fresh_config())
    return moved(maggjob.make_catalog(folder), ARCHIVE)


@pytest.fixture
def catalog(aws: World, shared_catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    monkeypatch.setenv("JUPYTERHUB_USER", "ada")
    billing.who_pays.cache_clear()
    aws.service.end_sandboxes()
    aws.seen.clear()
    return shared_catalog


def do(aws: World, catalog: Catalog, store: str, **options: Any) -> RunResult:
    own = {"backend": "aws_lambda", "lithops_config": aws.fresh_config(), "max_workers": WORKERS} | options
    result = maggjob.run("atl06.yaml", catalog=catalog, store=f"s3://{RESULTS}/{store}", **own)
    assert isinstance(result, RunResult)
    assert balanced(result)
    return result


def kind(request: Seen) -> str:
    """What S3 asks a price for: GET, PUT or nothing; and the listings of Lithops' monitor, which depend on time."""
    query = request.headers["query"]
    if request.method == "DELETE" or (request.method == "POST" and "delete" in query):
        return "free"
    if request.method == "GET" and "list-type" in query:
        # Once per stage, all objects of the executor are listed to delete them.
        return "monitor" if re.search(r"lithops\.jobs.*-[A-Z]\d{3}", query) else "PUT"
    return {"GET": "GET", "HEAD": "GET"}.get(request.method, "PUT")


def counted(aws: World) -> Counter[str]:
    """What the client and the workers asked of the user's buckets."""
    return Counter(kind(one) for one in aws.seen if one.path.split("/")[1] in (RESULTS, BUCKET))


def quantities(run: CloudRun | RunResult) -> dict[str, float]:
    lines = run.bill if isinstance(run, CloudRun) else [line.line for line in run.session.bill]
    return {line.what: line.quantity for line in lines}


def agree(aws: World, expected: dict[str, float], wall_s: float) -> None:
    """The requests are those that were expected, within 5 %; polls are compared by their number per second."""
    found = counted(aws)
    assert found["GET"] == pytest.approx(expected["S3 GET"], rel=0.05)
    assert found["PUT"] == pytest.approx(expected["S3 PUT"] - wall_s / POLL, rel=0.05)


@pytest.mark.dear("whole runs in the emulator; the requests are counted by hand in tests/planning")
@pytest.mark.parametrize(("index", "split"), [(True, False), (False, False), (True, True)])
def test_the_requests_are_those_of_the_plan(
    aws: World, catalog: Catalog, index: bool, split: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if split:
        monkeypatch.setattr("maggjob.planning.division.is_hot", lambda takes, total, workers: takes > total / 5)
    name = f"requests-{index}-{split}.zarr"
    indexes = f"s3://{RESULTS}/indexes-{split}" if index else None
    result = do(aws, catalog, name, index=index, indexes=indexes)
    assert result.complete
    assert (result.cells_in_quarters > 0) == split
    plan = maggjob.plan("atl06.yaml", catalog=catalog, store=f"s3://{RESULTS}/{name}")
    expected = cloud_run(plan.cloud_work(indexed=index), WORKERS)
    agree(aws, quantities(expected), expected.wall_s)
    # The bill after the run is counted from what it did.
    agree(aws, quantities(result), result.wall_time_s)
    assert quantities(result)["requests"] == pytest.approx(expected.calls, abs=expected.in_quarters)
    # The monitor looks at the bucket no more often than it may.
    config = aws.config["lithops"]
    assert counted(aws)["monitor"] <= result.wall_time_s / (config["monitoring_interval"] / 5) + 3


@pytest.mark.dear("a run that is stopped and resumed; the limit alone is in make test")
def test_what_is_left_is_what_a_resumed_run_is_expected_to_cost(
    aws: World, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, store = "resumed.zarr", f"s3://{RESULTS}/resumed.zarr"
    whole = maggjob.plan("atl06.yaml", catalog=catalog, store=store)
    real = billing.guard_for

    def by_calls(limit: float | None, settings: BackendSettings, expected: CloudRun | None) -> SpendGuard | None:
        # Without what the plan expects, which would refuse the run; and seconds, which depend on the machine, are free.
        guard = real(limit, settings, None)
        if guard is not None:
            guard.second = 0.0
        return guard

    monkeypatch.setattr("maggjob.pipeline.session.guard_for", by_calls)
    with pytest.raises(SpendError, match="limit of") as stop:
        do(aws, catalog, name, index=True, max_cost=6e-5)  # three calls, not four
    assert stop.value.unfinished  # type: ignore[attr-defined]
    aws.service.settle(30)
    note = maggjob.read_status(store)
    assert (note.stage, note.result) == ("stopped", None)
    kept = objects(RESULTS, f"{name}.run/parts/")
    assert 0 < len(kept) < len(whole.cells)
    assert objects(RESULTS, f"{name}/") == {}
    (bill,) = [one for one in bills_in(BUCKET, "us-west-2") if one.store == store]
    assert (bill.user, bill.complete) == ("ada", False)
    assert bill.dollars > 0
    monkeypatch.undo()
    for variable, value in aws.variables.items():
        monkeypatch.setenv(variable, value)
    aws.seen.clear()
    aws.service.end_sandboxes()
    seen: list[CloudRun | None] = []
    made = Session.__init__

    def noting(self: Session, *given: Any, **named: Any) -> None:
        made(self, *given, **named)
        seen.append(self.expected)

    monkeypatch.setattr(Session, "__init__", noting)
    result = do(aws, catalog, name, index=True)
    assert result.complete
    assert result.taken == len(kept)
    (expected,) = seen
    assert expected is not None
    assert expected.calls < cloud_run(whole.cloud_work(indexed=True), WORKERS).calls
    agree(aws, quantities(expected), expected.wall_s)
    agree(aws, quantities(result), result.wall_time_s)
    monkeypatch.undo()
    for variable, value in aws.variables.items():
        monkeypatch.setenv(variable, value)
    whole_run = do(aws, catalog, "at-once.zarr", backend="serial", lithops_config=None, region="us-west-2", index=False)
    assert whole_run.tally == result.tally
    assert objects(RESULTS, f"{name}/") == objects(RESULTS, "at-once.zarr/")


@pytest.mark.dear("a whole run on the emulator")
def test_the_bill_is_in_the_summary_and_in_the_bucket(
    aws: World, catalog: Catalog, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = do(aws, catalog, "bill.zarr", index=False)
    kept = json.loads(objects(RESULTS, "bill.zarr.run/")["summary.json"])
    assert [line["what"] for line in kept["bill"]] == ["compute", "INIT", "requests", "logs", "S3 GET", "S3 PUT"]
    assert kept["dollars"] == pytest.approx(sum(line["dollars"] for line in kept["bill"]))
    of_calls = sum(line.dollars for stage in result.stages for line in stage.bill)
    assert kept["dollars"] == pytest.approx(of_calls + sum(line["dollars"] for line in kept["bill"][-2:]))
    assert kept["expected_dollars"] == pytest.approx(sum(line["expected"] for line in kept["bill"]))
    assert kept["user"] == "ada"
    assert kept["warnings"] == []
    assert maggjob.read_status(result.store_path).dollars == pytest.approx(kept["dollars"])
    text = summary(kept)
    assert f"bill          ${kept['dollars']:.4f} on Lambda, ${kept['expected_dollars']:.4f} expected, ada" in text
    (bill,) = [one for one in bills_in(BUCKET, "us-west-2") if one.store == result.store_path]
    assert (bill.user, bill.dollars, bill.complete) == ("ada", pytest.approx(kept["dollars"]), True)
    assert bill.lines["S3 PUT"] == pytest.approx(kept["bill"][-1]["dollars"])
    # An operator sums them.
    (tmp_path / "own.yaml").write_text(json.dumps(aws.fresh_config()))
    monkeypatch.setattr("sys.argv", ["maggjob", "bills", "--lithops-config", str(tmp_path / "own.yaml")])
    main()
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1][0] == "ada"
    assert rows[-1][0] == "all"


@pytest.mark.dear("a whole run on the emulator")
def test_a_bill_that_cannot_be_kept_is_no_failure(
    aws: World, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(billing, "keep_bill", lambda bill, _, region: keep_bill(bill, "no-such-bucket", region))
    with Session(RunDescription(f"s3://{RESULTS}/own", "all", {"numbers": 2}, {"run": "1"}), _own(aws)) as session:
        outcomes = session.map("map", calls.square, [1, 2])
        kept = session.finish({"values": [outcome.value for outcome in outcomes]})
    assert kept["values"] == [1, 4]
    assert kept["complete"]
    (warning,) = kept["warnings"]
    assert "the bill was not kept" in warning
    assert "cannot write" in warning
    assert kept["tasks"]["map"]["done"] == 2


def _own(aws: World, **options: Any) -> SessionOptions:
    return SessionOptions(backend="aws_lambda", lithops_config=aws.fresh_config(), **options)


def test_a_plan_above_the_limit_is_refused_before_anything_is_written(
    aws: World, catalog: Catalog, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"expected to cost \$0\.000\d.*the limit of \$1e-05.*--max-cost 0\.01"):
        do(aws, catalog, "refused.zarr", max_cost=1e-5)
    catalog.write(tmp_path / "catalog.json")
    (tmp_path / "own.yaml").write_text(json.dumps(aws.fresh_config()))
    store = f"s3://{RESULTS}/refused.zarr"
    arguments = ["run", "--config", "atl06.yaml", "--catalog", str(tmp_path / "catalog.json"), "--store", store]
    arguments += ["--backend", "lambda", "--lithops-config", str(tmp_path / "own.yaml"), "--max-cost", "0.00001"]
    monkeypatch.setattr("sys.argv", ["maggjob", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == commands.BAD_INPUT
    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note")]
    assert line.startswith("error: the run is expected to cost $")
    assert {one.method for one in aws.seen} <= {"GET", "HEAD"}
    assert objects(RESULTS, "refused") == {}


@pytest.mark.dear("a whole run on the emulator; the plan above the limit is in make test")
def test_a_run_that_would_cost_more_is_stopped(aws: World, catalog: Catalog) -> None:
    """Twelve calls of a job of one's own, each of which costs more than a sixth of the limit."""
    run = RunDescription(f"s3://{RESULTS}/limited", "all", {"numbers": 12}, {"run": "1"})
    ended: list[int] = []
    with (
        pytest.raises(SpendError, match="raise --max-cost"),
        Session(run, _own(aws, max_cost=1e-4, max_workers=2, watch=lambda index, _: ended.append(index))) as session,
    ):
        session.map("map", calls.square, list(range(12)), session.options.watch)
    assert len(ended) < 6
    status = maggjob.read_status(run.store)
    assert status.stage == "stopped"
    assert status.run is not None
    assert "SpendError" in str(status.run.stopped)
    assert aws.job_objects == [] or aws.service.settle(30) is None
    sent = sum(status == 202 for status in aws.service.invocations)
    assert sent < 12
    # Enough for all: the same command goes on.
    with Session(run, _own(aws, max_cost=1.0)) as session:
        outcomes = session.map("map", calls.square, list(range(12)))
        kept = session.finish({})
    assert [outcome.value for outcome in outcomes] == [number**2 for number in range(12)]
    assert kept["tasks"]["map"]["done"] == 12


@pytest.mark.dear("starts the emulator; the refusal itself is tested without")
def test_a_limit_is_of_lambda_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Session(RunDescription(str(tmp_path / "own"), "all", {"n": 1}, {"run": "1"}), _here(1e-9)) as session:
        assert [outcome.value for outcome in session.map("map", calls.square, [3])] == [9]
        assert "bill" not in session.finish({})
    with pytest.raises(InputError, match="max_cost is -1"):
        Session(RunDescription(str(tmp_path / "own"), "all", {"n": 1}, {"run": "1"}), _here(-1))
    given = ["maggjob", "run", "--config", "no.yaml", "--max-cost", "1", "--backend", "serial", "--store", "x.zarr"]
    monkeypatch.setattr("sys.argv", given)
    with pytest.raises(SystemExit):
        main()
    assert "--max-cost is ignored" in capsys.readouterr().err


def _here(limit: float) -> SessionOptions:
    return SessionOptions(backend="serial", max_cost=limit)


@pytest.mark.dear("a whole run on the emulator")
def test_the_number_of_workers_is_chosen(aws: World, catalog: Catalog) -> None:
    plan = maggjob.plan("atl06.yaml", catalog=catalog, store=f"s3://{RESULTS}/chosen.zarr")
    session = Session(describe(plan), _own(aws))
    assert session.settings.workers == plan.choose_workers(1700).chosen.workers
    assert session.expected is not None
    assert session.expected.workers == session.settings.workers
    assert Session(describe(plan), _own(aws, max_workers=5000)).settings.workers == 5000
