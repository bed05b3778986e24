"""What happens between Lithops and a serverless backend when a call is submitted.

Lithops invokes in threads whose exceptions nobody sees, and tries for ever when there is no connection. Here each
invocation ends in one of three ways that can be looked at: accepted, put off (Lithops queues it again), or refused.
"""

import threading
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Executor
from types import SimpleNamespace
from typing import Any

from maggjob.backend.retry import NO_CONNECTION, RetryPolicy, is_temporary, may_offer_again
from maggjob.errors import BackendError

REFUSED = "refused"
"""In place of an id: Lithops then takes the call for submitted and leaves it alone."""

Key = tuple[str, str]
"""Lithops' ids of a job and of a call in it."""


class Invocations:
    """Takes the place of ``invoke`` of a Lithops backend.

    Parameters
    ----------
    backend : lithops.serverless.backends.*.ServerlessBackend
        Its ``invoke`` raises for everything but success; aws_lambda's ``session`` is what it sends requests with.
    threads : int
        Threads that invoke at once: as many connections are kept open.
    policy : RetryPolicy, optional
        Says which calls are put off, and for how long.
    """

    def __init__(self, backend: Any, threads: int = 64, policy: RetryPolicy | None = None) -> None:
        self.accepted: dict[Key, float] = {}
        """When a call was accepted, by `time.monotonic`."""
        self.refused: dict[Key, str] = {}
        """Why a call was not."""
        self.put_off: Counter[Key] = Counter()
        """How often a call was put off."""
        self._closed = False
        # When a call was first not taken, by `time.monotonic`.
        self._put_off_since: dict[Key, float] = {}
        self._policy = policy or RetryPolicy()
        # Status and text of the last answer; each thread sends its own requests.
        self._seen = threading.local()
        self._invoke = backend.invoke
        backend.invoke = self
        if hasattr(backend, "session"):
            # Lithops' own keeps ten connections for 64 threads: the others shake hands anew for each call.
            self._session = type(backend.session)(max_pool_connections=threads)
            backend.session = self

    def send(self, request: Any) -> Any:
        """Send a request; no connection is an answer too, or Lithops would try without a pause and without an end."""
        try:
            answer = self._session.send(request)
        except Exception as problem:  # noqa: BLE001  # botocore has a dozen for this
            answer = SimpleNamespace(status_code=NO_CONNECTION, text=f"no connection: {problem}", headers={})
        self._seen.status, self._seen.text = answer.status_code, answer.text
        return answer

    def __call__(self, runtime: str, memory: int, payload: Mapping[str, Any]) -> Any:
        """Invoke; None when the call is put off, so that Lithops queues it again."""
        keys = [(str(payload["job_id"]), str(call)) for call in payload["call_ids"]]
        if self._closed:
            return REFUSED
        self._seen.status, self._seen.text = None, ""
        try:
            request = self._invoke(runtime, memory, payload)
        except Exception as problem:  # noqa: BLE001  # Lithops raises Exception itself
            return self._put_off_or_refuse(keys, self._seen.text or str(problem), runtime)
        self.accepted.update(dict.fromkeys(keys, time.monotonic()))
        return request

    def _put_off_or_refuse(self, keys: list[Key], text: str, runtime: str) -> str | None:
        """What Lithops is told of calls that the backend did not take."""
        status, now = self._seen.status, time.monotonic()
        since = min(self._put_off_since.setdefault(key, now) for key in keys)
        if may_offer_again(self._policy, status, now - since):
            self.put_off.update(keys)
            return None
        self.refused.update(dict.fromkeys(keys, explain(status, text, runtime, self._policy.offer_for)))
        return REFUSED

    def refusal(self, key: Key) -> str:
        """Why the backend refused a call.

        Raises
        ------
        BackendError
            It has accepted no other call: the run can stop.
        """
        if not self.accepted:
            raise BackendError(self.refused[key])
        return self.refused[key]

    def close(self, pool: Executor) -> None:
        """Invoke nothing any more; returns when what is on its way has been answered.

        Parameters
        ----------
        pool : concurrent.futures.Executor
            In which Lithops invokes; it never ends it.
        """
        self._closed = True
        pool.shutdown(wait=True, cancel_futures=True)


def explain(status: int | None, text: str, runtime: str, offered_for: float = RetryPolicy.offer_for) -> str:
    """Why an invocation was refused, and what to do about it.

    Examples
    --------
    >>> explain(404, "Function not found", "maggjob:01")
    "the function of runtime maggjob:01 is not there (404: Function not found); type 'maggjob runtime deploy'"
    """
    said = f"({status}: {' '.join(text.split())[:300]})" if status else f"({' '.join(text.split())[:300]})"
    if status == 404:
        return f"the function of runtime {runtime} is not there {said}; type 'maggjob runtime deploy'"
    if (status is not None and "ExpiredToken" in text) or "token included in the request is expired" in text:
        return f"the AWS credentials have expired {said}; renew them and run again"
    if status in (401, 403):
        return f"AWS does not allow us to invoke {runtime} {said}; type 'maggjob doctor'"
    if status == 413:
        return f"the task is too large for an event {said}; give tasks that say where their data is"
    if is_temporary(status):
        return f"put off for {offered_for:.0f} s {said}; run again later, or with fewer workers"
    return f"{runtime} cannot be invoked {said}; type 'maggjob doctor'"
