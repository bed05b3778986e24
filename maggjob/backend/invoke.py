"""Invoke calls on a serverless backend on behalf of Lithops, and record how each invocation ended.

Lithops invokes in threads whose exceptions nobody sees, and retries forever when there is no connection. Here each
invocation ends in one of three recorded states: accepted, put off (Lithops queues it again), or refused.
"""

import threading
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Executor
from types import SimpleNamespace
from typing import Any

from maggjob.backend.client_keys import ClientKeys
from maggjob.backend.retry import NO_CONNECTION, RetryPolicy, is_temporary, may_offer_again
from maggjob.errors import BackendError

REFUSED = "refused"
"""Returned in place of an invocation id, so that Lithops regards the call as submitted and does not retry it."""

Key = tuple[str, str]
"""Lithops' ids of a job and of a call of that job."""


class Invocations:
    """Replacement for the ``invoke`` method of a Lithops backend.

    Parameters
    ----------
    backend : lithops.serverless.backends.*.ServerlessBackend
        Its ``invoke`` raises unless it succeeds; aws_lambda sends its requests through its ``session``.
    threads : int
        Number of threads that invoke at the same time; as many connections are kept open.
    policy : RetryPolicy, optional
        Decides which calls are put off, and for how long.
    keys : ClientKeys, optional
        Is told when AWS does not accept the credentials any more.
    """

    def __init__(
        self, backend: Any, threads: int = 64, policy: RetryPolicy | None = None, keys: ClientKeys | None = None
    ) -> None:
        self.accepted: dict[Key, float] = {}
        """Time at which each call was accepted, by `time.monotonic`."""
        self.refused: dict[Key, str] = {}
        """Reason why each refused call was refused."""
        self.put_off: Counter[Key] = Counter()
        """Number of times that each call was put off."""
        self._closed = False
        # Time at which a call was first put off, by `time.monotonic`.
        self._put_off_since: dict[Key, float] = {}
        self._policy, self._keys = policy or RetryPolicy(), keys or ClientKeys()
        # Status and text of the last answer, per thread: each thread sends its own requests.
        self._seen = threading.local()
        self._invoke = backend.invoke
        backend.invoke = self
        if hasattr(backend, "session"):
            # Lithops' own session keeps ten connections for 64 threads: the other threads open one for each call.
            self._session = type(backend.session)(max_pool_connections=threads)
            backend.session = self

    def send(self, request: Any) -> Any:
        """Send a request.

        A missing connection is returned as an answer: otherwise Lithops would retry without a pause and without an end.
        """
        try:
            answer = self._session.send(request)
        # botocore raises a dozen types.
        except Exception as problem:  # noqa: BLE001
            answer = SimpleNamespace(status_code=NO_CONNECTION, text=f"no connection: {problem}", headers={})
        self._seen.status, self._seen.text = answer.status_code, answer.text
        return answer

    def __call__(self, runtime: str, memory: int, payload: Mapping[str, Any]) -> Any:
        """Invoke calls; return None to put them off, which makes Lithops queue them again."""
        keys = [(str(payload["job_id"]), str(call)) for call in payload["call_ids"]]
        if self._closed:
            return REFUSED
        self._seen.status, self._seen.text = None, ""
        try:
            request = self._invoke(runtime, memory, payload)
        # Lithops raises Exception itself.
        except Exception as problem:  # noqa: BLE001
            self._keys.note(self._seen.text, problem)
            return self._put_off_or_refuse(keys, self._seen.text or str(problem), runtime)
        self.accepted.update(dict.fromkeys(keys, time.monotonic()))
        return request

    def _put_off_or_refuse(self, keys: list[Key], text: str, runtime: str) -> str | None:
        """Return what Lithops expects for calls that were not accepted: None to queue them again, else `REFUSED`."""
        status, now = self._seen.status, time.monotonic()
        since = min(self._put_off_since.setdefault(key, now) for key in keys)
        if may_offer_again(self._policy, status, now - since):
            self.put_off.update(keys)
            return None
        self.refused.update(dict.fromkeys(keys, explain(status, text, runtime, self._policy.offer_for)))
        return REFUSED

    def refusal(self, key: Key) -> str:
        """Return the reason why the backend refused a call.

        Raises
        ------
        BackendError
            If the backend has accepted no call so far: the run can stop.
        ExpiredKeysError
            If AWS does not accept the credentials any more.
        """
        self._keys.check()
        if not self.accepted:
            raise BackendError(self.refused[key])
        return self.refused[key]

    def close(self, pool: Executor) -> None:
        """Stop invoking, and return when all invocations under way have been answered.

        Parameters
        ----------
        pool : concurrent.futures.Executor
            Lithops' thread pool for invocations, which Lithops itself never shuts down.
        """
        self._closed = True
        pool.shutdown(wait=True, cancel_futures=True)


def explain(status: int | None, text: str, runtime: str, offered_for: float = RetryPolicy.offer_for) -> str:
    """Return why an invocation was refused, and what to do about it.

    Parameters
    ----------
    status : int, optional
        HTTP status of the backend's answer, or `NO_CONNECTION`; None when nothing was sent.
    text : str
        Text of the answer, or of the error.
    runtime : str
        Lithops' name of the runtime.
    offered_for : float
        Seconds for which the call was offered.

    Examples
    --------
    >>> explain(404, "Function not found", "maggjob:01")
    "the function of runtime maggjob:01 does not exist (404: Function not found); type 'maggjob runtime deploy'"
    """
    said = f"({status}: {' '.join(text.split())[:300]})" if status else f"({' '.join(text.split())[:300]})"
    if status == 404:
        return f"the function of runtime {runtime} does not exist {said}; type 'maggjob runtime deploy'"
    if status == 409:
        return f"the function of runtime {runtime} was not ready for {offered_for:.0f} s {said}; run again later"
    if status in (401, 403):
        return f"AWS does not allow us to invoke {runtime} {said}; type 'maggjob doctor'"
    if status == 413:
        return f"the task is too large for an invocation {said}; store its data and let the task say where"
    if is_temporary(status):
        return f"not accepted by the backend for {offered_for:.0f} s {said}; run again later, or with fewer workers"
    return f"{runtime} cannot be invoked {said}; type 'maggjob doctor'"
