"""How AWS says that it does not accept the credentials of this machine any more.

Users of a hub have keys of an hour, and a run may take longer. Profiles and roles are renewed by boto3 and obstore, so
what expires in the end are keys in the environment or a file, and logins.
"""

import re
from datetime import UTC, datetime

REFUSED = re.compile(
    r"(?P<expired>ExpiredToken(Exception)?|RequestExpired|TokenRefreshRequired|token included in the request is expired"
    r"|provided token has expired)"
    r"|InvalidToken|InvalidClientTokenId|InvalidAccessKeyId|UnrecognizedClientException"
    r"|token included in the request is invalid"
)
"""What AWS answers: Lambda, STS and S3 each have words of their own."""
RENEW = "renew them and run the same command again"
NOT_RENEWED = frozenset(
    {
        *("CredentialRetrievalError", "NoCredentialsError", "RefreshWithMFAUnsupportedError"),
        *("SSOError", "SSOTokenLoadError", "TokenRetrievalError", "UnauthorizedSSOTokenError"),
    }
)
"""Names of botocore's exceptions when credentials cannot be renewed."""


def refused_keys(text: str) -> str | None:
    """Return AWS's word for credentials that it does not accept; None if a text says nothing of the kind.

    Parameters
    ----------
    text : str
        An answer of AWS, or the text of an error.

    Examples
    --------
    >>> refused_keys("<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>")
    'ExpiredToken'
    >>> refused_keys("<Error><Code>AccessDenied</Code></Error>")
    """
    found = REFUSED.search(text)
    return None if found is None else found[0]


def expiry_message(word: str, now: datetime | None = None) -> str:
    """Return what to tell people about credentials that AWS does not accept, and what to do.

    Parameters
    ----------
    word : str
        From `refused_keys`, or what botocore said.
    now : datetime, optional
        When it was noticed; by default now.

    Examples
    --------
    >>> expiry_message("ExpiredToken", datetime(2026, 5, 4, 10, 2, tzinfo=UTC)).partition(";")[0]
    'the AWS credentials of this machine have expired (ExpiredToken, seen at 2026-05-04 10:02 UTC)'
    """
    at = f"{now or datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    found = REFUSED.search(word)
    what = "have expired" if found and found["expired"] else "are not valid" if found else "cannot be renewed"
    return f"the AWS credentials of this machine {what} ({word}, seen at {at}); {RENEW}"
