"""The three layers on top of the base: the standard library's byte code, the locked packages, and maggjob.

Each layer is kept in the cache under a digest of all that decides its bytes, so that only what changed is made again.
"""

import hashlib
import sys
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

from maggjob._version import __version__
from maggjob.aws import base as base_module, elf as elf_module, layers as layers_module, wheels as wheels_module
from maggjob.aws.base import Base, fetch_layers, standard_library
from maggjob.aws.image import NOT_IN_IMAGE
from maggjob.aws.layers import Files, Layer, byte_code, kept_layer, write_layer
from maggjob.aws.registry import sha256_of
from maggjob.aws.wheels import TASK, Locked, fetch_wheels, installed_files
from maggjob.errors import InputError

MAKERS = (base_module, elf_module, layers_module, wheels_module)
"""Modules that decide what a layer holds."""


class LayerMaker:
    """Makes layers, or takes them from the cache.

    Parameters
    ----------
    python : str
        Minor version of Python: that of this process.
    cache : Path
        Folder of the cache.
    tell : callable
        Called with what was done.
    """

    def __init__(self, python: str, cache: Path, tell: Callable[[str], object]) -> None:
        self.python, self.cache, self.tell = python, cache, tell
        self.fetched = 0
        """Bytes of wheels that were fetched."""

    def standard_library(self, base: Base) -> Layer:
        """Return byte code of a base's standard library.

        Raises
        ------
        InputError
            If the base has another Python.
        """

        def make(path: Path) -> Layer:
            packed = fetch_layers(base, self.cache / "base")
            self.tell(f"layers of the base are here, {megabytes(base.repository.fetched)} fetched")
            found = standard_library(base, packed)
            if found.python != self.python:
                raise InputError(
                    f"base image {base.name} has Python {found.python}, not {self.python}; give another one with --base"
                )
            compiled = byte_code(found.sources)
            return write_layer(f"byte code of Python {self.python}", compiled, path, found.folders)

        variables = str((base.config.get("config") or {}).get("Env"))
        return self._layer([*(layer["digest"] for layer in base.layers), variables], make)

    def packages(self, lock: Sequence[Locked]) -> Layer:
        """Return the packages of a lock."""

        def make(path: Path) -> Layer:
            wheels, fetched = fetch_wheels(lock, self.python, self.cache / "wheels")
            self.fetched += fetched
            size = sum(wheel.stat().st_size for wheel in wheels)
            self.tell(f"{len(wheels)} wheels, {megabytes(size)}, {megabytes(fetched)} fetched")
            with installed_files(wheels) as files:
                return write_layer(f"{len(wheels)} packages", {**files, **byte_code(files)}, path)

        return self._layer([package.line() for package in lock], make)

    def maggjob(self) -> Layer:
        """Return maggjob, as it is installed here."""
        files = package_files(Path(str(resources.files("maggjob"))))

        def make(path: Path) -> Layer:
            return write_layer(f"maggjob {__version__}", {**files, **byte_code(files)}, path)

        return self._layer([f"{name} {sha256_of(read())}" for name, read in sorted(files.items())], make)

    def _layer(self, parts: Sequence[str], make: Callable[[Path], Layer]) -> Layer:
        code = [Path(str(module.__file__)).read_text(encoding="utf-8") for module in MAKERS]
        key = hashlib.sha256("\n".join([sys.version, *code, *parts]).encode()).hexdigest()
        layer, is_new = kept_layer(self.cache / "layers", key, make)
        self.tell(
            f"layer {layer.what}: {'made' if is_new else 'unchanged'}, {layer.files} files, "
            f"{megabytes(layer.unpacked)}, packed {megabytes(layer.size)}"
        )
        return layer


def package_files(folder: Path) -> Files:
    """Return the files of this package that workers need.

    Parameters
    ----------
    folder : Path
        Folder of the package.
    """
    return {
        f"{TASK}/{folder.name}/{path.relative_to(folder).as_posix()}": path.read_bytes
        for path in folder.rglob("*")
        if path.is_file() and not set(NOT_IN_IMAGE) & set(path.relative_to(folder).parts)
    }


def megabytes(size: int) -> str:
    """Return a number of bytes in words, such as "1.5 MB"."""
    return f"{size / 1e6:.1f} MB"
