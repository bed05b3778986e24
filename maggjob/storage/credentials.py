"""Short-lived credentials of the archive: obtained once, kept in one private object, read by workers.

The orchestrator logs in to NASA Earthdata (through earthaccess), gets S3 credentials for each data
centre that the granules need, and writes them to one private object. A task names that object and
never holds what is in it. A worker that is called by hand, without such an object, uses its own
environment: ``EARTHDATA_TOKEN`` for https, the usual AWS variables for s3.
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

from maggjob.storage.urls import LOOPBACK

DATA_CENTRES = {"nsidc-cumulus-prod-protected": "NSIDC"}
"""Protected buckets that maggjob has credentials for, and the data centre that gives them."""
MARGIN = timedelta(minutes=10)
"""Credentials that end sooner than this are renewed before they are used."""


@dataclass(frozen=True)
class S3Credentials:
    """Temporary S3 credentials of one data centre. Their repr shows the expiry only."""

    access_key_id: str = field(repr=False)
    """Public half of the key."""
    secret_access_key: str = field(repr=False)
    """Secret half of the key."""
    token: str = field(repr=False)
    """Session token."""
    expires: datetime
    """When they end, UTC."""

    def fresh(self, now: datetime) -> bool:
        """Whether they last for another `MARGIN`."""
        return now + MARGIN < self.expires

    def for_obstore(self) -> dict[str, Any]:
        """As obstore's credential providers give them."""
        return {
            "access_key_id": self.access_key_id,
            "secret_access_key": self.secret_access_key,
            "token": self.token,
            "expires_at": self.expires,
        }


@dataclass(frozen=True)
class CredentialSet:
    """What is in the private object."""

    s3: Mapping[str, S3Credentials] = field(default_factory=dict)
    """S3 credentials by data centre."""
    token: str | None = field(default=None, repr=False)
    """Earthdata Login bearer token, for https."""

    def to_json(self) -> bytes:
        """For the private object only."""
        return json.dumps(asdict(self), default=datetime.isoformat).encode()

    @classmethod
    def from_json(cls, content: bytes) -> "CredentialSet":
        """What `to_json` wrote."""
        plain = json.loads(content)
        s3 = {
            centre: S3Credentials(**(c | {"expires": datetime.fromisoformat(c["expires"])}))
            for centre, c in plain["s3"].items()
        }
        return cls(s3, plain["token"])


def data_centre(url: str) -> str | None:
    """Data centre whose credentials an s3:// URL needs; None for every other bucket."""
    parts = urlsplit(url)
    return DATA_CENTRES.get(parts.netloc) if parts.scheme == "s3" else None


def trusted_host(url: str) -> bool:
    """Whether a bearer token may be sent there: NASA's own hosts, and this machine."""
    host = urlsplit(url).hostname or ""
    return f".{host}".endswith(".nasa.gov") or host in LOOPBACK


def needs_login(url: str) -> bool:
    """Whether a granule can be read with an Earthdata login only."""
    return data_centre(url) is not None or (url.startswith("https://") and trusted_host(url))


def write_private(path: Path, credential_set: CredentialSet) -> None:
    """Write the private object as a file that nobody else can read (mode 0600)."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
    with os.fdopen(handle, "wb") as file:
        file.write(credential_set.to_json())
    temporary.replace(path)


def environment_token() -> str | None:
    """The bearer token of a worker that was called by hand."""
    return os.environ.get("EARTHDATA_TOKEN") or None
