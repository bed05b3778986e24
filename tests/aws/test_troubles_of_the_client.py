"""Troubles of the client: clean-ups that are denied, answers that are lost, functions that sleep, keys that expire."""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import boto3
import lithops.storage.storage as lithops_storage
import pytest

from maggjob.backend.executor import run_tasks
from maggjob.backend.outcome import Outcome
from maggjob.backend.retry import RetryPolicy
from maggjob.errors import BackendError, ExpiredKeysError, StoppedError
from maggjob.pipeline.session import RunDescription, Session, SessionOptions
from maggjob.storage.credentials import CredentialSet
from maggjob.storage.earthdata import _object
from maggjob.storage.folder import Folder
from tests import calls
from tests.aws import clocks, faults
from tests.aws.conftest import KEY
from tests.aws.front import Front
from tests.aws.world import BUCKET, World

SQUARES = [Outcome(value=i**2) for i in range(3)]


def make_results() -> None:
    """Make a bucket for results, unless it is there."""
    west = {"LocationConstraint": "us-west-2"}
    with suppress(boto3.client("s3").exceptions.BucketAlreadyOwnedByYou):
        boto3.client("s3").create_bucket(Bucket="results", CreateBucketConfiguration=west)


def do(aws: World, **options: Any) -> list[Outcome[Any]]:
    options.setdefault("config", aws.fresh_config())
    return run_tasks(calls.square, [0, 1, 2], backend="aws_lambda", **{"deadline": 600, **options})


# ---- clean-ups


@pytest.mark.parametrize("method", ["LIST", "DELETE", pytest.param("POST", marks=pytest.mark.dear("as DELETE"))])
def test_a_clean_up_that_fails_loses_no_outcome(aws: World, door: Front, method: str) -> None:
    """S3 denies a listing, each object of a deletion, or (in place of an outage) the whole deletion."""
    seen: list[int] = []
    told: list[str] = []

    def watch(index: int, outcome: Outcome[Any]) -> None:
        seen.append(index)
        if len(seen) == 3:
            door.denied.add((method, BUCKET))

    assert do(aws, watch=watch, warn=told.append) == SQUARES
    assert sorted(seen) == [0, 1, 2]
    assert len(told) == 1
    door.denied.clear()
    if method == "LIST":
        assert "AccessDenied" in told[0]
    else:
        assert told[0].startswith(f"{len(aws.job_objects)} objects of Lithops remain in the bucket {BUCKET}, below")
        assert "KeepDays" in told[0]
    assert aws.job_objects  # they are really there


def test_a_clean_up_that_fails_does_not_hide_the_error_of_the_run(aws: World, door: Front) -> None:
    told: list[str] = []

    def watch(index: int, outcome: Outcome[Any]) -> None:
        door.denied |= {("DELETE", BUCKET), ("LIST", BUCKET)}
        raise StoppedError("enough")

    with pytest.raises(StoppedError, match="enough"):
        do(aws, watch=watch, warn=told.append)
    assert len(told) == 1


def test_an_error_of_the_backend_is_told_although_the_folder_cannot_be_emptied(
    aws: World, door: Front, caplog: pytest.LogCaptureFixture
) -> None:
    make_results()
    run = RunDescription("s3://results/refused", "all", {"tasks": 3}, {"run": "5f0c"})
    aws.service.faults.every_invoke = faults.DENIED
    options = SessionOptions("aws_lambda", lithops_config=aws.fresh_config())
    with pytest.raises(BackendError, match="not authorized") as caught, Session(run, options) as session:  # noqa: PT012
        door.denied.add(("DELETE", "results"))
        session.map("map", calls.square, [0, 1, 2])
    assert not caught.value.unfinished  # type: ignore[attr-defined]
    assert "what the run wrote to s3://results/refused.run remains" in caplog.text


