"""AWS credentials of a profile (``aws configure``, ``aws sso login``, ``AWS_PROFILE``), for obstore.

obstore takes credentials from the environment, and from what AWS gives to machines of its own; it reads neither
``~/.aws/credentials`` nor ``~/.aws/config``. Where there is one of them boto3 reads it, as it does for Lithops.
"""

import os
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from maggjob.errors import InputError

NAMES = ("AWS_DEFAULT_PROFILE", "AWS_PROFILE")  # botocore takes the first that is set
FILES = (("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"), ("AWS_CONFIG_FILE", "~/.aws/config"))
# botocore renews credentials ten minutes before they end at the latest. obstore keeps what it is given until five
# minutes before the end that it is told: told half an hour, as by default, it would go on with ones that have ended.
LIFE = timedelta(minutes=10)
State = tuple[tuple[str, ...], tuple[tuple[str, int, int], ...]]


def _state() -> State:
    """Which profile is meant, and its files as they are now: with what is written to them, boto3 starts anew."""
    files = []
    for variable, default in FILES:
        # not Path.expanduser, which raises where there is no home
        path = Path(os.path.expanduser(os.path.expandvars(os.environ.get(variable) or default)))  # noqa: PTH111
        if path.is_file():
            there = path.stat()
            files.append((str(path), there.st_mtime_ns, there.st_size))
    return tuple(os.environ.get(name, "") for name in NAMES), tuple(files)


def in_use() -> bool:
    """Whether credentials come from a profile: keys in the environment go first; Lambda always has them there."""
    if os.environ.get("AWS_ACCESS_KEY_ID") or os.environ.get("AWS_LAMBDA_FUNCTION_NAME"):
        return False
    names, files = _state()
    return any(names) or bool(files)


def open_session(region: str | None = None) -> Any:
    """A session of boto3, with the profile that the environment means.

    Parameters
    ----------
    region : str, optional
        By default AWS_DEFAULT_REGION, else the profile's.

    Returns
    -------
    boto3.Session

    Raises
    ------
    InputError
        boto3 is not installed, or there is no such profile, or a file of profiles cannot be read.
    """
    try:
        import boto3  # 0.3 s, and not on every machine
        from botocore.exceptions import BotoCoreError, ProfileNotFound
    except ImportError:
        raise InputError(
            "boto3, which reads AWS profiles, is not installed; type pip install 'maggjob[aws]' (for a bucket alone, "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment do as well)"
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
    """Credentials of the profile, as obstore's providers give them; obstore asks again every five minutes.

    It is a function, not an object that holds a session, so that a store can be pickled, without secrets. boto3 makes
    one session a process, and another when the files of profiles change.

    Raises
    ------
    InputError
        The profile is not there, has none, or its login has ended.
    """
    state = _state()
    session = _session(state)
    from botocore.exceptions import SSOError, TokenRetrievalError

    name = session.profile_name
    try:
        return _provider(state)()
    except InputError:
        raise
    except Exception as problem:  # botocore has dozens, and a credential_process fails in ways of its own
        login = isinstance(problem, SSOError | TokenRetrievalError)
        mend = f"type 'aws {'sso login' if login else 'sts get-caller-identity'} --profile {name}'"
        said = " ".join(str(problem).split()) or type(problem).__name__
        raise InputError(f"AWS profile {name!r} gives no credentials: {said}; {mend}") from problem


def region() -> str | None:
    """Region of the profile; None where it names none.

    Raises
    ------
    InputError
        See `open_session`.
    """
    found: str | None = _session(_state()).region_name
    return found
