"""An image registry on 127.0.0.1 as the OCI distribution specification says, with logins and faults.

    with image_registry(user="AWS:secret") as registry:
        add_base(registry)                                          # library/python (tests.aws.small_image)
        options = small_options(tmp_path, registry, monkeypatch)    # small wheels and lock, no network
        push_image(image, Login(registry.url, basic("AWS:secret")), options, say)
        registry.tags[image.repository], registry.blobs, registry.seen
        registry.faults.append(Fault("GET", "blobs/", after=1000))  # the next such request breaks off

`stand_for_ecr` makes it the registry that moto's ECR names, for the command line.

It stores any bytes and checks what a registry checks: digests, and that the blobs of a manifest are there.
"""

import base64
import hashlib
import json
import re
import secrets
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

BLOB = re.compile(r"/v2/(.+)/blobs/(sha256:[0-9a-f]{64})")
UPLOADS = re.compile(r"/v2/(.+)/blobs/uploads/([0-9a-f]*)")
MANIFEST = re.compile(r"/v2/(.+)/manifests/([^/]+)")
SIGNED = re.compile(r"/signed/(.+)/(sha256:[0-9a-f]{64})")


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass
class Fault:
    """What happens to requests."""

    method: str
    """Such as GET."""
    path: str
    """Regular expression that is searched for in path and query."""
    status: int = 0
    """Answer with this status instead; 0: break off."""
    after: int = 0
    """If the request breaks off: bytes of the body that come through before."""
    times: int = 1
    """So many requests meet it."""
    headers: dict[str, str] = field(default_factory=dict)
    """Headers of the answer."""
    act: Callable[[], None] | None = None
    """Called when it happens."""