def test_a_private_object_that_cannot_be_deleted_is_told(
    aws: World, door: Front, caplog: pytest.LogCaptureFixture
) -> None:
    """A user who may neither list the objects of others nor delete can work."""
    make_results()
    door.denied |= {("LIST", "results"), ("DELETE", "results")}
    with _object("results", "us-west-2") as (url, write):
        write(CredentialSet())
    door.denied.clear()
    assert url.removeprefix("s3://results/") in {
        item.key for item in boto3.resource("s3").Bucket("results").objects.all()
    }
    assert "cannot delete the credentials, which expire within an hour" in caplog.text


# ---- answers that are lost


def of_answers(path: str) -> bool:
    return path.endswith("output.pickle")


def large(aws: World, **options: Any) -> list[Outcome[Any]]:
    """Calls whose answers are too large for their statuses."""
    return run_tasks(calls.large, [0, 1], backend="aws_lambda", config=aws.fresh_config(), deadline=600, **options)


def test_an_answer_that_cannot_be_read_at_once_is_read_later(aws: World, door: Front) -> None:
    shut = Counter[str]()

    def twice(path: str) -> bool:
        shut[path] += of_answers(path)
        return 0 < shut[path] <= 2

    door.shut = twice
    outcomes = large(aws)
    assert [outcome.value for outcome in outcomes] == [bytes([i]) * 40_000 for i in range(2)]
    assert [outcome.call.attempts for outcome in outcomes] == [1, 1]
    assert [count for count in shut.values() if count] == [3, 3]


