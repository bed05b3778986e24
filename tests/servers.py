"""Servers of a test's own on 127.0.0.1: an archive with any fault one likes, and S3."""

import re
import socket
import ssl
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import Request as Outgoing, urlopen

import requests


@dataclass(frozen=True)
class Seen:
    """A request that a server got."""

    method: str
    """Such as GET."""
    path: str
    """Path, decoded."""
    headers: Mapping[str, str]
    """Headers, with names in lower case."""


class Request(BaseHTTPRequestHandler):
    """A request to answer."""

    protocol_version = "HTTP/1.1"
    server: "_Server"
    body: bytes

    @property
    def key(self) -> str:
        """Path, decoded, without the query."""
        return unquote(urlsplit(self.path).path)

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Send a whole answer; ``Content_Range`` stands for Content-Range."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def range(self, size: int) -> tuple[int, int]:
        """First byte that is asked for, and the one after the last."""
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"])
        if match is None:
            raise ValueError(self.headers["Range"])
        return int(match[1]), min(int(match[2]) + 1, size)

    def serve(self, content: bytes) -> None:
        """Send the range that is asked for."""
        if "Range" not in self.headers:
            return self.reply(200, content)
        start, stop = self.range(len(content))
        if start >= len(content):
            return self.reply(416, Content_Range=f"bytes */{len(content)}")
        where = f"bytes {start}-{stop - 1}/{len(content)}"
        return self.reply(206, content[start:stop], Content_Range=where, ETag=f'"{zlib.crc32(content):08x}"')

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append(Seen(self.command, self.key, headers))
        self.server.answer(self)

    do_GET = do_HEAD = do_PUT = do_POST = _answer  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep quiet."""


Answer = Callable[[Request], None]


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # a worker reads 64 ranges at once
    answer: Answer
    seen: list[Seen]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


@dataclass(frozen=True)
class Server:
    """A running server."""

    port: int
    """Where it listens."""
    seen: list[Seen]
    """What it got, in order."""

    def url(self, path: str = "", host: str = "127.0.0.1") -> str:
        """URL of something there."""
        return f"http://{host}:{self.port}{path}"


@contextmanager
def server(answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Answer every request with ``answer``, on a free port, until the end of the block."""
    httpd = _Server(("127.0.0.1", 0), Request)
    httpd.answer, httpd.seen = answer, []
    if tls is not None:
        httpd.socket = tls.wrap_socket(httpd.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield Server(httpd.server_address[1], httpd.seen)
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def archive(files: Mapping[str, bytes], *faults: Answer, always: Answer | None = None) -> Answer:
    """Serve files by path, but no HEAD. The first requests meet the ``faults``, or every request the one ``always``."""
    left = list(faults)

    def answer(request: Request) -> None:
        if request.command == "HEAD":
            request.reply(405)
        elif always is not None or left:
            (always or left.pop(0))(request)
        elif request.key in files:
            request.serve(files[request.key])
        else:
            request.reply(404)

    return answer


def status(code: int, body: bytes = b"") -> Answer:
    """Answer with a status."""
    return lambda request: request.reply(code, body)


def reset(request: Request) -> None:
    """Drop the connection with a reset."""
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.connection.close()
    request.close_connection = True


def stall(seconds: float) -> Answer:
    """Say nothing for a while, then hang up."""

    def answer(request: Request) -> None:
        threading.Event().wait(seconds)
        request.close_connection = True

    return answer


def short(content: bytes) -> Answer:
    """Promise the range and send half of it."""

    def answer(request: Request) -> None:
        start, stop = request.range(len(content))
        header = f"bytes {start}-{stop - 1}/{len(content)}"
        half = content[start : (start + stop) // 2]
        request.reply(206, half, Content_Length=str(stop - start), Content_Range=header)

    return answer


def whole(content: bytes) -> Answer:
    """Know nothing of ranges: 200 and everything."""
    return lambda request: request.reply(200, content)


def redirect(url: str, code: int = 302) -> Answer:
    """Send the client elsewhere, as an archive does to a signed URL."""
    return lambda request: request.reply(code, Location=url)


def with_token(token: str, answer: Answer) -> Answer:
    """Answer to the bearer of a token only, else 401."""

    def checked(request: Request) -> None:
        good = request.headers.get("Authorization") == f"Bearer {token}"
        (answer if good else status(401))(request)

    return checked


def without_token(answer: Answer) -> Answer:
    """Answer to those who show no token only, as a signed URL does, else 403."""

    def checked(request: Request) -> None:
        (status(403) if "Authorization" in request.headers else answer)(request)

    return checked


@contextmanager
def s3_server(*buckets: str, seen: list[Seen] | None = None) -> Iterator[str]:
    """An S3 with some buckets: its endpoint. One at a time in a process: they would share what they hold.

    Every request is added to ``seen``, if it is given, with its query as a header ``query``.
    """
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    moto.start()
    try:
        host, port = moto.get_host_and_port()
        if seen is not None:
            moto._server.app = _noting(moto._server.app, seen)
        endpoint = f"http://{host}:{port}"
        urlopen(Outgoing(f"{endpoint}/moto-api/reset", method="POST")).close()  # what this process kept of another one
        for bucket in buckets:
            with urlopen(Outgoing(f"{endpoint}/{bucket}", method="PUT")):
                pass
        yield endpoint
    finally:
        moto.stop()


def _noting(app: Callable[..., Any], seen: list[Seen]) -> Callable[..., Any]:
    """A WSGI application that adds each request to a list, and passes it on to another."""

    def noted(environ: dict[str, Any], start_response: Any) -> Any:
        headers = {name[5:].lower().replace("_", "-"): str(v) for name, v in environ.items() if name[:5] == "HTTP_"}
        seen.append(
            Seen(environ["REQUEST_METHOD"], environ["PATH_INFO"], headers | {"query": environ.get("QUERY_STRING", "")})
        )
        return app(environ, start_response)

    return noted


class ToLoopback(requests.adapters.HTTPAdapter):
    """Carries requests for any https host to a server of ours: its path begins with the host's name."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self.base = base

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send it there, and hide that it went there."""
        meant = request.url or ""
        request.url = f"{self.base}/{meant.removeprefix('https://')}"
        try:
            answer = super().send(request, *args, **kwargs)
        finally:
            request.url = meant
        answer.url = meant
        return answer
