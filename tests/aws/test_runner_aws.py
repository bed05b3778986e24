"""The runner on Lithops' own aws_lambda backend: values, faults of the service, and an outcome for every task."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import lithops.serverless.backends.aws_lambda.aws_lambda as lithops_lambda
import pytest

from maggjob.backend.executor import run_tasks
from maggjob.backend.outcome import Outcome
from maggjob.backend.retry import RetryPolicy
from maggjob.errors import BackendError
from tests import calls
from tests.aws import faults
from tests.aws.faults import Crash, Delay, Disconnect, Duplicate, Hang, Lose, OutOfMemory
from tests.aws.world import World

QUICK = RetryPolicy(resubmit_after=2, give_up_after=4, backup_after=3)


def do(aws: World, tasks: int = 4, function: Any = calls.square, **options: Any) -> list[Outcome[Any]]:
    options.setdefault("policy", QUICK)
    options.setdefault("config", aws.fresh_config())
    return run_tasks(function, list(range(tasks)), backend="aws_lambda", **{"deadline": 90, **options})


def squares(count: int) -> list[Outcome[int]]:
    return [Outcome(value=i**2) for i in range(count)]


def test_values_come_in_order_and_calls_are_known(aws: World) -> None:
    outcomes = do(aws, 5)
    assert outcomes == squares(5)
    runs = {run.request: run for run in aws.service.runs if run.calls}
    for outcome in outcomes:
        call = outcome.call
        run = runs[str(call.request)]
        assert (call.log_stream, call.cold, call.attempts, call.throttled) == (run.log_stream, run.cold, 1, 0)
        assert call.billed is not None
        assert run.seconds + run.init - 0.3 < call.billed < run.seconds + run.init + 0.05
        assert (call.init > 0) == run.cold
        assert call.queued is not None
        assert call.queued >= 0
    (function,) = aws.service.functions.values()
    assert function["Architectures"] == ["arm64"]
    assert function["PackageType"] == "Image"
    assert (function["MemorySize"], function["Timeout"]) == (2048, 15)
    assert aws.job_objects == []


def test_a_payload_is_small(aws: World) -> None:
    do(aws, 1)
    assert max(run.size for run in aws.service.runs) < 2000


def test_what_the_function_raises_is_reported_with_its_log(aws: World) -> None:
    outcomes = do(aws, 3, calls.raises)
    assert [(o.value, o.reason) for o in outcomes] == [(0, None), (None, "worker"), (2, None)]
    assert "ValueError: task one" in str(outcomes[1].message)
    assert f"log stream {outcomes[1].call.log_stream}" in str(outcomes[1].message)
    assert "task one" in aws.service.log(str(outcomes[1].call.log_stream))


def test_large_answers_of_all_calls_arrive(aws: World) -> None:
    outcomes = do(aws, 8, calls.large)  # Lithops writes them with a client that its child inherits
    assert [o.value for o in outcomes] == [bytes([i]) * 40_000 for i in range(8)]


@pytest.mark.parametrize(
    "fault", [faults.THROTTLED, faults.UNAVAILABLE, faults.BROKEN, Disconnect()], ids="429 503 500 cut".split()
)
def test_what_the_service_puts_off_is_tried_again(aws: World, fault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.randint", lambda low, high: 0)  # Lithops' pause of up to 5 s
    aws.service.faults.at_invoke.extend([fault, fault, None, fault])
    outcomes = do(aws, 4)
    assert outcomes == squares(4)
    assert sum(o.call.throttled for o in outcomes) == 3
    assert [o.call.attempts for o in outcomes] == [1] * 4


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (faults.DENIED, "not authorized to perform: lambda:InvokeFunction.*maggjob doctor"),
        (faults.EXPIRED, "credentials have expired"),
        (faults.Refuse(404, "ResourceNotFoundException", "gone"), "maggjob runtime deploy"),
        (faults.Refuse(413, "RequestTooLargeException", "large"), "too large"),
    ],
    ids=["right", "expired", "gone", "large"],
)
def test_a_service_that_refuses_every_call_stops_the_run_at_once(aws: World, fault: Any, said: str) -> None:
    aws.service.faults.every_invoke = fault
    started = time.monotonic()
    with pytest.raises(BackendError, match=said):
        do(aws, 4)
    assert time.monotonic() - started < 10
    assert 202 not in aws.service.invocations
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
    do(aws, 1)
    monkeypatch.setattr("random.randint", lambda low, high: 1)
    aws.service.faults.every_invoke = Disconnect()
    outcomes = do(aws, 2, deadline=3)
    assert [o.reason for o in outcomes] == ["deadline"] * 2
    assert len(aws.service.requests) < 60
    assert all(o.call.throttled > 0 for o in outcomes)


def test_a_lost_event_is_submitted_again(aws: World) -> None:
    aws.service.faults.at_invoke.extend([None, Lose()])
    outcomes = do(aws, 4)
    assert outcomes == squares(4)
    assert sorted(o.call.attempts for o in outcomes) == [1, 1, 1, 2]


def test_a_call_that_never_starts_is_given_up(aws: World) -> None:
    aws.service.faults.every_invoke = Lose()
    outcomes = do(aws, 2, policy=RetryPolicy(resubmit_after=1, give_up_after=2))
    assert [o.reason for o in outcomes] == ["never_started"] * 2
    assert [o.call.attempts for o in outcomes] == [2, 2]
    assert all("run again" in str(o.message) for o in outcomes)


def test_an_event_that_comes_late_is_not_lost(aws: World) -> None:
    aws.service.faults.at_invoke.append(Delay(3.0))
    assert do(aws, 2, policy=RetryPolicy(resubmit_after=20)) == squares(2)


def test_an_event_that_is_delivered_twice_counts_once(aws: World) -> None:
    aws.service.faults.at_invoke.append(Duplicate())
    seen: list[int] = []
    assert do(aws, 3, watch=lambda index, _: seen.append(index)) == squares(3)
    assert sorted(seen) == [0, 1, 2]


@pytest.mark.parametrize("fault", [Crash(0.02), OutOfMemory(0.02)], ids=["crash", "memory"])
def test_a_sandbox_that_dies_is_made_good_by_lambdas_second_attempt(aws: World, fault: Any) -> None:
    do(aws, 1)  # metadata: the faults are for calls
    aws.service.runs.clear()
    aws.service.faults.in_sandbox.extend([fault, None])
    outcomes = do(aws, 3, policy=RetryPolicy())
    assert outcomes == squares(3)
    again = [run for run in aws.service.runs if run.attempt == 2]
    assert [run.status for run in again] == ["ok"]
    streams = {run.log_stream for run in aws.service.runs if run.status == "ok"}
    assert {o.call.log_stream for o in outcomes} <= streams


def test_a_call_whose_sandboxes_all_die_is_an_outcome_with_its_log(aws: World) -> None:
    config = aws.fresh_config()
    do(aws, 1, config=config)
    aws.service.runs.clear()
    aws.service.faults.every_run = Crash(0.3)
    config["lithops"]["execution_timeout"] = 2
    (outcome,) = do(aws, 1, calls.naps, config=config, policy=RetryPolicy(backup_after=600, max_submissions=1))
    assert outcome.reason == "died"
    assert [run.attempt for run in aws.service.runs] == [1, 2, 3]
    assert outcome.call.log_stream in {run.log_stream for run in aws.service.runs}
    assert f"log stream {outcome.call.log_stream}" in str(outcome.message)
    assert "crashed, or ran out of memory or time" in str(outcome.message)


def test_a_call_that_hangs_gets_a_backup(aws: World) -> None:
    do(aws, 2)
    aws.service.faults.in_sandbox.append(Hang(0.2))
    started = time.monotonic()
    outcomes = do(aws, 4, calls.naps, policy=RetryPolicy(backup_after=1))
    assert [o.value for o in outcomes] == [0, 1, 2, 3]
    assert max(o.call.attempts for o in outcomes) == 2
    assert time.monotonic() - started < 12  # the function's own 15 s were not waited for


def test_more_tasks_than_workers_all_run(aws: World) -> None:
    assert do(aws, 7, config=aws.fresh_config(max_workers=2)) == squares(7)


def test_the_deadline_ends_what_has_not_ended(aws: World) -> None:
    aws.service.faults.at_invoke.append(Lose())
    outcomes = do(aws, 3, deadline=4, policy=RetryPolicy())
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
def test_what_cannot_start_says_what_to_do(aws: World, change: dict[str, Any], said: str) -> None:
    aws.service.bad_roles.add("arn:aws:iam::123456789012:role/gone")
    with pytest.raises(BackendError, match=said):
        do(aws, 2, config=aws.fresh_config(runtime_memory=1024, **change))


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
    [({"lithops_version": "3.7.0"}, "version mismatch.*runtime build"), ({"python_version": "3.9"}, "this Python")],
    ids=["lithops", "python"],
)
def test_an_image_of_other_versions_is_refused(
    aws: World, remote: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = lithops_lambda.AWSLambdaBackend._generate_runtime_meta
    monkeypatch.setattr(lithops_lambda.AWSLambdaBackend, "_generate_runtime_meta", lambda *a: real(*a) | remote)
    with pytest.raises(BackendError, match=said):
        do(aws, 1, config=aws.fresh_config(runtime_memory=512 + len(said)))
    assert aws.service.invocations == [200]  # which asked for the versions


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


def test_nothing_is_left_in_the_bucket(aws: World) -> None:
    do(aws, 3, calls.raises, policy=RetryPolicy())
    assert aws.job_objects == []
