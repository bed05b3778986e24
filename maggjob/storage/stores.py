"""How obstore's stores are opened: connection, credentials, and the quick retries of all reads and writes.

`maggjob.storage.patience` retries for longer.
"""

import os
import re
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from obstore.store import S3Store

from maggjob.errors import InputError
from maggjob.storage import aws_profile
from maggjob.storage.certificates import use_certificates
from maggjob.storage.credentials import trusted_host
from maggjob.storage.urls import LOOPBACK

METADATA = "/latest/api/token"
"""Path on an EC2 machine that obstore asks for credentials as a last resort; in an error, it means there are none."""
LOG_IN = "no AWS credentials found: log in (aws configure, aws sso login), or set AWS_PROFILE or AWS_ACCESS_KEY_ID"
ELSEWHERE = "redirect without LOCATION"
"""obstore's words for S3's answer when a bucket is in another region."""
DEFAULT_REGION = "us-west-2"
"""Region of NASA's Earthdata Cloud."""
CLIENT: Any = {"connect_timeout": "10s", "read_timeout": "20s", "timeout": "120s", "user_agent": "maggjob"}
RETRY: Any = {
    "max_retries": 4,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=5), "base": 2},
}


def check_not_forked() -> None:
    """Check that this process may use stores: not if it was forked from one that has used them.

    The threads of obstore's runtime do not exist in a forked process, which would wait for them forever.

    Raises
    ------
    InputError
        If it was forked.
    """
    _users.add(os.getpid())
    if len(_users) > 1:
        raise InputError(
            "this process was forked from one that has read or written already, and cannot; start processes with "
            "spawn: multiprocessing.get_context('spawn')"
        )


_users: set[int] = set()
"""Ids of the process that has used stores, and of the one that it was forked from if that had done so before."""


def _client(root: str, token: str | None = None) -> Any:
    options: dict[str, Any] = dict(CLIENT)
    use_certificates()
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    http = root if root.startswith("http://") else endpoint if root.startswith("s3://") else ""
    if urlsplit(http).hostname in LOOPBACK:
        options["allow_http"] = True
    if token is not None and trusted_host(root):
        options["default_headers"] = {"Authorization": f"Bearer {token}"}
    return options


def _s3(root: str, region: str | None, **options: Any) -> Any:
    aws_profile.name_session()
    region = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if "credential_provider" not in options and aws_profile.in_use():
        # Raise the clear message about an expired login here, before obstore hides it.
        aws_profile.credentials()
        options["credential_provider"] = aws_profile.credentials
        region = region or aws_profile.region()
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    config: Any = {"region": region or DEFAULT_REGION}
    if endpoint:
        config["endpoint"] = endpoint
    bucket = urlsplit(root).netloc
    return S3Store(bucket, config=config, client_options=_client(root), retry_config=RETRY, **options)


def plain_message(problem: BaseException) -> str:
    """Return the first line of an error and its cause, without the queries of URLs, as a signed URL is a credential."""
    cause = cause_of(problem)
    shown = first_line(problem) + (f": {cause}" if cause else "")
    return re.sub(r"(://[^\s\"')?]+)\?[^\s\"')]+", r"\1?...", shown)


def first_line(problem: BaseException) -> str:
    """Return the first line of an error, or its type if it has no text."""
    return (str(problem).splitlines() or [type(problem).__name__])[0]


CAUSES = (
    (r"RequestTimeTooSkewed", "this machine's clock is off, so that requests are refused; set the clock"),
    (
        r"UnknownIssuer|local issuer certificate|self.signed",
        "its certificate is of an unknown issuer, as behind a proxy; set REQUESTS_CA_BUNDLE to that of the issuer",
    ),
    (
        r"NotValidYet|InvalidCertificate\(\s*Expired|certificate has expired|not yet valid",
        "its certificate is not valid at this machine's time; check the clock",
    ),
    (r"InvalidCertificate|CERTIFICATE_VERIFY_FAILED|SSLError", "its certificate is not valid"),
    (
        r"dns error|failed to lookup|NameResolutionError|Name or service not known|getaddrinfo",
        "the name of the host is not found; check the network and the name",
    ),
    (r"ProxyError|ConnectFailed\(|tunnel error|\b407\b", "the proxy cannot be reached; check HTTPS_PROXY"),
    (r"ConnectionRefused|Connection refused", "the connection is refused"),
    (r"NetworkUnreachable|HostUnreachable|unreachable", "the network cannot be reached"),
    (r"TimedOut|timed out|ReadTimeout|ConnectTimeout", "there is no answer in time"),
)
"""Patterns in what an error tells of its cause, and what they mean, the most telling first."""
NO_CAUSE = re.compile(r"\w+://[^\s\"')\]}]+|url: \S+|\"[^\"\n]*/[^\"\n]*\"|'[^'\n]*/[^'\n]*'|host='[^']*'")
"""Parts of an error that name an object, not a cause: URLs and paths, which may hold any word."""


def cause_of(problem: BaseException) -> str | None:
    """Return why a connection failed, in plain words; None if that is not known.

    obstore's message says only that a request failed; the cause is below it, in the text meant for debugging. A failure
    of a local file has no such cause.
    """
    first, *below = str(problem).split("\n", maxsplit=1)
    if isinstance(problem, OSError) and problem.errno is not None:
        return None
    text = NO_CAUSE.sub("", below[0] if below else first)
    return next((said for pattern, said in CAUSES if re.search(pattern, text)), None)
