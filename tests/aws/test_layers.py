"""Layers, wheels and the Dockerfile, one by one."""

import gzip
import importlib.util
import io
import random
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from maggjob.aws.dockerfile import instructions, read_settings
from maggjob.aws.elf import MAGIC, without_symbols
from maggjob.aws.layers import byte_code, write_layer
from maggjob.aws.registry import sha256_of
from maggjob.aws.wheels import Locked, fetch_wheels, installed_files, read_lock
from maggjob.errors import BackendError, InputError
from tests.aws.small_image import HERE, lock_line, small_runtime, write_wheel
from tests.aws.wheels import RUNTIME
from tests.aws.world import ROOT

NAME = st.text("abcXYZ_.0é", min_size=1, max_size=60).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(NAME, min_size=1, max_size=4).map("/".join)
FILES = st.dictionaries(PATHS, st.binary(max_size=300), max_size=12)


@given(files=FILES, order=st.randoms(use_true_random=False))
def test_a_layer_depends_on_its_files_only(
    files: dict[str, bytes], order: random.Random, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # A path cannot be a file and a folder.
    files = {path: data for path, data in files.items() if not any(one.startswith(f"{path}/") for one in files)}
    folder = tmp_path_factory.mktemp("layer")
    shuffled = list(files.items())
    order.shuffle(shuffled)
    one = write_layer("files", {path: data.__bytes__ for path, data in files.items()}, folder / "one")
    two = write_layer("files", {path: data.__bytes__ for path, data in shuffled}, folder / "two")
    packed = (folder / "one").read_bytes()
    assert (one.digest, one.size) == (two.digest, two.size) == (sha256_of(packed), len(packed))
    assert one.diff_id == sha256_of(gzip.decompress(packed))
    assert (one.files, one.unpacked) == (len(files), sum(map(len, files.values())))
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        found = {entry.name: file.read() for entry in tar if (file := tar.extractfile(entry))}
        names = tar.getnames()
    assert found == files
    # A folder comes before what is in it.
    for name in names:
        assert not [parent for parent in names[: names.index(name)] if parent.startswith(f"{name}/")]


def test_folders_of_lower_layers_keep_their_modes(tmp_path: Path) -> None:
    write_layer("files", {"usr/lib/a/b": lambda: b""}, tmp_path / "layer", known=["usr", "usr/lib"])
    with tarfile.open(tmp_path / "layer") as tar:
        assert tar.getnames() == ["usr/lib/a", "usr/lib/a/b"]


def test_byte_code_is_the_same_in_every_process() -> None:
    """Also where sets and interned strings are among the constants, whose order and reference counts vary."""
    source = b"def f(x):\n    '''Doc.'''\n    return x in {'a', 'b', 'c', 1, (2, 'd')} or 'f' == x\nname = 'a'\n"
    files = {f"p/m{number}.py": source.__bytes__ for number in range(3)} | {"p/bad.py": b"def (".__bytes__}
    first, again = byte_code(files), byte_code(dict(reversed(files.items())))
    assert {name: read() for name, read in first.items()} == {name: read() for name, read in again.items()}
    assert len(first) == 3


def test_a_module_that_waits_is_there_when_it_is_used() -> None:
    code = """
import sys
from maggjob.aws.lazy import import_when_used
import_when_used("pika"); import_when_used("no_such_module"); import_when_used("json")
import pika
print("pika.spec" in sys.modules, pika.URLParameters.__module__, "pika.spec" in sys.modules)
import pika as again, pika.exceptions
print(again.BlockingConnection is pika.BlockingConnection, pika.exceptions.__name__, again.__version__ != "")
import no_such_module
try:
    no_such_module.anything
except ModuleNotFoundError as problem:
    print(problem)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "False pika.connection True",
        "True pika.exceptions True",
        "No module named 'no_such_module'",
    ], done.stderr


# --- Wheels ---


@pytest.mark.parametrize("lock", sorted(RUNTIME.glob("worker*.txt")), ids=lambda path: path.stem)
def test_our_locks_are_read_whole(lock: Path) -> None:
    packages = read_lock(lock)
    text = lock.read_text()
    assert [f"{package.name}=={package.version}" for package in packages] == [
        line.split()[0] for line in text.splitlines() if not line.startswith(" ")
    ]
    assert sum(len(package.hashes) for package in packages) == text.count("--hash=sha256:")


@pytest.mark.dear("makes and packs wheels; test_build does, too")
def test_a_wheel_is_fetched_once_and_checked_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = read_lock(small_runtime(tmp_path, monkeypatch) / f"worker-{HERE}.txt")
    wheels, fetched = fetch_wheels(lock, HERE, tmp_path / "cache")
    assert [wheel.name.split("-")[0] for wheel in wheels] == ["lithops", "many"]
    assert fetched == sum(wheel.stat().st_size for wheel in wheels)
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    assert fetch_wheels(lock, HERE, tmp_path / "cache") == (wheels, 0)
    # Another entry for the same package is another wheel.
    changed = [Locked("many", "2.0", frozenset({"0" * 64}))]
    with pytest.raises(BackendError, match="pip download failed"):
        fetch_wheels(changed, HERE, tmp_path / "cache")
    wheels[1].write_bytes(b"damaged")
    with pytest.raises(BackendError, match="pip download failed"):
        fetch_wheels(lock, HERE, tmp_path / "cache")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    assert fetch_wheels(lock, HERE, tmp_path / "cache")[0] == wheels
    assert not list((tmp_path / "cache").glob("pip-*"))


def test_an_environment_without_pip_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = read_lock(small_runtime(tmp_path, monkeypatch) / f"worker-{HERE}.txt")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr("maggjob.aws.wheels.sys.executable", str(python))
    with pytest.raises(BackendError, match="pip is not installed in this environment; type: python -m ensurepip"):
        fetch_wheels(lock, HERE, tmp_path / "cache")


def test_wheels_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    wheels = [write_wheel(tmp_path, name, "1.0", {"same/a.py": name.encode()}) for name in ("one", "two")]
    said = r"two-1\.0\S+ and another wheel have different var/task/same/a\.py"
    with pytest.raises(InputError, match=said), installed_files(wheels):
        pass
    with installed_files([write_wheel(tmp_path, "evil", "1.0", {"../../../etc/passwd": b""})]) as files:
        assert all(name.startswith("var/task/evil-1.0.dist-info/") for name in files)


def test_a_lock_line_is_read_back(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, "one", "1.0", {})
    (tmp_path / "lock.txt").write_text(f"# made by hand\n{lock_line(wheel)}")
    (found,) = read_lock(tmp_path / "lock.txt")
    (tmp_path / "again.txt").write_text(found.line() + "\n")
    assert read_lock(tmp_path / "again.txt") == [found]
    with pytest.raises(InputError, match="does not exist"):
        read_lock(tmp_path / "missing.txt")


@pytest.mark.parametrize("name", ["deflate", "numpy._core._multiarray_umath", "obstore._obstore", "yaml._yaml"])
def test_a_library_without_symbols_can_still_be_loaded(name: str, tmp_path: Path) -> None:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    path = Path(str(spec.origin))
    if path.suffix != ".so":
        (path,) = path.parent.glob("*.so")
    whole = path.read_bytes()
    short = without_symbols(whole)
    assert len(short) < len(whole)
    assert without_symbols(short) == short
    # A library finds others relative to its own place.
    (tmp_path / path.parent.name).mkdir()
    for other in path.parent.parent.glob("*.libs"):
        (tmp_path / other.name).symlink_to(other)
    where = tmp_path / path.parent.name / path.name
    if name.startswith("numpy"):
        (tmp_path / "numpy.libs").symlink_to(path.parents[2] / "numpy.libs")
        where = tmp_path / "numpy" / "_core" / path.name
        where.parent.mkdir(parents=True)
    where.write_bytes(short)
    code = f"import ctypes; ctypes.PyDLL({str(where)!r}).PyInit_{where.name.split('.')[0]}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@given(st.binary(max_size=200) | st.binary(max_size=200).map((MAGIC + bytes(58)).__add__))
def test_what_is_no_library_stays_as_it_is(content: bytes) -> None:
    assert without_symbols(content) == content


# --- The Dockerfile ---


def test_readers_in_names_a_build_argument_that_leads_to_a_lock() -> None:
    comment = (RUNTIME / "readers.in").read_text().splitlines()[0]
    name, _, value = comment.split("--build-arg ")[1].partition("=")
    text = (RUNTIME / "Dockerfile").read_text()
    every = instructions(text)
    stage = every[[word for word, _ in every].index("FROM") :]
    arguments = dict(rest.partition("=")[::2] for word, rest in stage if word == "ARG")
    assert name in arguments
    (copied,) = [rest for word, rest in stage if word == "COPY" and f"${{{name}}}" in rest]
    source = copied.split()[0].replace(f"${{{name}}}", value).replace("${PYTHON}", arguments["PYTHON"])
    assert (ROOT / source).is_file()
    # And docker may see it.
    assert "!runtime/*.txt" in (RUNTIME / "Dockerfile.dockerignore").read_text().splitlines()
    for line in (RUNTIME / "readers.in").read_text().splitlines()[1:]:
        assert line in {package.name for package in read_lock(ROOT / source)}


def test_the_labels_are_arguments_and_defaults_count() -> None:
    found = read_settings(RUNTIME / "Dockerfile", {"PYTHON": "3.14", "DIGEST": "sha256:1"})
    assert found.labels["maggjob.python"] == "3.14"
    assert found.labels["org.opencontainers.image.base.digest"] == "sha256:1"
    assert found.labels["org.opencontainers.image.base.name"] == "public.ecr.aws/docker/library/python:3.12-slim"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("RUN rm -rf /\n", "RUN in the last stage needs Docker; remove it, or build with --docker"),
        ("WORKDIR /\n", "no USER and no ENTRYPOINT and no CMD in the last stage"),
        ("LABEL a=${NOWHERE}\n", r"\$\{NOWHERE\} has no ARG in the last stage"),
        ("WORKDIR /\nUSER a\nENTRYPOINT python -m x\nCMD []\n", r"ENTRYPOINT python -m x is not a JSON list"),
    ],
)
def test_a_dockerfile_that_cannot_be_followed_is_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "Dockerfile"
    path.write_text(f"FROM a AS build\nRUN something\nFROM b\n{text}")
    with pytest.raises(InputError, match=rf"Dockerfile: {said}"):
        read_settings(path, {})