@pytest.mark.parametrize("status", [403, pytest.param(404, marks=pytest.mark.dear("Lithops asks ten times"))])
def test_an_answer_that_cannot_be_read_is_lost_and_its_task_submitted_again(
    aws: World, door: Front, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lithops.future.time", clocks.JumpingClock(lambda: False))  # whose pauses are short
    if status == 403:
        door.shut = of_answers
    else:
        door.lost = of_answers
    outcomes = large(aws, policy=RetryPolicy(first_pause=0.0))
    assert [(one.reason, one.earlier, one.call.attempts) for one in outcomes] == [("lost", ("lost",), 2)] * 2
    assert sorted(aws.service.invocations) == [202] * 4


# ---- functions that sleep


@pytest.fixture
def asleep(aws: World) -> Iterator[World]:
    """A function that nobody has called for weeks."""
    if not aws.service.functions:
        do(aws)
    aws.service.put_to_sleep()
    aws.service.requests.clear()
    yield aws
    for function in aws.service.functions.values():
        function |= {"State": "Active", "StateReasonCode": ""}


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_a_function_that_sleeps_is_woken_before_the_first_call(
    asleep: World, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lithops asks a function for its versions, unless it has kept them."""
    if not known:
        monkeypatch.setattr(lithops_storage, "RUNTIME_META_CACHE", {})
        monkeypatch.setattr(lithops_storage, "CACHE_DIR", "/nowhere/cache")
        monkeypatch.setattr(lithops_storage.InternalStorage, "_write_runtime_meta_file", lambda *_: None)
        for item in boto3.resource("s3").Bucket(BUCKET).objects.filter(Prefix="lithops.runtimes/"):
            item.delete()
    said: list[str] = []
    outcomes = do(asleep, policy=RetryPolicy(wake_pause=0.0), say=said.append)
    assert outcomes == SQUARES
    assert [one.call.throttled for one in outcomes] == [0, 0, 0]
    assert asleep.service.invocations == [409, *([] if known else [200]), 202, 202, 202]
    (name,) = asleep.service.functions
    assert said[0].startswith(f"the function {name} is asleep, and is woken up")
    assert f"the function {name} is ready" in said[1]
    assert len(said) == 2


@pytest.mark.dear(
    "the emulator per state",
    keep=(
        "Inactive-Idle-is Inactive .Idle.* after .*run again later",
        "Inactive-ImageDeleted-is Inactive .ImageDeleted.*runtime deploy",
    ),
)
@pytest.mark.parametrize(
    ("state", "code", "said"),
    [
        ("Failed", "ImageAccessDenied", "is Failed .ImageAccessDenied: made by a test.*runtime delete.*runtime deploy"),
        ("Inactive", "ImageDeleted", "is Inactive .ImageDeleted.*runtime deploy"),
        ("Inactive", "Idle", "is Inactive .Idle.* after .*run again later"),
        ("Pending", "Restoring", "is Pending .Restoring.* after .*run again later"),
    ],
)
def test_a_function_that_does_not_wake_up_is_an_error(asleep: World, state: str, code: str, said: str) -> None:
    asleep.service.put_to_sleep(None if state == "Pending" else 1, state, code)
    patience = 1.0 if code in ("Idle", "Restoring") else 1e9
    with pytest.raises(BackendError, match=said):
        do(asleep, policy=RetryPolicy(wake_pause=0.0, wake_for=patience))
    assert set(asleep.service.invocations) == {409}
    assert asleep.job_objects == []


@pytest.mark.dear("as functions that sleep, above")
def test_a_user_who_may_not_look_at_functions_can_run(asleep: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first calls wake the function, and are offered again."""
    monkeypatch.setattr("random.randint", lambda low, high: 0)
    monkeypatch.setattr(asleep.service, "may_look", False)
    outcomes = do(asleep)
    assert outcomes == SQUARES
    assert sum(one.call.throttled for one in outcomes) == asleep.service.invocations.count(409) > 0


# ---- keys that expire


def expire(aws: World, door: Front) -> None:
    door.expired.add(KEY)
    aws.service.expired.add(KEY)


@pytest.mark.parametrize("code", ["ExpiredTokenException", "UnrecognizedClientException"])
def test_an_invocation_with_expired_keys_ends_the_run_at_once(aws: World, code: str) -> None:
    word = "expired" if code.startswith("Expired") else "invalid"
    text = f"The security token included in the request is {word}."
    aws.service.faults.at_invoke.append(None)
    aws.service.faults.every_invoke = faults.Refuse(403, code, text)
    with pytest.raises(ExpiredKeysError, match=r"credentials of this machine .* renew them and run the same command"):
        do(aws, deadline=1e9)
    assert len(aws.service.invocations) <= 3  # none was offered again


@pytest.mark.dear("a whole run in the emulator; the invocation with expired keys stays")
def test_expired_keys_are_told_once_while_calls_run(aws: World, door: Front, capfd: pytest.CaptureFixture[str]) -> None:
    """The keys expire with the first answer: what Lithops asks next is refused."""
    seen: list[Outcome[Any]] = []
    told: list[str] = []

    def watch(index: int, outcome: Outcome[Any]) -> None:
        seen.append(outcome)
        expire(aws, door)

    config = aws.fresh_config(max_workers=1)
    with pytest.raises(ExpiredKeysError, match=r"have expired \(.*, seen at .* UTC\); renew them and run the same"):
        do(aws, watch=watch, warn=told.append, deadline=1e9, config=config)
    assert len(seen) < 3
    assert all(outcome.value is not None for outcome in seen)  # none counts as failed
    assert told == [one for one in told if "objects of Lithops remain" in one]
    assert len(told) == 1
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.dear("a whole run on the emulator, and its second try")
def test_what_is_done_stays_if_the_backend_refuses_a_later_stage(aws: World, door: Front) -> None:
    make_results()
    run = RunDescription("s3://results/later", "all", {"tasks": 3}, {"run": "5f0c"})
    options = SessionOptions("aws_lambda", lithops_config=aws.fresh_config())
    with pytest.raises(BackendError) as caught, Session(run, options) as session:  # noqa: PT012
        assert session.map("map", calls.square, [0, 1, 2]) == SQUARES
        Folder(session.folder).put("parts/all/0.npz", b"part")
        aws.service.faults.every_invoke = faults.DENIED
        session.map("map again", calls.square, [1])
    assert caught.value.unfinished  # type: ignore[attr-defined]
    assert Folder(session.folder).keys() == ["parts/all/0.npz", "run.json"]
