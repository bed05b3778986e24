"""A server of granules that fails as a script says."""

import random
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import h5py

from tests.servers import Answer, Request, reset, short, status

EXPIRED = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"


def cut(content: bytes) -> Answer:
    """Break off in the middle of the body."""
    half = short(content)

    def answer(request: Request) -> None:
        if "Range" not in request.headers:
            reset(request)
        else:
            half(request)

    return answer


TEMPORARY: dict[str, Callable[[bytes], Answer]] = {
    "503": lambda _: status(503, b"<Error><Code>SlowDown</Code></Error>"),
    "429": lambda _: status(429),
    "500": lambda _: status(500),
    "reset": lambda _: reset,
    "cut": cut,
}
"""Faults after which the same request succeeds."""


def flipped(content: bytes) -> bytes:
    """Return a granule with a flipped bit in the middle of a compressed chunk of its heights."""
    changed = bytearray(content)
    for start, size in chunks(content):
        changed[start + size // 2] ^= 0x10
        changed[start + size // 2 + 1] ^= 0xFF
    return bytes(changed)


def chunks(content: bytes) -> list[tuple[int, int]]:
    """Return position and size of the chunks of the heights."""
    import io

    found = []
    with h5py.File(io.BytesIO(content)) as file:
        for beam in [name for name in file if name.startswith("gt")]:
            dataset = file[f"{beam}/land_ice_segments/h_li"].id
            for number in range(dataset.get_num_chunks()):
                of = dataset.get_chunk_info(number)
                found.append((of.byte_offset, of.size))
    return found


DAMAGE: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "truncated": lambda content, draw: content[: int(len(content) * draw.uniform(0.1, 0.99))],
    "empty": lambda _content, _draw: b"",
    "a page": lambda _content, _draw: b"<!DOCTYPE html><html>Please log in</html>" * 2000,
    "a flipped bit": lambda content, _: flipped(content),
}
"""What granules may have become; each makes them unreadable."""
REFUSALS: dict[str, Answer] = {
    "gone": status(404),
    "denied": status(403),
    "expired": status(400, EXPIRED),
}
"""Answers that do not pass."""


@dataclass
class Proxy:
    """An answer for a server: files, and the faults that come before them."""

    files: dict[str, bytes]
    """Content by path."""
    script: dict[str, list[Answer]] = field(default_factory=dict)
    """Faults of the next requests, by path."""
    always: dict[str, Answer] = field(default_factory=dict)
    """Faults of all requests, by path."""
    injected: int = 0
    """Number of faults so far."""
    requests: int = 0
    """Number of requests so far."""
    during: Callable[[int], Answer | None] = lambda _: None
    """Fault of the request with a number, for outages."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, paths: Iterable[Path]) -> "Proxy":
        """Return a proxy of some files."""
        return cls({f"/{path.name}": path.read_bytes() for path in paths})

    def __call__(self, request: Request) -> None:
        """Answer a request."""
        key = request.key
        with self._lock:
            self.requests += 1
            fault = self.during(self.requests) or self.always.get(key)
            left = self.script.get(key)
            if fault is None and left:
                fault = left.pop(0)
            self.injected += fault is not None
            content = self.files.get(key)
        if fault is not None:
            fault(request)
        elif request.command == "HEAD":
            request.reply(405)
        elif content is None:
            request.reply(404)
        else:
            request.serve(content)

    def fail_sometimes(self, key: str, kinds: Mapping[str, int]) -> None:
        """Script some temporary faults of one granule, by kind."""
        self.script[key] = [TEMPORARY[kind](self.files[key]) for kind, times in kinds.items() for _ in range(times)]
