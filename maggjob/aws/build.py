"""The image built and pushed without Docker, root or emulation.

An image is a list of layers and a configuration. The base's layers are copied from its registry, once per repository.
Three layers come on top (`maggjob.aws.image_layers`). Nothing of the image is run, so any machine can make it. The
settings are those of the Dockerfile's last stage.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from maggjob._version import __version__
from maggjob.aws.base import Base, fetch_layers, resolve_base
from maggjob.aws.dockerfile import read_settings
from maggjob.aws.image import PYTHONS, Image, image_folder
from maggjob.aws.image_config import configure, list_layers
from maggjob.aws.image_layers import LayerMaker, megabytes
from maggjob.aws.layers import Layer
from maggjob.aws.login import Login, stored_login
from maggjob.aws.reference import LOCK, Reference, parse_reference, pin, pinned_digest
from maggjob.aws.registry import Repository
from maggjob.aws.wheels import Locked, read_lock
from maggjob.errors import BackendError, InputError
from maggjob.storage.run_folder import cache_folder

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
DEFAULT_BASE = "public.ecr.aws/docker/library/python:{python}-slim"
"""Docker's official image, from a registry without the limits of Docker Hub."""
Say = Callable[[str], object]


@dataclass(frozen=True)
class BuildOptions:
    """What an image is made of."""

    python: str
    """Minor version of Python; that of this process, which makes the byte code."""
    base: str | None = None
    """Base image; by default `DEFAULT_BASE`."""
    digest: str | None = None
    """Digest that pins the base image; by default the one in ``base_lock`` or in runtime/base.lock."""
    readers: bool = False
    """If True, include the packages that read other formats."""
    cache: Path | None = None
    """Folder of wheels, layers and the base; by default ``images`` in the user's cache."""
    base_login: str | None = None
    """USER:PASSWORD for the base's registry; by default what ``docker login`` stored, else anonymous."""
    base_lock: Path | None = None
    """File that keeps the digest of the base for the next build; by default none is written."""
    runtime: Path | None = None
    """Folder of the Dockerfile and the lock files; by default maggjob's own."""

    @property
    def runtime_folder(self) -> Path:
        """Folder of the Dockerfile and the lock files."""
        return self.runtime or image_folder()

    @property
    def image_cache(self) -> Path:
        """Folder of wheels, layers and the base."""
        return self.cache or cache_folder() / "images"

    @property
    def lock(self) -> Path:
        """Lock file of the packages."""
        return self.runtime_folder / f"{'worker-readers' if self.readers else 'worker'}-{self.python}.txt"


@dataclass(frozen=True)
class PushedImage:
    """An image in a registry."""

    uri: str
    """Name with tag."""
    digest: str
    """Digest of its manifest."""
    sent: int
    """Bytes that were sent to the registry."""
    fetched: int
    """Bytes that were fetched: base and wheels."""
    layers: tuple[Layer, ...]
    """Layers on top of the base."""


def push_image(image: Image, login: Login, options: BuildOptions, say: Say) -> PushedImage:
    """Build an image, and push it.

    Parameters
    ----------
    image : Image
        Names the repository, which must exist, and the tag.
    login : Login
        Of the repository's registry.
    options : BuildOptions
    say : callable
        Called with one line per step: seconds since the beginning, what was done, sizes.

    Returns
    -------
    PushedImage

    Raises
    ------
    InputError
        If the lock, the Dockerfile or the base do not suit.
    BackendError
        If a registry, the package index or the disk fails. The tag is written last.
    """
    began = time.monotonic()

    def tell(what: str) -> None:
        say(f"{time.monotonic() - began:6.1f} s  {what}")

    lock = check_inputs(options)
    with _disk_errors(options.image_cache):
        base = find_base(options, image, login, tell)
        maker = LayerMaker(options.python, options.image_cache, tell)
        made = (maker.standard_library(base), maker.packages(lock), maker.maggjob())
        there = Repository(login, image.repository)
        copy_base(base, there, options.image_cache, tell)
        for layer in made:
            is_new = there.push_blob(layer.digest, Path(layer.path))
            tell(f"layer {layer.what}: {megabytes(layer.size)} {'sent' if is_new else 'are there'}")
        given = build_arguments(lock, replace(base.name, digest=base.digest), options.python)
        config = configure(base, made, read_settings(options.runtime_folder / "Dockerfile", given))
        manifest = list_layers(base, made, config)
        there.push_blob(manifest.config_digest, config)
        there.push_manifest(manifest, image.tag)
    fetched = maker.fetched + base.repository.fetched
    tell(f"pushed {image.uri}@{manifest.digest}: {megabytes(there.sent)} sent, {megabytes(fetched)} fetched")
    return PushedImage(image.uri, manifest.digest, there.sent, fetched, made)


