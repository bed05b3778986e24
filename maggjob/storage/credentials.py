"""Short-lived credentials of the archive, which workers read from one private object.

The client logs in to NASA Earthdata with earthaccess, obtains S3 credentials for each data centre that the granules
need, and writes them to one private object. A task contains the URL of that object, never the credentials. A worker
that is called by hand, without such an object, uses its own environment: ``EARTHDATA_TOKEN`` for https, the usual AWS
variables for s3.
"""

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from maggjob.inputs.plain_json import load_json
from maggjob.storage.urls import LOOPBACK

DATA_CENTRES = {"nsidc-cumulus-prod-protected": "NSIDC", "podaac-ops-cumulus-protected": "PODAAC"}
"""Protected buckets that maggjob can read, and the data centre that issues credentials for each."""
MARGIN = timedelta(minutes=10)
"""Credentials that expire sooner than this are renewed."""


@dataclass(frozen=True)
class S3Credentials:
    """Temporary S3 credentials of one data centre. Their repr shows only the expiry."""

    access_key_id: str = field(repr=False)
    """Public half of the key."""
    secret_access_key: str = field(repr=False)
    """Secret half of the key."""
    token: str = field(repr=False)
    """Session token."""
    expires: datetime
    """Time of expiry, UTC."""

    def fresh(self, now: datetime) -> bool:
        """Return True if they are valid for at least another `MARGIN`."""
        return now + MARGIN < self.expires

    def for_obstore(self) -> dict[str, Any]:
        """Return them in the form of obstore's credential providers."""
        return {
            "access_key_id": self.access_key_id,
            "secret_access_key": self.secret_access_key,
            "token": self.token,
            "expires_at": self.expires,
        }


@dataclass(frozen=True)
class CredentialSet:
    """The content of the private object."""

    s3: Mapping[str, S3Credentials] = field(default_factory=dict)
    """S3 credentials by data centre."""
    token: str | None = field(default=None, repr=False)
    """Earthdata Login bearer token, for https."""

    def to_json(self) -> bytes:
        """Return the content of the private object, secrets included."""
        return json.dumps(asdict(self), default=datetime.isoformat).encode()

    @classmethod
    def from_json(cls, content: bytes) -> "CredentialSet":
        """Return the credentials that `to_json` wrote."""
        plain = load_json(content)
        s3 = {
            centre: S3Credentials(**(c | {"expires": datetime.fromisoformat(c["expires"])}))
            for centre, c in plain["s3"].items()
        }
        return cls(s3, plain["token"])


def data_centre(url: str) -> str | None:
    """Return the data centre whose credentials an s3:// URL needs; None if it needs none."""
    parts = urlsplit(url)
    return DATA_CENTRES.get(parts.netloc) if parts.scheme == "s3" else None


def trusted_host(url: str) -> bool:
    """Return True if a bearer token may be sent to a URL: only to NASA's hosts and this machine."""
    host = urlsplit(url).hostname or ""
    return f".{host}".endswith(".nasa.gov") or host in LOOPBACK


def needs_login(url: str) -> bool:
    """Return True if reading a granule requires an Earthdata login."""
    return data_centre(url) is not None or (url.startswith("https://") and trusted_host(url))


def write_private(path: Path, credential_set: CredentialSet) -> None:
    """Write the private object to a file that only the user can read (mode 0600).

    Parameters
    ----------
    path : Path
    credential_set : CredentialSet
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
    with os.fdopen(handle, "wb") as file:
        file.write(credential_set.to_json())
    temporary.replace(path)


def environment_token() -> str | None:
    """Return the bearer token in EARTHDATA_TOKEN; None if it is not set."""
    return os.environ.get("EARTHDATA_TOKEN") or None
