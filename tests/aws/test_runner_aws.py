"""The runner on Lithops' own aws_lambda backend: values, faults of the service, and an outcome for every task.

No test depends on the speed of the machine: where the client is to lose patience, its clock jumps (`tests.aws.clocks`).
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import lithops.serverless.backends.aws_lambda.aws_lambda as lithops_lambda
import pytest

from maggjob.backend.call_times import stage_calls
from maggjob.backend.executor import run_tasks
from maggjob.backend.outcome import Outcome
from maggjob.backend.retry import RetryPolicy
from maggjob.errors import BackendError
from tests import calls
from tests.aws import clocks, doomed, faults
from tests.aws.faults import Crash, Delay, Disconnect, Duplicate, Hang, Lose, OutOfMemory
from tests.aws.world import World

NEVER = 1e9
"""Seconds: no deadline, even by a clock that jumps."""


def do(aws: World, tasks: int = 4, function: Any = calls.square, **options: Any) -> list[Outcome[Any]]:
    options.setdefault("config", aws.fresh_config())
    return run_tasks(function, list(range(tasks)), backend="aws_lambda", **{"deadline": 600, **options})


def _twice(put_off: Counter[Any]) -> bool:
    """Return True if two calls have been put off twice."""
    return sorted(put_off.values())[:2] >= [2, 2]


def squares(count: int) -> list[Outcome[int]]:
    return [Outcome(value=i**2) for i in range(count)]


def test_values_come_in_order_and_calls_are_known(aws: World) -> None:
    outcomes = do(aws, 5, calls.naps)
    assert outcomes == [Outcome(value=i) for i in range(5)]
    runs = {run.request: run for run in aws.service.runs if run.calls}
    for outcome in outcomes:
        call = outcome.call
        run = runs[str(call.request)]
        assert (call.log_stream, call.cold, call.attempts, call.throttled) == (run.log_stream, run.cold, 1, 0)
        assert call.billed is not None
        assert 0.3 <= call.billed < run.seconds + run.init + 0.05  # the nap; and what the service sees from outside
        assert (call.init > 0) == run.cold
        assert call.queued is not None
        assert call.queued >= 0
    (function,) = aws.service.functions.values()
    assert function["Architectures"] == ["arm64"]
    assert function["PackageType"] == "Image"
    assert (function["MemorySize"], function["Timeout"]) == (2048, 300)
    assert max(run.size for run in aws.service.runs) < 2000
    assert aws.job_objects == []


def test_what_the_function_raises_is_reported_with_its_log(aws: World) -> None:
    outcomes = do(aws, 3, calls.raises)
    assert [(o.value, o.reason) for o in outcomes] == [(0, None), (None, "worker"), (2, None)]
    assert "ValueError: task one" in str(outcomes[1].message)
    assert f"log stream {outcomes[1].call.log_stream}" in str(outcomes[1].message)
    assert "task one" in aws.service.log(str(outcomes[1].call.log_stream))
    assert aws.job_objects == []


def test_large_answers_of_all_calls_arrive(aws: World) -> None:
    outcomes = do(aws, 8, calls.large)  # Lithops writes them with a client that its child inherits
    assert [o.value for o in outcomes] == [bytes([i]) * 40_000 for i in range(8)]


def test_what_the_service_puts_off_is_tried_again(aws: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.randint", lambda low, high: 0)  # Lithops' pause of up to 5 s
    put_off = [faults.THROTTLED, faults.UNAVAILABLE, None, faults.BROKEN, Disconnect(), faults.THROTTLED]
    aws.service.faults.at_invoke.extend(put_off)
    outcomes = do(aws, 4)
    assert outcomes == squares(4)
    assert sorted(aws.service.invocations) == [0, 202, 202, 202, 202, 429, 429, 500, 503]
    assert sum(o.call.throttled for o in outcomes) == 5
    assert [o.call.attempts for o in outcomes] == [1] * 4


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (faults.DENIED, "not authorized to perform: lambda:InvokeFunction.*maggjob doctor"),
        (faults.Refuse(404, "ResourceNotFoundException", "gone"), "maggjob runtime deploy"),
        (faults.Refuse(413, "RequestTooLargeException", "large"), "too large"),
    ],
    ids=["right", "gone", "large"],
)
def test_a_service_that_refuses_every_call_stops_the_run_at_once(aws: World, fault: Any, said: str) -> None:
    aws.service.faults.every_invoke = fault
    with pytest.raises(BackendError, match=said):
        do(aws, 4)
    assert 202 not in aws.service.invocations
    assert len(aws.service.invocations) <= 4  # none was tried again
    assert aws.job_objects == []


def test_one_call_that_is_refused_is_an_outcome(aws: World) -> None:
    aws.service.faults.at_invoke.extend([None, None, None, faults.DENIED])
    outcomes = do(aws, 4, config=aws.fresh_config(invoke_pool_threads=4, max_workers=1))
    assert sorted(str(o.reason) for o in outcomes) == ["None", "None", "None", "refused"]


def test_throttling_without_end_ends(aws: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.randint", lambda low, high: 0)
    aws.service.faults.every_invoke = faults.THROTTLED
    with pytest.raises(BackendError, match=r"not accepted by the backend for 1 s \(429: .*fewer workers"):
        do(aws, 2, policy=RetryPolicy(offer_for=1))


def test_a_service_that_is_not_there_is_no_endless_loop(aws: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[int] = []
    monkeypatch.setattr("random.randint", lambda low, high: pauses.append(high) or 0)
    made = clocks.follow(monkeypatch)
    waits = clocks.JumpingClock(lambda: bool(made) and _twice(made[0].invocations.put_off), step=1000.0)
    monkeypatch.setattr("maggjob.backend.watch.time", waits)
    aws.service.faults.every_invoke = Disconnect()
    outcomes = do(aws, 2)
    assert [o.reason for o in outcomes] == ["deadline"] * 2
    assert all(o.call.throttled > 0 for o in outcomes)
    assert set(aws.service.invocations) == {0}
    assert len(aws.service.invocations) == sum(made[0].invocations.put_off.values())  # one request for each offer
    assert pauses


def test_a_lost_event_is_submitted_again(aws: World, monkeypatch: pytest.MonkeyPatch) -> None:
    aws.service.faults.at_invoke.extend([None, Lose()])
    clocks.lose_patience(monkeypatch, tasks=1, submissions=1)
    outcomes = do(aws, 4, deadline=NEVER)
    assert outcomes == squares(4)
    assert sorted(o.call.attempts for o in outcomes) == [1, 1, 1, 2]


def test_a_call_that_never_starts_is_given_up(aws: World, monkeypatch: pytest.MonkeyPatch) -> None:
    aws.service.faults.every_invoke = Lose()
    clocks.lose_patience(monkeypatch, tasks=2, submissions=2)
    outcomes = do(aws, 2, deadline=NEVER)
    assert [o.reason for o in outcomes] == ["never_started"] * 2
    assert [o.call.attempts for o in outcomes] == [2, 2]
    assert all("run again" in str(o.message) for o in outcomes)


def test_an_event_that_comes_late_is_not_lost(aws: World) -> None:
    aws.service.faults.at_invoke.append(Delay(1.0))
    outcomes = do(aws, 2, policy=RetryPolicy(resubmit_after=NEVER))
    assert outcomes == squares(2)
    assert [o.call.attempts for o in outcomes] == [1, 1]


def test_an_event_that_is_delivered_twice_counts_once(aws: World) -> None:
    aws.service.faults.at_invoke.append(Duplicate())
    seen: list[int] = []
    assert do(aws, 3, watch=lambda index, _: seen.append(index)) == squares(3)
    assert sorted(seen) == [0, 1, 2]


@pytest.mark.dear("waits for the service's own next attempt")
def test_a_sandbox_that_dies_is_made_good_by_lambdas_next_attempt(aws: World) -> None:
    aws.service.faults.in_sandbox.extend([Crash(0.02), OutOfMemory(0.02)])
    outcomes = do(aws, 3)
    assert outcomes == squares(3)
    assert [o.call.attempts for o in outcomes] == [1, 1, 1]  # the client submitted nothing again
    statuses = sorted(run.status for run in aws.service.runs if run.calls)
    assert statuses == ["exit", "ok", "ok", "ok", "oom"]
    streams = {run.log_stream for run in aws.service.runs if run.status == "ok"}
    assert {o.call.log_stream for o in outcomes} <= streams


@pytest.mark.dear("three sandboxes one after the other; tests/aws/test_run_aws.py lets calls die in whole runs")
def test_a_call_whose_sandboxes_all_die_is_an_outcome_with_its_log(aws: World, monkeypatch: pytest.MonkeyPatch) -> None:
    aws.service.faults.of_calls[0, "00000"] = Crash()
    clocks.let_die(monkeypatch, aws.service, {0: 1}, strikes=3)
    (outcome,) = do(aws, 1, doomed.naps, policy=RetryPolicy(max_submissions=1))
    assert outcome.reason == "died"
    clocks.wait_for(lambda: len(aws.service.runs) == 3)
    assert [run.attempt for run in aws.service.runs] == [1, 2, 3]
    assert outcome.call.log_stream in {run.log_stream for run in aws.service.runs}
    assert f"log stream {outcome.call.log_stream}" in str(outcome.message)
    assert "crashed, or ran out of memory or time" in str(outcome.message)


@pytest.mark.dear("waits for a call that hangs; tests/backend has the same without the emulator")
def test_a_call_that_hangs_gets_a_backup(aws: World) -> None:
    aws.service.faults.in_sandbox.append(Hang())
    outcomes = do(aws, 4, doomed.naps, policy=RetryPolicy(backup_after=1, backup_factor=1))
    assert [o.value for o in outcomes] == [0, 1, 2, 3]
    assert max(o.call.attempts for o in outcomes) == 2
    columns = stage_calls("map", outcomes, began=0.0, since=0.0, took=0.0)
    (again,) = columns.attempts
    others = [at for i, at in enumerate(columns.started) if i != again]
    assert columns.attempts[again] == 2
    assert len(set(columns.workers)) == len({o.call.log_stream for o in outcomes})
    # The backup started after all others, and the task had been submitted with them.
    assert (columns.started[again] or 0) > max(at or 0 for at in others)
    assert columns.submitted[again] == pytest.approx(columns.submitted[0], abs=100)
    assert {run.status for run in aws.service.runs} == {"ok"}  # the end of the call that hangs was not waited for


@pytest.mark.dear("many calls; whole runs have more calls than workers, too")
def test_more_tasks_than_workers_all_run(aws: World) -> None:
    assert do(aws, 7, config=aws.fresh_config(max_workers=2)) == squares(7)


@pytest.mark.dear("3 CPU-seconds; its neighbours cover the same lines")
def test_the_deadline_ends_what_has_not_ended(aws: World, monkeypatch: pytest.MonkeyPatch) -> None:
    aws.service.faults.at_invoke.append(Lose())
    clocks.lose_patience(monkeypatch, tasks=1, submissions=1)
    outcomes = do(aws, 3, deadline=2000, policy=RetryPolicy(resubmit_after=NEVER))
    assert sorted(str(o.reason) for o in outcomes) == ["None", "None", "deadline"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"runtime": "nothing:01"}, "no image of this name.*maggjob runtime build|is not deployed to ECR"),
        ({"runtime": "maggjob:77"}, "no image with this tag"),
        ({"execution_role": "arn:aws:iam::123456789012:role/gone"}, "cannot be assumed by Lambda.*execution_role"),
    ],
    ids=["image", "tag", "role"],
)
@pytest.mark.dear("each starts Lithops anew")
def test_what_cannot_start_says_what_to_do(aws: World, change: dict[str, Any], said: str) -> None:
    aws.service.bad_roles.add("arn:aws:iam::123456789012:role/gone")
    with pytest.raises(BackendError, match=said):
        do(aws, 2, config=aws.fresh_config(runtime_memory=1024, **change))


@pytest.mark.dear("boto3 looks for credentials everywhere")
def test_without_credentials_nothing_starts(aws: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(BackendError, match=r"Unable to locate credentials.*log in to AWS"):
        do(aws, 1)


@pytest.mark.parametrize(
    ("remote", "said"),
    [
        ({"lithops_version": "3.7.0"}, "version mismatch.*runtime build"),
        pytest.param({"python_version": "3.9"}, "this Python", marks=pytest.mark.dear("as for Lithops")),
    ],
    ids=["lithops", "python"],
)
@pytest.mark.dear("an image is looked at before a first call")
def test_an_image_of_other_versions_is_refused(
    aws: World, remote: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = lithops_lambda.AWSLambdaBackend._generate_runtime_meta
    monkeypatch.setattr(lithops_lambda.AWSLambdaBackend, "_generate_runtime_meta", lambda *a: real(*a) | remote)
    with pytest.raises(BackendError, match=said):
        do(aws, 1, config=aws.fresh_config(runtime_memory=512 + len(said)))
    assert aws.service.invocations == [200]  # which asked for the versions


@pytest.mark.dear("waits for Lithops to give up")
def test_an_image_for_another_machine_is_refused(aws: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "python"
    program.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(57))  # for no machine
    program.chmod(0o755)
    monkeypatch.setattr(aws.service, "image", replace(aws.service.image, entrypoint=(str(program),)))
    aws.service.end_sandboxes()
    with pytest.raises(BackendError, match=r"InvalidEntrypoint.*exec format error.*built for another architecture"):
        do(aws, 1, config=aws.fresh_config(runtime_memory=1111))
    assert aws.service.invocations == [200]  # which asked for the versions
    assert aws.service.processes == []
    assert aws.job_objects == []
