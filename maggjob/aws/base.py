"""The base image: its manifest for ARM64, its layers in the cache, and its Python's standard library."""

import gzip
import json
import posixpath
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maggjob.aws.layers import unfinished
from maggjob.aws.reference import Reference
from maggjob.aws.registry import INDEXES, Manifest, RegistryError, Repository, sha256_of_file
from maggjob.errors import InputError

ARCHITECTURE = "arm64"
GZIP_LAYERS = (
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
)
STANDARD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LEFT_OUT = (
    *("site-packages", "dist-packages", "test", "tests", "idlelib", "turtledemo", "tkinter", "lib2to3", "ensurepip"),
    "pydoc_data",
)
"""Folders of the standard library that no worker imports."""
WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"


@dataclass(frozen=True)
class Base:
    """A base image in a registry."""

    name: Reference
    """Name."""
    digest: str
    """Digest of what the name stands for: an index of several architectures, or one manifest."""
    repository: Repository
    """Where its blobs are."""
    layers: tuple[Mapping[str, Any], ...]
    """Layers of its manifest for ARM64: digest, size and media type."""
    config: Mapping[str, Any]
    """Its configuration."""

    @property
    def size(self) -> int:
        """Bytes of its packed layers."""
        return sum(layer["size"] for layer in self.layers)


def resolve_base(name: Reference, repository: Repository) -> Base:
    """Return a base image for ARM64.

    Parameters
    ----------
    name : Reference
    repository : Repository

    Raises
    ------
    InputError
        If there is no such image, it is for another architecture, or has layers that Lambda does not take.
    RegistryError
        If the registry refuses for another reason.
    """
    try:
        top = repository.manifest(name.digest or name.tag)
    except RegistryError as problem:
        if problem.status != 404:
            raise
        raise InputError(f"base image {name}{f'@{name.digest}' if name.digest else ''}: {problem}") from None
    image = _image_of(name, top, repository)
    manifest = json.loads(image.content)
    config = json.loads(repository.blob(image.config_digest))
    if (found := config.get("architecture")) != ARCHITECTURE:
        raise InputError(f"base image {name} is for {found}, not for {ARCHITECTURE}; give another one with --base")
    others = {layer["mediaType"] for layer in manifest["layers"]} - set(GZIP_LAYERS)
    if others:
        kinds = ", ".join(sorted(others))
        raise InputError(f"base image {name} has layers of type {kinds}; Lambda takes gzip only: give another --base")
    return Base(name, top.digest, repository, tuple(manifest["layers"]), config)


def _image_of(name: Reference, top: Manifest, repository: Repository) -> Manifest:
    """Return the manifest for ARM64 that an index names, or the manifest itself."""
    content = json.loads(top.content)
    if top.media_type not in INDEXES and "manifests" not in content:
        return top
    platforms = [(item.get("platform", {}), item["digest"]) for item in content["manifests"]]
    fit = [digest for one, digest in platforms if (one.get("os"), one.get("architecture")) == ("linux", ARCHITECTURE)]
    if not fit:
        have = sorted({f"{one.get('os')}/{one.get('architecture')}" for one, _ in platforms} - {"unknown/unknown"})
        raise InputError(
            f"base image {name} has no linux/{ARCHITECTURE}, only {', '.join(have)}; give another one with --base"
        )
    return repository.manifest(fit[0])


def fetch_layers(base: Base, cache: Path) -> list[Path]:
    """Return the packed layers of a base image as files of the cache, fetching those that are not there.

    Parameters
    ----------
    base : Base
    cache : Path
        Folder of the cache. A fetch that broke off is continued, by this process or the next.
    """
    cache.mkdir(parents=True, exist_ok=True)
    return [_fetch_layer(base, layer["digest"], layer["size"], cache) for layer in base.layers]


def _fetch_layer(base: Base, digest: str, size: int, cache: Path) -> Path:
    path = cache / digest.replace(":", "-")
    if path.is_file() and sha256_of_file(path) == digest:
        return path
    # Taken by renaming: of two builds at once, only one continues what a third one left.
    left, mine = path.with_name(f"{path.name}.part"), unfinished(path)
    if left.is_file():
        left.replace(mine)
    try:
        base.repository.pull_blob(digest, size, mine)
        mine.replace(path)
    finally:
        if mine.is_file():
            mine.replace(left)
    return path


@dataclass(frozen=True)
class _Member:
    """A file, folder or link of an image."""

    kind: bytes
    target: str
    content: bytes | None


@dataclass(frozen=True)
class StandardLibrary:
    """The standard library of a base image's Python."""

    python: str
    """Minor version, such as 3.13."""
    sources: Mapping[str, Callable[[], bytes]]
    """Its sources that have no byte code, by path in the image without a leading slash."""
    folders: frozenset[str]
    """Folders of the image."""


