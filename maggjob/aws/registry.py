"""Manifests and blobs of one repository of an image registry (OCI distribution specification 1.1), over HTTPS.

Nothing of docker is needed. What fails for the moment is tried again: a pull continues where it broke off, a push of a
blob starts again. A tag is written last, so that a push that fails leaves nothing that anybody could run.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urljoin, urlsplit

import requests

from maggjob._version import __version__
from maggjob.aws.login import Login, bearer_token
from maggjob.errors import BackendError

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
ACCEPT = ", ".join((OCI_MANIFEST, DOCKER_MANIFEST, *INDEXES))
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each new attempt."""
LONGEST_PAUSE = 60.0  # seconds
TIMEOUT = (20, 90)
"""Seconds to wait for a connection, and for an answer."""
PIECE = 1 << 16
"""Bytes that are read at once; so many at most are lost where a pull breaks off."""
HINTS = {
    401: "the login was refused: check user and password, or log in again",
    403: "the login has no right to this: see the message",
    404: "check the names of registry, repository and tag",
    429: "the registry limits the number of requests: wait some minutes, or log in",
}
"""What to do about an answer, by its status."""
T = TypeVar("T")


class RegistryError(BackendError):
    """A request that the registry refused."""

    status: int = 0


class TemporaryError(RegistryError):
    """A request that failed and may succeed later."""

    retryable = True
    after: float = 0.0


@dataclass(frozen=True)
class Manifest:
    """A manifest as it came from a registry."""

    content: bytes
    """Its bytes, which decide the digest."""
    media_type: str
    """Media type."""

    @property
    def digest(self) -> str:
        """Digest, "sha256:..."."""
        return sha256_of(self.content)

    @property
    def config_digest(self) -> str:
        """Digest of the image's configuration."""
        return str(json.loads(self.content)["config"]["digest"])


def sha256_of(content: bytes) -> str:
    """Return the digest of bytes as registries write it, "sha256:..."."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def sha256_of_file(path: Path) -> str:
    """Return the digest of a file as registries write it, "sha256:..."."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def again(action: Callable[[], T]) -> T:
    """Call a function, and call it again after a pause if it raises a `TemporaryError`."""
    for pause in PAUSES:
        try:
            return action()
        except TemporaryError as problem:
            time.sleep(min(max(pause, problem.after), LONGEST_PAUSE))
    return action()


class _Upload:
    """A file on its way to a registry; counts what was read from it."""

    def __init__(self, body: BinaryIO, count: Callable[[int], None]) -> None:
        self.body, self.count = body, count
        # requests takes the length from here.
        self.len = body.seek(0, SEEK_END)
        body.seek(0)

    def read(self, size: int = -1) -> bytes:
        data = self.body.read(size)
        self.count(len(data))
        return data

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.read(PIECE), b"")


