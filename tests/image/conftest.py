"""Fixtures: the registry, the base, the image by two builders. They are made once, and deleted at the end."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from maggjob.aws.build import BuildOptions
from maggjob.aws.docker import build_steps, write_context
from maggjob.aws.image import Image
from tests.aws.wheels import RUNTIME
from tests.image.base import make_base
from tests.image.images import Bundle, build_by_buildah, digest_of, fetch_wheels, pull, push_layout
from tests.image.push import Pushed, push
from tests.image.registry import Registry, registry as docker_registry
from tests.image.tools import MINOR, Emulation, UserlandError, cache_folder, reason_to_skip

SUMMARY = pytest.StashKey[list[str]]()

Note = Callable[[str], None]


@pytest.fixture(scope="session")
def note(pytestconfig: pytest.Config) -> Note:
    """Return a function that adds a line to what is printed at the end."""
    return pytestconfig.stash.setdefault(SUMMARY, [f"kept in {cache_folder()}"]).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tell times and sizes, whatever became of the tests."""
    if SUMMARY in config.stash:
        terminalreporter.section("the image")
        for line in config.stash[SUMMARY]:
            terminalreporter.write_line(line)


@contextmanager
def timed(note: Note, what: str) -> Iterator[None]:
    """Note how long something took."""
    began = time.monotonic()
    yield
    note(f"{what}: {time.monotonic() - began:.0f} s")


@pytest.fixture(scope="session")
def emulation() -> Emulation:
    """Emulation of aarch64; skips the tests where there can be none."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    try:
        return Emulation(cache_folder())
    except UserlandError as problem:
        pytest.skip(str(problem))


@pytest.fixture(scope="session")
def work(emulation: Emulation) -> Iterator[Path]:
    """Folder of these tests: not in /tmp, which is memory on some machines."""
    with emulation.folder(cache_folder()) as folder:
        yield folder


@pytest.fixture(scope="session")
def registry(work: Path) -> Iterator[Registry]:
    """Return the registry."""
    with docker_registry(work / "registry") as made:
        yield made


@pytest.fixture(scope="session")
def base(emulation: Emulation, registry: Registry, note: Note) -> str:
    """Return the name of the base in the registry."""
    with timed(note, "base (kept from an earlier time, or made)"):
        layout = make_base(emulation, cache_folder())
    return push_layout(layout, registry, f"base/python:{MINOR}-slim")


@pytest.fixture(scope="session")
def pushed(registry: Registry, base: str, work: Path, note: Note) -> Pushed:
    """Return the image that `push_image` made, with nothing in its cache."""
    made = push(registry, base, "first", work / "cache")
    for line in made.said:
        note(f"  {line}")
    note(f"built and pushed by maggjob: {made.seconds:.0f} s, {made.sent / 1e6:.1f} MB sent")
    return made


@pytest.fixture(scope="session")
def built_by_buildah(emulation: Emulation, registry: Registry, base: str, work: Path, note: Note) -> str:
    """Return the name of the image that buildah made of the Dockerfile, by the arguments that docker would get."""
    folder, context = work / "buildah", work / "context"
    fetch_wheels(RUNTIME / f"worker-{MINOR}.txt", work / "wheels")
    write_context(context)
    options = BuildOptions(MINOR, base=base, digest=digest_of(registry, base))
    (_, step) = build_steps(Image("1", "us-west-2", "user", "maggjob:1"), context, options)
    words = [word for name in ("--build-arg", "--file") for word in _options(step.command, name)]
    with timed(note, "built from the Dockerfile and pushed by buildah"):
        return build_by_buildah(
            emulation, registry, "buildah/maggjob:first", folder, work / "wheels", [*words, str(context)]
        )


def _options(command: tuple[str, ...], name: str) -> Iterator[str]:
    """Return an option of a command, as often as it is there, each with its value."""
    for word, value in pairwise(command):
        if word == name:
            yield from (word, value)


def _pulled(emulation: Emulation, registry: Registry, uri: str, folder: Path, note: Note) -> Bundle:
    with timed(note, f"pulled and unpacked: {uri}"):
        made = pull(emulation, registry, uri, folder)
    note(f"  layers: {', '.join(f'{size / 1e6:.1f}' for size in made.packed)} MB packed")
    return made


@pytest.fixture(scope="session")
def base_bundle(emulation: Emulation, registry: Registry, base: str, work: Path, note: Note) -> Bundle:
    """Return the base, pulled and unpacked."""
    return _pulled(emulation, registry, base, work / "pulled/base", note)


@pytest.fixture(scope="session")
def maggjob_bundle(emulation: Emulation, registry: Registry, pushed: Pushed, work: Path, note: Note) -> Bundle:
    """Return the image that `push_image` made, pulled and unpacked."""
    return _pulled(emulation, registry, pushed.uri, work / "pulled/maggjob", note)


@pytest.fixture(scope="session")
def buildah_bundle(emulation: Emulation, registry: Registry, built_by_buildah: str, work: Path, note: Note) -> Bundle:
    """Return the image that buildah made, pulled and unpacked."""
    return _pulled(emulation, registry, built_by_buildah, work / "pulled/buildah", note)


@pytest.fixture(params=["maggjob", "buildah"])
def bundle(request: pytest.FixtureRequest) -> Bundle:
    """Return the image of each builder."""
    made: Bundle = request.getfixturevalue(f"{request.param}_bundle")
    return made