def standard_library(base: Base, layers: Iterable[Path]) -> StandardLibrary:
    """Return the sources of the standard library of the Python that a base image starts.

    Parameters
    ----------
    base : Base
    layers : iterable of Path
        Its packed layers, the lowest first.

    Raises
    ------
    InputError
        If the base has no ``python`` on its PATH, or a layer is no gzip file.
    """
    tree: dict[str, _Member] = {}
    for path in layers:
        try:
            _apply_layer(tree, path)
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as problem:
            raise InputError(
                f"base image {base.name}: a layer is not a packed tar file: {problem}; give another --base"
            ) from None
    library, minor = _library_of(base, tree)
    kept = re.compile(rf"{re.escape(library)}/(?!(?:.*/)?(?:{'|'.join(LEFT_OUT)})/).*\.py")
    sources = {
        name: _reader(member.content)
        for name, member in tree.items()
        if kept.fullmatch(name) and member.content is not None and _byte_code_of(name, minor) not in tree
    }
    folders = frozenset(name for name, member in tree.items() if member.kind == tarfile.DIRTYPE)
    return StandardLibrary(minor, sources, folders | {parent for name in sources for parent in _parents(name)})


def _reader(content: bytes) -> Callable[[], bytes]:
    return lambda: content


def _byte_code_of(name: str, minor: str) -> str:
    folder, base = posixpath.split(name)
    return f"{folder}/__pycache__/{base[:-3]}.cpython-{minor.replace('.', '')}.pyc"


def _parents(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[: number + 1]) for number in range(len(parts))]


def _apply_layer(tree: dict[str, _Member], path: Path) -> None:
    """Put a layer on top of a tree: its files replace older ones, its whiteouts remove them."""
    added: set[str] = set()
    with tarfile.open(path, mode="r:gz") as tar:
        for entry in tar:
            name = posixpath.normpath(entry.name).lstrip("/")
            folder, base = posixpath.split(name)
            if base == OPAQUE:
                _remove(tree, folder, added)
            elif base.startswith(WHITEOUT):
                gone = posixpath.join(folder, base.removeprefix(WHITEOUT))
                _remove(tree, gone, added)
                tree.pop(gone, None)
            else:
                _add(tree, name, entry, tar)
                added.add(name)


def _remove(tree: dict[str, _Member], folder: str, added: set[str]) -> None:
    """Remove what lower layers have below a folder."""
    for name in [name for name in tree if name.startswith(f"{folder}/") and name not in added]:
        del tree[name]


def _add(tree: dict[str, _Member], name: str, entry: tarfile.TarInfo, tar: tarfile.TarFile) -> None:
    if entry.islnk():
        tree[name] = tree[posixpath.normpath(entry.linkname).lstrip("/")]
        return
    if not entry.isdir() and name in tree and tree[name].kind == tarfile.DIRTYPE:
        _remove(tree, name, set())
    content = None
    if entry.isfile() and name.endswith(".py") and "/lib/python3" in f"/{name}":
        file = tar.extractfile(entry)
        content = file.read() if file else None
    tree[name] = _Member(entry.type, entry.linkname, content)


def _library_of(base: Base, tree: Mapping[str, _Member]) -> tuple[str, str]:
    """Return the folder of the standard library of the ``python`` on the base's PATH, and its minor version."""
    variables = dict(pair.partition("=")[::2] for pair in base.config.get("config", {}).get("Env") or [])
    for folder in variables.get("PATH", STANDARD_PATH).split(":"):
        program = _resolve(f"{folder.lstrip('/')}/python", tree)
        if program is None:
            continue
        prefix = posixpath.dirname(posixpath.dirname(program))
        found = [re.fullmatch(rf"{re.escape(prefix)}/lib/python(3\.\d+)/os\.py", name) for name in tree]
        named = [match for match in found if match]
        # /usr/bin of a distribution may serve several versions: the program's own name decides.
        exact = [match for match in named if program.endswith(match[1])] or named
        if exact:
            return posixpath.dirname(exact[0][0]), exact[0][1]
    raise InputError(f"base image {base.name} has no python with a standard library on its PATH; give another --base")


def _resolve(name: str, tree: Mapping[str, _Member], depth: int = 20) -> str | None:
    """Return the path of a file after following links, also of folders; None if it does not exist."""
    parts = name.split("/")
    for number in range(1, len(parts) + 1):
        here = "/".join(parts[:number])
        member = tree.get(here)
        if member is not None and member.kind == tarfile.SYMTYPE:
            target = posixpath.normpath(posixpath.join("/", posixpath.dirname(here), member.target)).lstrip("/")
            rest = "/".join([target, *parts[number:]])
            return _resolve(rest, tree, depth - 1) if depth else None
    return name if name in tree else None
