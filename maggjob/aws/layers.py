"""Layers of an image: the same files give the same bytes.

Members are sorted, owned by root, readable by all and of one time. Byte code is not checked against its source at
import (PEP 552, unchecked hash): no times of files are compared, and the image's files never change.
"""

import gzip
import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from maggjob.aws.registry import sha256_of_file
from maggjob.errors import BackendError

Files = Mapping[str, Callable[[], bytes]]
"""Files of a layer: path without a leading slash, and a function that reads the content."""
EPOCH = 315_532_800
"""Time of all files, seconds: 1980-01-01, the first that zip files know."""
COMPILER = r"""
import importlib.util, os, pickle, sys
import importlib._bootstrap_external as external
given = pickle.load(sys.stdin.buffer)
for name, source in given:
    folder, base = os.path.split(name)
    try:
        code = compile(source, "/" + name, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError):
        continue
    data = external._code_to_hash_pyc(code, importlib.util.source_hash(source), False)
    target = f"{folder}/__pycache__/{base[:-3]}.{sys.implementation.cache_tag}.pyc"
    pickle.dump((target, bytes(data)), sys.stdout.buffer)
"""
"""Program that compiles sources. In a new interpreter, what was imported before cannot change the byte code."""


@dataclass(frozen=True)
class Layer:
    """A layer as a file on this machine."""

    what: str
    """What is in it, in words."""
    digest: str
    """Digest of the packed layer."""
    diff_id: str
    """Digest of the tar file in it."""
    size: int
    """Bytes of the packed layer."""
    unpacked: int
    """Bytes of its files."""
    files: int
    """Number of its files."""
    path: str
    """Path of the packed layer."""


def byte_code(files: Files) -> dict[str, Callable[[], bytes]]:
    """Return byte code of the Python sources among some files, for the Python that runs this.

    Byte code depends on the version of Python only, not on the machine. A source that does not compile (a template, or
    a test of syntax) gets none, as compileall does.

    Raises
    ------
    BackendError
        If the compiler ends early.
    """
    sources = [(name, files[name]()) for name in sorted(files) if name.endswith(".py")]
    environment = {"PYTHONHASHSEED": "0"}
    # Our own program, run without a shell.
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-I", "-W", "ignore", "-c", COMPILER],
        input=pickle.dumps(sources),
        capture_output=True,
        check=False,
        env=environment,
    )
    if done.returncode:
        raise BackendError(f"compiling {len(sources)} sources ended with {done.returncode}: {done.stderr[-300:]!r}")
    stream, compiled = io.BytesIO(done.stdout), {}
    while stream.tell() < len(done.stdout):
        # From the child process that we just started.
        name, data = pickle.load(stream)  # noqa: S301
        compiled[name] = _reader(data)
    return compiled


def _reader(data: bytes) -> Callable[[], bytes]:
    return lambda: data


class _Hashed:
    """Writes to a file, and computes the digest of what it writes."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self.file, self.hash = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        return self.file.write(data)


def write_layer(what: str, files: Files, path: Path, known: Iterable[str] = ()) -> Layer:
    """Write a layer.

    Parameters
    ----------
    what : str
        What is in it, in words.
    files : mapping
    path : Path
        File to write.
    known : iterable of str
        Folders that lower layers have: they keep their owner and mode.

    Returns
    -------
    Layer
    """
    folders = {str(parent) for name in files for parent in PurePosixPath(name).parents if str(parent) != "."}
    folders -= set(known)
    unpacked = 0
    with path.open("wb") as out, gzip.GzipFile("", "wb", 6, out, mtime=0) as packed:
        # Only write() of it is used.
        plain: Any = _Hashed(packed)
        with tarfile.open(fileobj=plain, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for name in sorted(folders | files.keys()):
                entry = tarfile.TarInfo(name)
                entry.mtime = EPOCH
                if name in folders:
                    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                    tar.addfile(entry)
                    continue
                content = files[name]()
                entry.size, entry.mode = len(content), 0o644
                unpacked += len(content)
                tar.addfile(entry, io.BytesIO(content))
    diff_id = f"sha256:{plain.hash.hexdigest()}"
    return Layer(what, sha256_of_file(path), diff_id, path.stat().st_size, unpacked, len(files), str(path))


def kept_layer(folder: Path, key: str, make: Callable[[Path], Layer]) -> tuple[Layer, bool]:
    """Return a layer from the cache, or make it.

    Parameters
    ----------
    folder : Path
        Folder of the cache.
    key : str
        Digest of all that decides the layer's bytes.
    make : callable
        Writes the layer to a path.

    Returns
    -------
    layer : Layer
    made : bool
        False if it was in the cache, unharmed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    packed, about = folder / f"{key}.tar.gz", folder / f"{key}.json"
    if about.is_file() and packed.is_file():
        found = Layer(**{**json.loads(about.read_text(encoding="utf-8")), "path": str(packed)})
        if sha256_of_file(packed) == found.digest:
            return found, False
    new = unfinished(packed)
    try:
        layer = make(new)
        new.replace(packed)
    finally:
        new.unlink(missing_ok=True)
    written = unfinished(about)
    written.write_text(json.dumps(asdict(layer)), encoding="utf-8")
    written.replace(about)
    return Layer(**{**asdict(layer), "path": str(packed)}), True


def unfinished(path: Path) -> Path:
    """Return the path under which this process writes a file of the cache before it gets its name."""
    return path.with_name(f"{path.name}.{os.getpid()}.new")