class Repository:
    """Manifests and blobs of one repository.

    Parameters
    ----------
    login : Login
    name : str
        Name of the repository, such as library/python.
    """

    def __init__(self, login: Login, name: str) -> None:
        self.login, self.name = login, name
        self.sent = 0
        """Bytes of blobs that were sent, failed attempts included."""
        self.fetched = 0
        """Bytes of blobs that were fetched."""
        self._session = requests.Session()
        self._session.headers.update({"User-Agent": f"maggjob/{__version__}", "Accept-Encoding": "identity"})
        self._session.auth = self._sign
        self._authorization = login.authorization
        # True while no request has succeeded since the last new authorization.
        self._is_new = False

    def __str__(self) -> str:
        return f"{urlsplit(self.login.endpoint).netloc}/{self.name}"

    def manifest(self, reference: str) -> Manifest:
        """Return a manifest.

        Parameters
        ----------
        reference : str
            Tag or digest.

        Raises
        ------
        RegistryError
            If the registry has no such manifest, or sends other bytes than the digest says.
        """
        answer = self._ask("GET", f"manifests/{reference}", (200,), headers={"Accept": ACCEPT})
        found = Manifest(answer.content, answer.headers.get("Content-Type", "").partition(";")[0])
        if reference.startswith("sha256:") and found.digest != reference:
            raise RegistryError(f"{self}@{reference} came with digest {found.digest}; check the registry or a proxy")
        return found

    def has_blob(self, digest: str) -> bool:
        """Return True if the repository has a blob."""
        return self._ask("HEAD", f"blobs/{digest}", (200, 404)).status_code == 200

    def blob(self, digest: str) -> bytes:
        """Return a small blob, such as an image's configuration.

        Raises
        ------
        RegistryError
            If there is no such blob, or it is damaged.
        """
        content = self._ask("GET", f"blobs/{digest}", (200,)).content
        if sha256_of(content) != digest:
            raise RegistryError(f"{self}: blob {digest} came damaged; try again")
        return content

    def pull_blob(self, digest: str, size: int, path: Path) -> None:
        """Write a blob to a file; if the file has its beginning already, fetch the rest.

        Parameters
        ----------
        digest : str
        size : int
            Bytes of the blob.
        path : Path
            After an error, the file keeps what came.

        Raises
        ------
        RegistryError
            If there is no such blob, or it is damaged: then the file is deleted.
        """
        again(lambda: self._pull_rest(digest, size, path))
        if sha256_of_file(path) != digest:
            path.unlink()
            raise RegistryError(f"{self}: blob {digest} came damaged, and was deleted; try again")

    def _pull_rest(self, digest: str, size: int, path: Path) -> None:
        have = path.stat().st_size if path.is_file() else 0
        if have >= size:
            return
        headers = {"Range": f"bytes={have}-"} if have else {}
        answer = self._send("GET", f"blobs/{digest}", (200, 206), headers=headers, stream=True)
        with answer, path.open("ab" if answer.status_code == 206 else "wb") as file:
            try:
                for piece in answer.iter_content(PIECE):
                    file.write(piece)
                    self.fetched += len(piece)
            except requests.RequestException as problem:
                raise TemporaryError(f"{self}: blob {digest} broke off: {problem}; try again") from None
        if path.stat().st_size < size:
            raise TemporaryError(f"{self}: blob {digest} broke off; try again")

    def push_blob(self, digest: str, content: Path | bytes) -> bool:
        """Send a blob if the repository does not have it.

        Parameters
        ----------
        digest : str
        content : Path or bytes
            The blob, or the file that holds it.

        Returns
        -------
        bool
            True if it was sent.

        Raises
        ------
        RegistryError
            If the registry refuses it.
        """

        def push() -> bool:
            # After a lost answer, the blob may be there.
            if self.has_blob(digest):
                return False
            with BytesIO(content) if isinstance(content, bytes) else content.open("rb") as body:
                self._upload(digest, body)
            return True

        return again(push)

    def _count_sent(self, size: int) -> None:
        self.sent += size

    def _upload(self, digest: str, body: BinaryIO) -> None:
        where = self._send("POST", "blobs/uploads/", (202,)).headers["Location"]
        upload = _Upload(body, self._count_sent)
        headers = {"Content-Type": "application/octet-stream"}
        where = self._send("PATCH", where, (201, 202), headers=headers, data=upload).headers["Location"]
        self._send("PUT", f"{where}{'&' if '?' in where else '?'}digest={digest}", (201,))

    def push_manifest(self, manifest: Manifest, tag: str) -> None:
        """Write a manifest and its tag.

        Parameters
        ----------
        manifest : Manifest
        tag : str

        Raises
        ------
        RegistryError
            If the registry refuses it.
        """
        headers = {"Content-Type": manifest.media_type}
        try:
            self._ask("PUT", f"manifests/{tag}", (200, 201), headers=headers, data=manifest.content)
        except RegistryError:
            # If only the answer was lost, a tag that cannot be changed refuses the second attempt.
            with suppress(RegistryError):
                if self.manifest(tag).digest == manifest.digest:
                    return
            raise

    def _ask(self, method: str, path: str, good: tuple[int, ...], **options: Any) -> requests.Response:
        return again(lambda: self._send(method, path, good, **options))

    def _send(self, method: str, path: str, good: tuple[int, ...], **options: Any) -> requests.Response:
        """Send one request; raise TemporaryError for what may succeed later, RegistryError for everything else."""
        begin = self.login.endpoint if path.startswith("/") else f"{self.login.endpoint}/v2/{self.name}/"
        try:
            answer = self._session.request(method, urljoin(begin, path), timeout=TIMEOUT, **options)
            if answer.status_code == 401 and not self._is_new and self._authorize(answer.headers):
                raise TemporaryError(f"{self}: the authorization expired; log in again")
        except requests.RequestException as problem:
            raise TemporaryError(f"{self}: {method}: {_short(problem)}; check the network, and try again") from None
        if answer.status_code in good:
            self._is_new = False
            return answer
        raise self._refused(method, path, answer)

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the authorization, but never to a request to another host."""
        there, ours = urlsplit(request.url or ""), urlsplit(self.login.endpoint)
        if self._authorization and (there.scheme, there.netloc) == (ours.scheme, ours.netloc):
            request.headers["Authorization"] = self._authorization
        return request

    def _authorize(self, headers: Mapping[str, str]) -> bool:
        """Get an authorization that the registry asks for; True if there is a new one."""
        challenge = headers.get("WWW-Authenticate", "")
        if challenge.lower().startswith("bearer"):
            found = bearer_token(challenge, self.login.authorization)
        else:
            found = self.login.renew() if self.login.renew else None
        if found is None:
            return False
        self._authorization, self._is_new = found, True
        return True

    def _refused(self, method: str, path: str, answer: requests.Response) -> RegistryError:
        status = answer.status_code
        temporary = status == 429 or status >= 500
        problem = (TemporaryError if temporary else RegistryError)(
            f"{self}: {method} {path.partition('?')[0][-100:]}: {status} {_detail(answer)}; "
            f"{HINTS.get(status, 'try again later' if temporary else 'see the message')}"
        )
        problem.status = status
        if isinstance(problem, TemporaryError):
            after = answer.headers.get("Retry-After", "")
            problem.after = float(after) if after.isdigit() else 0.0
        return problem


def _short(problem: BaseException) -> str:
    """Return the innermost reason of an error of requests."""
    while problem.args and isinstance(inner := getattr(problem.args[0], "reason", problem.args[0]), BaseException):
        problem = inner
    return f"{type(problem).__name__}: {problem}"[:300]


def _detail(answer: requests.Response) -> str:
    """Return what a registry says about an error, in one line."""
    try:
        said = "; ".join(f"{item['code']}: {item.get('message', '')}" for item in answer.json()["errors"])
    except (ValueError, KeyError, TypeError):
        said = answer.text
    return " ".join(said.split())[:300] or answer.reason
