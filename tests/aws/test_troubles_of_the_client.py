"""Troubles of the client while calls run: clean-ups that are denied, functions that sleep, keys that expire."""

from collections.abc import Iterator
from typing import Any

import boto3
import lithops.storage.storage as lithops_storage
import pytest

from maggjob.backend.executor import run_tasks
from maggjob.backend.outcome import Outcome
from maggjob.backend.retry import RetryPolicy
from maggjob.errors import BackendError, ExpiredKeysError, StoppedError
from maggjob.pipeline.session import RunDescription, Session, SessionOptions
from tests import calls
from tests.aws import faults
from tests.aws.conftest import KEY
from tests.aws.front import Front
from tests.aws.world import BUCKET, World

SQUARES = [Outcome(value=i**2) for i in range(3)]


def do(aws: World, **options: Any) -> list[Outcome[Any]]:
    options.setdefault("config", aws.fresh_config())
    return run_tasks(calls.square, [0, 1, 2], backend="aws_lambda", **{"deadline": 600, **options})


# ---- clean-ups


@pytest.mark.parametrize("method", ["LIST", "DELETE", "POST"])
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


def test_what_is_done_stays_if_the_backend_refuses_a_later_stage(aws: World, door: Front) -> None:
    run = RunDescription("s3://results/later", "all", {"tasks": 3}, {"run": "5f0c"})
    boto3.client("s3").create_bucket(Bucket="results", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    options = SessionOptions("aws_lambda", lithops_config=aws.fresh_config())
    with pytest.raises(BackendError) as caught, Session(run, options) as session:  # noqa: PT012
        assert session.map("map", calls.square, [0, 1, 2]) == SQUARES
        from maggjob.storage.folder import Folder

        Folder(session.folder).put("parts/all/0.npz", b"part")
        aws.service.faults.every_invoke = faults.DENIED
        session.map("map again", calls.square, [1])
    assert caught.value.unfinished  # type: ignore[attr-defined]
    assert Folder(session.folder).keys() == ["parts/all/0.npz", "run.json"]