@dataclass
class Registry:
    """What a registry has, was asked, and will do wrong."""

    user: str | None = None
    """USER:PASSWORD that it wants; None for everybody."""
    bearer: bool = False
    """If True, it wants a token from its token service, which checks ``user``; else Basic."""
    immutable: bool = False
    """If True, a tag cannot be given to another manifest, as in a repository of the template."""
    url: str = ""
    """http://127.0.0.1:PORT."""
    blobs: dict[str, dict[str, bytes]] = field(default_factory=lambda: defaultdict(dict))
    """Blobs by repository and digest."""
    manifests: dict[str, dict[str, tuple[bytes, str]]] = field(default_factory=lambda: defaultdict(dict))
    """Bytes and media type by repository and digest."""
    tags: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    """Digest by repository and tag."""
    faults: list[Fault] = field(default_factory=list)
    """Faults to come."""
    seen: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and authorization of each request."""
    uploads: dict[str, bytes] = field(default_factory=dict)
    """Unfinished uploads."""
    tokens: set[str] = field(default_factory=set)
    """Tokens that the token service gave and that have not expired."""
    mirror: Callable[[str, str, bytes], object] | None = None
    """Called with repository, tag and bytes of each manifest that gets a tag."""

    @property
    def host(self) -> str:
        """127.0.0.1:PORT."""
        return self.url.removeprefix("http://")

    def add_image(self, repository: str, tag: str, config: Any, packed: list[bytes], **manifest: Any) -> str:
        """Store an image of gzip layers; return the digest of its manifest. ``manifest`` overrides entries of it."""
        items = []
        kind = "application/vnd.oci.image.layer.v1.tar+gzip"
        for content in packed:
            self.blobs[repository][sha256(content)] = content
            items.append({"mediaType": kind, "size": len(content), "digest": sha256(content)})
        content = json.dumps(config).encode()
        self.blobs[repository][sha256(content)] = content
        about = {"mediaType": "application/vnd.oci.image.config.v1+json", "size": len(content)}
        made = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": about | {"digest": sha256(content)},
            "layers": items,
        }
        return self.add_manifest(repository, tag, made | manifest)

    def add_index(self, repository: str, tag: str, images: dict[str, str]) -> str:
        """Store an index of images, given as {"linux/arm64": DIGEST}; return its digest."""
        entries = []
        for platform, digest in images.items():
            system, architecture, *_ = platform.split("/")
            content, kind = self.manifests[repository][digest]
            entry = {"mediaType": kind, "size": len(content), "digest": digest}
            entries.append(entry | {"platform": {"os": system, "architecture": architecture}})
        kind = "application/vnd.oci.image.index.v1+json"
        return self.add_manifest(repository, tag, {"schemaVersion": 2, "mediaType": kind, "manifests": entries})

    def add_manifest(self, repository: str, tag: str, content: dict[str, Any]) -> str:
        """Store a manifest; return its digest."""
        data = json.dumps(content).encode()
        self.manifests[repository][sha256(data)] = (data, content["mediaType"])
        self.tags[repository][tag] = sha256(data)
        return sha256(data)

    def image(self, repository: str, tag: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return manifest and configuration of an image."""
        manifest = json.loads(self.manifests[repository][self.tags[repository][tag]][0])
        return manifest, json.loads(self.blobs[repository][manifest["config"]["digest"]])

    def requests(self, method: str, part: str = "") -> list[str]:
        """Return the paths of the requests of a method so far whose path contains a part."""
        return [path for found, path, _ in self.seen if found == method and part in path]

    def allows(self, authorization: str) -> bool:
        """Return True if a request may come in."""
        if self.user is None and not self.bearer:
            return True
        if self.bearer:
            return authorization.removeprefix("Bearer ") in self.tokens
        return self.user is not None and authorization == f"Basic {base64.b64encode(self.user.encode()).decode()}"


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", headers.get("Content_Length") or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_header(self, keyword: str, value: str) -> None:
        if keyword != "Content-Length" or b"Content-Length" not in b"".join(getattr(self, "_headers_buffer", [])):
            super().send_header(keyword, value)

    def refuse(self, status: int, code: str, **headers: str) -> None:
        body = json.dumps({"errors": [{"code": code, "message": f"{self.command} {self.path[-60:]}"}]}).encode()
        self.reply(status, body, **headers)

    def fault(self) -> Fault | None:
        for fault in self.server.registry.faults:
            if fault.times and fault.method == self.command and re.search(fault.path, self.path):
                fault.times -= 1
                if fault.act:
                    fault.act()
                return fault
        return None

    def hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.close()

    def answer(self) -> None:
        registry = self.server.registry
        authorization = self.headers.get("Authorization", "")
        registry.seen.append((self.command, self.path, authorization))
        fault = self.fault()
        length = int(self.headers.get("Content-Length") or 0)
        breaks = fault is not None and fault.status == 0
        body = self.rfile.read(min(length, fault.after) if fault and breaks and length else length)
        path = urlsplit(self.path).path
        if fault and not breaks:
            return self.refuse(fault.status, "FAULT", **fault.headers)
        if fault and length:
            if match := UPLOADS.fullmatch(path):
                registry.uploads[match[2]] = registry.uploads.get(match[2], b"") + body
            return self.hang_up()
        if path == "/token":
            return self.give_token()
        if match := SIGNED.fullmatch(path):
            return self.send_blob(match[1], match[2], fault)
        if not registry.allows(authorization):
            how = f'Bearer realm="{registry.url}/token",service="stand-in",scope="repository:x:pull,push"'
            return self.refuse(401, "UNAUTHORIZED", WWW_Authenticate=how if registry.bearer else 'Basic realm="x"')
        if match := UPLOADS.fullmatch(path):
            return self.upload(match[1], match[2], body)
        if match := BLOB.fullmatch(path):
            return self.send_blob(match[1], match[2], fault)
        if match := MANIFEST.fullmatch(path):
            return self.manifest(match[1], match[2], body)
        return self.refuse(404, "NAME_UNKNOWN")

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = answer  # noqa: N815

    def give_token(self) -> None:
        registry = self.server.registry
        user = registry.user and f"Basic {base64.b64encode(registry.user.encode()).decode()}"
        if user and self.headers.get("Authorization") != user:
            return self.refuse(401, "UNAUTHORIZED")
        token = secrets.token_hex(8)
        registry.tokens.add(token)
        return self.reply(200, json.dumps({"token": token}).encode())

    def upload(self, repository: str, identity: str, body: bytes) -> None:
        registry = self.server.registry
        if self.command == "POST":
            identity = secrets.token_hex(8)
            registry.uploads[identity] = b""
            return self.reply(202, Location=f"/v2/{repository}/blobs/uploads/{identity}?state=x")
        if identity not in registry.uploads:
            return self.refuse(404, "BLOB_UPLOAD_UNKNOWN")
        registry.uploads[identity] += body
        if self.command == "PATCH":
            last = max(len(registry.uploads[identity]) - 1, 0)
            return self.reply(202, Location=self.path, Range=f"0-{last}")
        content, digest = registry.uploads.pop(identity), parse_qs(urlsplit(self.path).query)["digest"][0]
        if sha256(content) != digest:
            return self.refuse(400, "DIGEST_INVALID")
        registry.blobs[repository][digest] = content
        return self.reply(201, Location=f"/v2/{repository}/blobs/{digest}")

    def send_blob(self, repository: str, digest: str, fault: Fault | None) -> None:
        content = self.server.registry.blobs[repository].get(digest)
        if content is None:
            return self.refuse(404, "BLOB_UNKNOWN")
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(match[1]) if match else 0
        whole = content[start:]
        headers = {"Content_Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if match else {}
        sent = whole if fault is None else whole[: fault.after]
        self.reply(206 if match else 200, sent, Content_Length=str(len(whole)), **headers)
        if fault is not None:
            self.hang_up()
        return None

    def manifest(self, repository: str, reference: str, body: bytes) -> None:
        registry = self.server.registry
        if self.command != "PUT":
            digest = registry.tags[repository].get(reference, reference)
            if digest not in registry.manifests[repository]:
                return self.refuse(404, "MANIFEST_UNKNOWN")
            content, kind = registry.manifests[repository][digest]
            return self.reply(200, content, Content_Type=kind, Docker_Content_Digest=digest)
        parts = json.loads(body)
        needed = {parts["config"]["digest"], *(layer["digest"] for layer in parts["layers"])}
        if not needed <= registry.blobs[repository].keys():
            return self.refuse(400, "MANIFEST_BLOB_UNKNOWN")
        if registry.immutable and registry.tags[repository].get(reference, sha256(body)) != sha256(body):
            return self.refuse(400, "TAG_INVALID")
        registry.manifests[repository][sha256(body)] = (body, self.headers["Content-Type"])
        registry.tags[repository][reference] = sha256(body)
        if registry.mirror:
            registry.mirror(repository, reference, body)
        return self.reply(201, Docker_Content_Digest=sha256(body))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep quiet."""


class _Server(ThreadingHTTPServer):
    registry: Registry
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


@contextmanager
def image_registry(**options: Any) -> Iterator[Registry]:
    """Run a registry on a free port until the end of the block. ``options`` are fields of `Registry`."""
    httpd = _Server(("127.0.0.1", 0), _Request)
    httpd.registry = Registry(url=f"http://127.0.0.1:{httpd.server_address[1]}", **options)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield httpd.registry
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def stand_for_ecr(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let moto's ECR, in this process, name the registry as its endpoint, list what is pushed to it, and sign its URLs.

    ``registry.user`` becomes what moto's login says.
    """
    import boto3
    from moto.core.responses import ActionResult
    from moto.ecr.responses import ECRResponse

    registry.user = "AWS:token-of-ecr"

    def answer(self: Any) -> ActionResult:
        token = base64.b64encode((registry.user or "").encode()).decode()
        data = {
            "authorizationToken": token,
            "expiresAt": datetime(2100, 1, 1, tzinfo=UTC),
            "proxyEndpoint": registry.url,
        }
        return ActionResult({"authorizationData": [data]})

    def put(repository: str, tag: str, manifest: bytes) -> None:
        # Left to itself, moto gives all images one digest.
        boto3.client("ecr").put_image(
            repositoryName=repository, imageTag=tag, imageManifest=manifest.decode(), imageDigest=sha256(manifest)
        )

    def sign(self: Any) -> ActionResult:
        repository, digest = self._get_param("repositoryName"), self._get_param("layerDigest")
        return ActionResult({"downloadUrl": f"{registry.url}/signed/{repository}/{digest}", "layerDigest": digest})

    monkeypatch.setattr(ECRResponse, "get_authorization_token", answer)
    monkeypatch.setattr(ECRResponse, "get_download_url_for_layer", sign)
    registry.mirror = put
