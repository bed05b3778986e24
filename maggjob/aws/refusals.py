"""Errors of AWS as one line that says what was refused and what to do."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from maggjob.errors import BackendError, MaggjobError

NO_RIGHT = re.compile(r"perform: ([\w-]+:\w+)(?: on resource: (\S+))?")
DENIED = frozenset(["AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "UnauthorizedAccess", "403"])
LOGINS = {
    "ExpiredToken": "the AWS credentials have expired: log in again (aws sso login, or new keys)",
    "ExpiredTokenException": "the AWS credentials have expired: log in again (aws sso login, or new keys)",
    "RequestExpired": "the AWS credentials have expired, or the clock of this machine is wrong",
    "InvalidClientTokenId": "AWS does not know these credentials: check AWS_PROFILE and AWS_ACCESS_KEY_ID",
    "UnrecognizedClientException": "AWS does not know these credentials: check AWS_PROFILE and AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret key is wrong: check AWS_SECRET_ACCESS_KEY, or type 'aws configure'",
}
"""What AWS's codes for bad credentials mean."""
NO_LOGIN = (
    "no AWS credentials: type 'aws configure' or 'aws sso login', or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY"
)
AGAIN = "then run the same command again: it goes on where it stopped"


def code_of(problem: Exception) -> str:
    """Return AWS's word for an error, such as AccessDenied; empty if AWS did not answer."""
    response: Mapping[str, Any] = getattr(problem, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def is_denied(problem: Exception) -> bool:
    """Return True if the credentials lack a right."""
    return code_of(problem) in DENIED


def missing_right(problem: Exception) -> str:
    """Return the right that was missing, such as ``iam:CreateRole on arn:...``."""
    found = NO_RIGHT.search(str(problem))
    if found:
        return found[1] + (f" on {found[2].rstrip('.')}" if found[2] else "")
    return f"for {getattr(problem, 'operation_name', 'a request')}"


def explain_refusal(problem: Exception) -> str:
    """Return what an error of AWS or botocore means and what to do, in one line."""
    kind, code = type(problem).__name__, code_of(problem)
    if kind in ("NoCredentialsError", "PartialCredentialsError"):
        return NO_LOGIN
    if kind in ("SSOTokenLoadError", "UnauthorizedSSOTokenError", "TokenRetrievalError"):
        return "the login has expired: type 'aws sso login'"
    if code in LOGINS:
        return LOGINS[code]
    if is_denied(problem):
        return f"the right {missing_right(problem)} is missing: ask the administrator of the account for it, {AGAIN}"
    said = " ".join(str(problem).split())[:400]
    if kind in ("EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ConnectionClosedError"):
        return f"AWS does not answer ({said}): check the network and the region, {AGAIN}"
    return f"{kind}: {said}; mend that, {AGAIN}"


def explain_text(said: str) -> str:
    """Return what the text of an error means and what to do, in one line, if it is one of a missing right."""
    found = NO_RIGHT.search(said)
    if found is None:
        return f"{said}; mend that, {AGAIN}"
    return f"the right {found[1]} is missing: ask the administrator of the account for it, {AGAIN}"


@contextmanager
def refusals(step: str) -> Iterator[None]:
    """Turn errors of AWS inside the block into a `BackendError` of one line, which names the step.

    Parameters
    ----------
    step : str
        Name of the step.

    Raises
    ------
    BackendError
        If AWS refuses, or does not answer.
    MaggjobError
        If the block raises one; its message then begins with the name of the step.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as problem:
        raise BackendError(f"{step}: {explain_refusal(problem)}") from problem
    except MaggjobError as problem:
        said = explain_text(str(problem)) if NO_RIGHT.search(str(problem)) else str(problem)
        if said.startswith(f"{step}: "):
            raise
        raise type(problem)(f"{step}: {said}") from problem
