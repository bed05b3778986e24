"""The AWS credentials of this machine while calls run: all of Lithops' requests tell whether AWS still accepts them.

Lithops asks for the state of calls in a thread that logs every error and goes on. With expired credentials it would do
so for ever, and every further call would be refused for itself.
"""

import logging
from typing import Any

from maggjob.errors import ExpiredKeysError
from maggjob.storage.expiry import NOT_RENEWED, expiry_message, refused_keys


class ClientKeys:
    """The credentials, as AWS judged them last."""

    def __init__(self) -> None:
        self.problem: str | None = None
        """What is wrong with them, and what to do; None if they are accepted."""

    def follow(self, client: Any) -> None:
        """Look at every answer that a client gets.

        Parameters
        ----------
        client : object
            Client of boto3; others are ignored.
        """
        events = getattr(getattr(client, "meta", None), "events", None)
        if events is not None:
            events.register("after-call", self._see_answer)
            events.register("after-call-error", self._see_error)

    def note(self, text: str, problem: BaseException | None = None) -> None:
        """Note an answer if it is about the credentials.

        Parameters
        ----------
        text : str
            Text of the answer.
        problem : BaseException, optional
            Exception that was raised in place of an answer, or because of it.
        """
        word = refused_keys(text) or (None if problem is None else refused_keys(str(problem)))
        kinds = {kind.__name__ for kind in type(problem).__mro__}
        if word is None and kinds & NOT_RENEWED:
            word = " ".join(str(problem).split())
        if word is not None and self.problem is None:
            self.problem = expiry_message(word)
            # It is told once. Lithops would log it at each of its looks.
            logging.getLogger("lithops").setLevel("CRITICAL")

    def check(self) -> None:
        """Check that AWS accepts the credentials.

        Raises
        ------
        ExpiredKeysError
            If it does not.
        """
        if self.problem is not None:
            raise ExpiredKeysError(self.problem)

    def _see_answer(self, parsed: Any, **_: Any) -> None:
        error = parsed.get("Error") or {}
        self.note(f"{error.get('Code')}: {error.get('Message')}")

    def _see_error(self, exception: BaseException, **_: Any) -> None:
        self.note("", exception)