def show_build(image: Image, options: BuildOptions, say: Say) -> None:
    """Say what `push_image` would do, without the network.

    Parameters
    ----------
    image : Image
    options : BuildOptions
    say : callable
        Called with each line.
    """
    lock, name = check_inputs(options), base_name(options)
    read_settings(options.runtime_folder / "Dockerfile", build_arguments(lock, name, options.python))
    pinned = f"@{name.digest}" if name.digest else ", at the digest that its tag has then"
    say(f"take the base image {name}{pinned}")
    say(f"compile the standard library of its Python {options.python}")
    say(f"fetch and compile {len(lock)} packages for aarch64, checked by the hashes of {options.lock.name}")
    say(f"add maggjob {__version__}")
    say(f"push {image.uri}")


def check_inputs(options: BuildOptions) -> list[Locked]:
    """Check the Python version, and return the locked packages.

    Raises
    ------
    InputError
        If byte code for the Python version cannot be made here, or no packages are locked for it.
    """
    if not options.lock.is_file():
        raise InputError(
            f"Python {options.python}: there is no {options.lock.name}, images exist for {', '.join(PYTHONS)}; "
            "run maggjob with one of them"
        )
    if options.python != HERE:
        raise InputError(f"an image for Python {options.python} cannot be made by Python {HERE}; run maggjob with it")
    return read_lock(options.lock)


def build_arguments(lock: Sequence[Locked], name: Reference, python: str) -> dict[str, str]:
    """Return the build arguments of the Dockerfile that become labels.

    Parameters
    ----------
    lock : sequence of Locked
    name : Reference
        The base.
    python : str
        Minor version.

    Raises
    ------
    InputError
        If the lock has no Lithops.
    """
    lithops = [package.version for package in lock if package.name == "lithops"]
    if not lithops:
        raise InputError("the lock has no lithops, which workers need; make the lock again")
    inside = {"PYTHON": python, "LITHOPS": lithops[0], "MAGGJOB": __version__}
    return {"BASE": str(name), "DIGEST": name.digest or "", **inside}


def base_name(options: BuildOptions) -> Reference:
    """Return the name of the base image, with its digest if it is pinned."""
    name = parse_reference(options.base or DEFAULT_BASE.format(python=options.python))
    files = (options.base_lock, options.runtime_folder / LOCK)
    digest = options.digest or name.digest or pinned_digest(name, *(file for file in files if file is not None))
    return replace(name, digest=digest)


def find_base(options: BuildOptions, image: Image, login: Login, tell: Say) -> Base:
    """Return the base image; pin it if it is not pinned yet.

    Parameters
    ----------
    options : BuildOptions
    image : Image
    login : Login
        Used for the base as well if the base is in the same registry.
    tell : callable
        Called with what was done.
    """
    name = base_name(options)
    is_same = name.host in (image.registry, login.endpoint.partition("://")[2]) and options.base_login is None
    there = login if is_same else stored_login(name.host, options.base_login)
    base = resolve_base(name, Repository(there, name.repository))
    tell(f"base {name}@{base.digest}: {len(base.layers)} layers, packed {megabytes(base.size)}")
    if name.digest is None and options.base_lock is None:
        tell(f"to take the same base again, give --digest {base.digest}")
    elif name.digest is None and options.base_lock is not None:
        pin(name, base.digest, options.base_lock)
        tell(f"pinned in {options.base_lock}; remove the line there for a newer base")
    return base


def copy_base(base: Base, there: Repository, cache: Path, tell: Say) -> None:
    """Copy the layers of a base that a repository does not have.

    Parameters
    ----------
    base : Base
    there : Repository
    cache : Path
        Folder of the cache.
    tell : callable
        Called with what was done.
    """
    missing = tuple(layer for layer in base.layers if not there.has_blob(layer["digest"]))
    paths = fetch_layers(replace(base, layers=missing), cache / "base")
    for layer, path in zip(missing, paths, strict=True):
        there.push_blob(layer["digest"], path)
    size = sum(layer["size"] for layer in missing)
    tell(f"base: {len(missing)} of {len(base.layers)} layers sent, {megabytes(size)}")


@contextmanager
def _disk_errors(cache: Path) -> Iterator[None]:
    """Explain what the disk refuses."""
    try:
        yield
    except OSError as problem:
        where, why = problem.filename or cache, problem.strerror or problem
        raise BackendError(f"{where}: {why}; free some space there, or set MAGGJOB_CACHE to another folder") from None
