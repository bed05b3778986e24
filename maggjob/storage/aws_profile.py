"""AWS credentials of a profile (``aws configure``, ``aws sso login``, ``AWS_PROFILE``), for obstore.

obstore takes credentials from the environment and from AWS's own machines, but reads neither ``~/.aws/credentials`` nor
``~/.aws/config``. If one of these files exists, boto3 reads it, as it does for Lithops.
"""

import os
import re
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from maggjob.errors import InputError

NAMES = ("AWS_DEFAULT_PROFILE", "AWS_PROFILE")
"""Variables that name the profile; botocore takes the first that is set."""
FILES = (("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"), ("AWS_CONFIG_FILE", "~/.aws/config"))
LIFE = timedelta(minutes=10)
"""Lifetime of credentials as given to obstore, which asks again five minutes before their end. botocore renews them ten
minutes before they expire, or earlier, so with the default of half an hour obstore would use expired ones."""
NO_LOGIN = re.compile(r"AWS profile '.*' (gives|has) no credentials")
"""What `credentials` raises, as it stands in an error of obstore, where a login has ended meanwhile."""
WEB_IDENTITY = "AWS_WEB_IDENTITY_TOKEN_FILE"
"""Environment variable with a token by which a role is assumed, as on Kubernetes."""
SESSION_NAME = "AWS_ROLE_SESSION_NAME"
"""Environment variable with the name of the session of a role that is assumed with a token."""
HUB_USER = "JUPYTERHUB_USER"
"""Environment variable with the name of the user on a JupyterHub."""
State = tuple[tuple[str, ...], tuple[tuple[str, int, int], ...]]


def _state() -> State:
    """Return the profile's name and the state of its files: when they change, boto3 opens a new session."""
    files = []
    for variable, default in FILES:
        # Path.expanduser raises if there is no home folder.
        path = Path(os.path.expanduser(os.path.expandvars(os.environ.get(variable) or default)))  # noqa: PTH111
        if path.is_file():
            there = path.stat()
            files.append((str(path), there.st_mtime_ns, there.st_size))
    return tuple(os.environ.get(name, "") for name in NAMES), tuple(files)


def in_use() -> bool:
    """Return True if credentials come from a profile. Keys in the environment, as on Lambda, take precedence."""
    if os.environ.get("AWS_ACCESS_KEY_ID") or os.environ.get("AWS_LAMBDA_FUNCTION_NAME"):
        return False
    names, files = _state()
    return any(names) or bool(files)


def name_session() -> None:
    """Name the session of a role that is assumed with a token, unless it has a name.

    The name is part of ``aws:userid``. Without one, each library that assumes the role makes up its own, so that the
    same client would be several users.
    """
    if os.environ.get(WEB_IDENTITY) and not os.environ.get(SESSION_NAME):
        user = re.sub(r"[^\w+=,.@-]", "-", os.environ.get(HUB_USER, ""), flags=re.ASCII)
        os.environ[SESSION_NAME] = f"maggjob-{user}".rstrip("-")[:64]


def open_session(region: str | None = None) -> Any:
    """Open a boto3 session with the profile that the environment selects.

    Parameters
    ----------
    region : str, optional
        Defaults to AWS_DEFAULT_REGION, then to the profile's region.

    Returns
    -------
    boto3.Session

    Raises
    ------
    InputError
        If boto3 is not installed, the profile does not exist, or a file of profiles cannot be read.
    """
    name_session()
    try:
        # Takes 0.3 s, and is not installed everywhere.
        import boto3
        from botocore.exceptions import BotoCoreError, ProfileNotFound
    except ImportError:
        raise InputError(
            "boto3, which reads AWS profiles, is not installed; type pip install 'maggjob[aws]' (to use only a bucket, "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment suffice)"
        ) from None
    try:
        return boto3.Session(region_name=region)
    except ProfileNotFound as problem:
        raise InputError(f"{problem}; set AWS_PROFILE to one that 'aws configure list-profiles' shows") from None
    except BotoCoreError as problem:
        raise InputError(f"{' '.join(str(problem).split())}; mend the file, or type 'aws configure'") from None


@lru_cache(maxsize=1)
def _session(_: State) -> Any:
    return open_session()


def shared_session() -> Any:
    """Return the session of the profile that all stores of this process share: one login, and one id of the user.

    Raises
    ------
    InputError
        If no session can be opened; see `open_session`.
    """
    return _session(_state())


@lru_cache(maxsize=1)
def _provider(state: State) -> Any:
    session = _session(state)
    if session.get_credentials() is None:
        raise InputError(
            f"AWS profile {session.profile_name!r} has no credentials; type 'aws configure --profile "
            f"{session.profile_name}', or set AWS_PROFILE to one that has"
        )
    from obstore.auth.boto3 import Boto3CredentialProvider

    return Boto3CredentialProvider(session, ttl=LIFE)


def credentials() -> Any:
    """Return the credentials of the profile in the form of obstore's providers; obstore asks every five minutes.

    A function, rather than an object that holds a session, lets a store be pickled without secrets. One boto3 session
    is opened per process, and a new one when the files of profiles change.

    Raises
    ------
    InputError
        If the profile does not exist or has no credentials, or its login has expired.
    """
    state = _state()
    session = _session(state)
    from botocore.exceptions import SSOError, TokenRetrievalError

    name = session.profile_name
    try:
        return _provider(state)()
    except InputError:
        raise
    # botocore has dozens of exceptions, and a credential_process may raise any other.
    except Exception as problem:
        login = isinstance(problem, SSOError | TokenRetrievalError)
        mend = f"type 'aws {'sso login' if login else 'sts get-caller-identity'} --profile {name}'"
        said = " ".join(str(problem).split()) or type(problem).__name__
        raise InputError(f"AWS profile {name!r} gives no credentials: {said}; {mend}") from problem


def region() -> str | None:
    """Return the region of the profile; None if it has none.

    Raises
    ------
    InputError
        If no session can be opened; see `open_session`.
    """
    found: str | None = _session(_state()).region_name
    return found
