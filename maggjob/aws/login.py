"""Logins to image registries: ECR's by boto3, any other's by what is given or what docker has stored."""

import base64
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from maggjob.errors import BackendError, InputError

DOCKER_HUB = "registry-1.docker.io"
STORED_NAMES = {DOCKER_HUB: "https://index.docker.io/v1/"}
"""Names under which docker stores logins, where they differ from the host."""
LOOPBACK = ("127.0.0.1", "localhost")


@dataclass(frozen=True)
class Login:
    """Where a registry is, and how to log in."""

    endpoint: str
    """https://HOST, or http://127.0.0.1:PORT."""
    authorization: str | None = None
    """Value of the Authorization header, such as "Basic ..."; None for anonymous access."""
    renew: Callable[[], str] | None = None
    """Function that returns a new ``authorization`` after the old one expired."""


def basic(user_and_password: str) -> str:
    """Return the Authorization header for USER:PASSWORD."""
    return f"Basic {base64.b64encode(user_and_password.encode()).decode()}"


def endpoint_of(host: str) -> str:
    """Return the URL of a registry: http on this machine, https anywhere else."""
    return f"{'http' if host.rsplit(':', 1)[0] in LOOPBACK else 'https'}://{host}"


def ecr_login(ecr: Any) -> Login:
    """Return the login to ECR.

    The token is valid for 12 hours at most, and no longer than the credentials that asked for it.

    Parameters
    ----------
    ecr : boto3 client
        Of the service ecr.

    Raises
    ------
    BackendError
        If AWS refuses.
    """

    def ask() -> dict[str, Any]:
        try:
            found: dict[str, Any] = ecr.get_authorization_token()["authorizationData"][0]
        # botocore raises dozens of types.
        except Exception as problem:  # noqa: BLE001
            raise BackendError(
                f"ECR gives no login: {type(problem).__name__}: {problem}; type 'maggjob doctor'"
            ) from None
        return found

    first = ask()
    token = f"Basic {first['authorizationToken']}"
    return Login(first["proxyEndpoint"], token, lambda: f"Basic {ask()['authorizationToken']}")


def stored_login(host: str, given: str | None = None) -> Login:
    """Return the login to a registry: the given one, else the one that ``docker login`` stored, else none.

    Parameters
    ----------
    host : str
        Host of the registry, with its port if it has one.
    given : str, optional
        USER:PASSWORD.

    Raises
    ------
    InputError
        If docker's configuration is not JSON, or ``given`` has no colon.
    """
    if given is not None:
        if ":" not in given:
            raise InputError("the login of the base's registry has no colon; give USER:PASSWORD")
        return Login(endpoint_of(host), basic(given))
    path = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    if not path.is_file():
        return Login(endpoint_of(host))
    try:
        stored = json.loads(path.read_text(encoding="utf-8")).get("auths") or {}
    except (ValueError, AttributeError) as problem:
        raise InputError(f"{path} is not docker's configuration: {problem}; correct or remove it") from None
    entry = stored.get(STORED_NAMES.get(host, host)) or stored.get(f"https://{host}") or {}
    # With a credential helper, docker stores an entry without "auth".
    return Login(endpoint_of(host), f"Basic {entry['auth']}" if entry.get("auth") else None)


def bearer_token(challenge: str, authorization: str | None) -> str | None:
    """Return the Authorization header that a registry's token service gives.

    Parameters
    ----------
    challenge : str
        The registry's header WWW-Authenticate.
    authorization : str, optional
        Header with user and password; without it, the token is for anonymous access.

    Returns
    -------
    str or None
        None if the challenge is not for a bearer token, or the service refuses.

    Raises
    ------
    requests.RequestException
        If the service does not answer.
    """
    asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    realm = asked.get("realm", "")
    # Passwords go to services with a certificate only.
    if not challenge.lower().startswith("bearer") or not realm.startswith(("https://", "http://127.0.0.1:")):
        return None
    parameters = {name: asked[name] for name in ("service", "scope") if name in asked}
    headers = {"Authorization": authorization} if authorization else {}
    answer = requests.get(realm, params=parameters, headers=headers, timeout=60)
    if answer.status_code in (401, 403):
        return None
    answer.raise_for_status()
    content = answer.json()
    return f"Bearer {content.get('token') or content['access_token']}"
