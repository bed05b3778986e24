"""What is known about a call survives the key it travels in, and the submission of calls never ends in silence."""

import string
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from maggjob.backend.invoke import REFUSED, Invocations, explain
from maggjob.backend.outcome import Activation, Call
from maggjob.backend.retry import RetryPolicy, is_temporary
from maggjob.errors import BackendError

STREAMS = st.text(string.ascii_letters + string.digits + "/[]$-_.", max_size=60)
MILLISECONDS = st.integers(0, 4 * 10**12).map(lambda ms: ms / 1000)


@given(st.uuids().map(str), STREAMS, MILLISECONDS, MILLISECONDS)
def test_an_activation_survives_as_one_part_of_a_key(request: str, stream: str, started: float, init: float) -> None:
    made = Activation(request, stream, started, init)
    assert Activation.parse(made.pack()) == made
    assert not set("/[]$ ") & set(made.pack())


@given(st.text(string.ascii_letters + string.digits + "-", min_size=1))
def test_any_other_word_is_a_request(word: str) -> None:
    assert Activation.parse(word) == Activation(word)


def test_a_call_says_where_its_log_is() -> None:
    assert Call().where() == "no log: it never started"
    assert Call("r").where() == "request r"


class Backend:
    """Answers invocations as told."""

    def __init__(self, *answers: Callable[[], Any]) -> None:
        self.answers = list(answers)
        self.session = Session(self)

    def invoke(self, runtime: str, memory: int, payload: dict[str, Any]) -> str:
        answer = self.session.send(object())
        if answer.status_code == 202:
            return "request"
        raise Exception(f"Error {answer.status_code}: {answer.text}")  # as Lithops does


class Session:
    """Stands for botocore's."""

    backend: Backend

    def __init__(self, backend: Backend | None = None, max_pool_connections: int = 10) -> None:
        self.connections = max_pool_connections
        if backend is not None:
            type(self).backend = backend

    def send(self, request: object) -> Any:
        return self.backend.answers.pop(0)()


def status(code: int, text: str = "said") -> Callable[[], Any]:
    return lambda: SimpleNamespace(status_code=code, text=text)


def unplugged() -> Any:
    raise OSError("unplugged")


PAYLOAD = {"job_id": "M000", "call_ids": ["00000"]}
KEY = ("M000", "00000")


@pytest.mark.parametrize("answer", [status(429), status(500), status(503), unplugged])
def test_what_is_put_off_can_be_accepted_later(answer: Callable[[], Any]) -> None:
    invocations = Invocations(backend := Backend(answer, answer, status(202)))
    assert [backend.invoke("r:1", 1, PAYLOAD) for _ in range(3)] == [None, None, "request"]
    assert list(invocations.accepted) == [KEY]
    assert (invocations.put_off[KEY], invocations.refused) == (2, {})


@pytest.mark.parametrize("answer", [status(429), status(500), unplugged])
def test_offering_again_ends(answer: Callable[[], Any]) -> None:
    invocations = Invocations(backend := Backend(answer), policy=RetryPolicy(offer_for=0))
    assert backend.invoke("r:1", 1, PAYLOAD) == REFUSED
    assert list(invocations.refused) == [KEY]
    assert not invocations.accepted


@pytest.mark.parametrize("code", [400, 401, 403, 404, 413])
def test_what_is_refused_is_not_tried_again(code: int) -> None:
    invocations = Invocations(backend := Backend(status(code)))
    assert backend.invoke("r:1", 1, PAYLOAD) == REFUSED
    assert str(code) in invocations.refused[KEY]
    assert not invocations.put_off


def test_a_refusal_is_told_and_the_first_of_all_stops_the_run() -> None:
    invocations = Invocations(backend := Backend(status(403), status(202)))
    backend.invoke("r:1", 1, PAYLOAD)
    with pytest.raises(BackendError, match="does not allow us to invoke r:1"):
        invocations.refusal(KEY)
    backend.invoke("r:1", 1, PAYLOAD | {"call_ids": ["00001"]})
    assert "does not allow us to invoke r:1" in invocations.refusal(KEY)


def test_after_the_end_nothing_is_sent() -> None:
    invocations = Invocations(backend := Backend())
    invocations.close(ThreadPoolExecutor(1))
    assert backend.invoke("r:1", 1, PAYLOAD) == REFUSED
    assert not invocations.accepted


def test_as_many_connections_as_threads_are_kept() -> None:
    backend = Backend()
    invocations = Invocations(backend, threads=48)
    assert invocations._session.connections == 48


@given(st.one_of(st.none(), st.integers(0, 599)), st.text(max_size=400))
def test_every_refusal_is_explained(code: int | None, text: str) -> None:
    message = explain(code, text, "maggjob:01")
    assert message
    assert "\n" not in message
    assert is_temporary(code) == (code is not None and (code in (0, 409, 429) or code >= 500))
