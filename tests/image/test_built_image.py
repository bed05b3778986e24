"""The image of workers, built, pushed, pulled and run: in a box like Lambda's, on an emulated aarch64."""

import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from importlib.util import cache_from_source, source_from_cache, source_hash
from pathlib import Path
from typing import Any

import pytest

from tests.aws.sandbox import Image
from tests.aws.whole_run import run_on_both
from tests.aws.world import World, world
from tests.image.box import GROUP, USER
from tests.image.conftest import Note
from tests.image.images import Bundle
from tests.image.push import Pushed, push
from tests.image.registry import Registry
from tests.image.tools import ROOT, Emulation, run

pytestmark = pytest.mark.image

AREA = (-105.0, -76.0, -100.0, -75.0)
NOT_RUN = re.compile(r"\.dist-info/(RECORD|INSTALLER|REQUESTED|direct_url\.json)$|^var/task/(bin|share)/")
"""pip's notes, and programs of packages."""
SETTINGS = ("Cmd", "Entrypoint", "Env", "User", "WorkingDir")
"""What an image tells whoever starts it, besides labels."""
LOOK_AROUND = """
import json, os, platform
def refused(path):
    try:
        open(path, "w").close()
    except OSError as problem:
        return problem.strerror
    os.remove(path)
space = os.statvfs("/tmp")
print(json.dumps({
    "machine": platform.machine(), "ids": [os.getuid(), os.getgid(), os.getgroups()], "folder": os.getcwd(),
    "refused": {path: refused(path) for path in ("/x", "/var/task/x", "/dev/x", "/usr/lib/x", "/tmp/x")},
    "tmp": space.f_blocks * space.f_frsize, "shm": os.path.exists("/dev/shm"), "environment": dict(os.environ),
}))
"""
UNREADABLE = """
import os
for folder, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if os.path.join(folder, name) not in ("/proc", "/dev", "/tmp")]
    for name in folders:
        if not os.access(os.path.join(folder, name), os.R_OK | os.X_OK):
            print(os.path.join(folder, name))
    for name in files:
        path = os.path.join(folder, name)
        if not os.access(path, os.R_OK) and not os.path.islink(path):
            print(path)
"""
IMPORTS = "import maggjob.aws.handler, awslambdaric.bootstrap"


def in_box(emulation: Emulation, bundle: Bundle, *command: str) -> str:
    """Run a command in the box, and return its standard output and standard error."""
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "AWS_LAMBDA_FUNCTION_NAME": "worker"}
    words = [*emulation.program("box"), str(bundle.folder), *command]
    return run(["sh", "-c", 'exec "$@" 2>&1', "sh", *words], variables)


def sizes(root: Path) -> dict[str, int]:
    """Return the bytes of each file below a folder."""
    return {
        str(path.relative_to(root)): path.lstat().st_size
        for folder, _, files in os.walk(root)
        for path in (Path(folder, name) for name in files)
        if stat.S_ISREG(path.lstat().st_mode)
    }


def copy_of_the_checkout(folder: Path) -> Path:
    """Copy what an image is made of."""
    for name in ("maggjob", "runtime"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


# ---- the builder


def test_the_same_again_gives_the_same_image_and_sends_nothing(
    registry: Registry, base: str, pushed: Pushed, work: Path, note: Note
) -> None:
    again = push(registry, base, "again", work / "cache")
    note(f"built again: {again.seconds:.0f} s, {again.sent} B sent")
    assert (again.digest, again.sent, again.fetched) == (pushed.digest, 0, 0)


def test_another_machine_would_make_the_same_image(
    registry: Registry, base: str, pushed: Pushed, work: Path, tmp_path: Path
) -> None:
    before = os.umask(0o077)
    try:
        checkout = copy_of_the_checkout(tmp_path)
        for path in checkout.rglob("*"):
            path.chmod(0o700 if path.is_dir() else 0o600)
        other = push(registry, base, "other", work / "cache-of-another", checkout)
    finally:
        os.umask(before)
    assert other.digest == pushed.digest
    assert other.sent == 0


def test_an_edit_of_maggjob_sends_at_most_two_megabytes(
    registry: Registry, base: str, pushed: Pushed, work: Path, tmp_path: Path, note: Note
) -> None:
    checkout = copy_of_the_checkout(tmp_path)
    with (checkout / "maggjob/aws/handler.py").open("a") as file:
        file.write("\nEDITED = True\n")
    edited = push(registry, base, "edited", work / "cache", checkout)
    note(f"built after an edit: {edited.seconds:.0f} s, {edited.sent / 1e6:.2f} MB sent")
    assert edited.digest != pushed.digest
    assert 0 < edited.sent <= 2e6
    assert edited.fetched == 0


def test_it_adds_at_most_140_megabytes_to_the_base(maggjob_bundle: Bundle, base_bundle: Bundle, note: Note) -> None:
    added, before = sizes(maggjob_bundle.root), sizes(base_bundle.root)
    assert before.items() <= added.items()
    total = sum(added.values()) - sum(before.values())
    note(f"unpacked: {sum(before.values()) / 1e6:.1f} MB of the base, {total / 1e6:.1f} MB added")
    assert 50e6 < total <= 140e6


def test_both_builders_give_the_same_settings(
    maggjob_bundle: Bundle, buildah_bundle: Bundle, base_bundle: Bundle
) -> None:
    ours, theirs, before = maggjob_bundle.settings, buildah_bundle.settings, base_bundle.settings
    assert {name: ours.get(name) for name in SETTINGS} == {name: theirs.get(name) for name in SETTINGS}
    assert set(before["Env"]) <= set(ours["Env"])
    assert ours["Labels"] == theirs["Labels"]
    assert {"maggjob.python", "maggjob.lithops", "maggjob.version"} <= ours["Labels"].keys()
    for one in (maggjob_bundle, buildah_bundle):
        assert (one.config["architecture"], one.config["os"]) == ("arm64", "linux")


def test_both_builders_install_the_same_files(
    maggjob_bundle: Bundle, buildah_bundle: Bundle, base_bundle: Bundle
) -> None:
    before = sizes(base_bundle.root).keys()
    ours, theirs = ({*sizes(bundle.root)} - before for bundle in (maggjob_bundle, buildah_bundle))
    assert {name for name in ours - theirs if not NOT_RUN.search(name)} == set()
    assert {name for name in theirs - ours if not NOT_RUN.search(name) and not of_a_link(base_bundle, name)} == set()
    sources = [name for name in ours & theirs if not name.endswith(".pyc")]
    assert len(sources) > 1500
    for name in sources:
        one, other = maggjob_bundle.content(name), buildah_bundle.content(name)
        if ".so" in Path(name).suffixes:
            # Our builder cuts off the symbols, and takes what tells where they are out of the header of 64 bytes.
            one, other = one[64:], other[64 : len(one)]
        assert one == other, name


def of_a_link(bundle: Bundle, name: str) -> bool:
    """True for byte code whose source is a link: only Debian's standard library has one."""
    return name.endswith(".pyc") and (bundle.root / source_from_cache(name)).is_symlink()


def test_every_module_has_byte_code_whose_source_is_not_looked_at(bundle: Bundle, base_bundle: Bundle) -> None:
    added = {*sizes(bundle.root)} - sizes(base_bundle.root).keys()
    compiled = {name for name in added if name.endswith(".pyc")}
    packages = {cache_from_source(name) for name in added if name.endswith(".py")}
    assert len(packages) > 1000
    assert {name for name in compiled if name.startswith("var/task/")} == packages
    for name in compiled:
        # A hash of the source instead of its time (1), which is not compared (2 is absent).
        expected = (1).to_bytes(4, "little") + source_hash(bundle.content(source_from_cache(name)))
        assert bundle.content(name)[4:16] == expected, name


# ---- in the box


def test_the_box_is_like_lambdas(emulation: Emulation, bundle: Bundle) -> None:
    found: dict[str, Any] = json.loads(in_box(emulation, bundle, "python", "-c", LOOK_AROUND))
    assert (found["machine"], found["ids"]) == ("aarch64", [USER, GROUP, []])
    assert found["folder"] == bundle.settings["WorkingDir"]
    refused = dict.fromkeys(("/x", "/var/task/x", "/usr/lib/x"), "Read-only file system")
    assert found["refused"] == {**refused, "/dev/x": "Permission denied", "/tmp/x": None}
    assert (found["tmp"], found["shm"]) == (512 * 2**20, False)
    own = dict(word.split("=", 1) for word in bundle.settings["Env"])
    lambdas = {"AWS_LAMBDA_FUNCTION_NAME": "worker", "LAMBDA_TASK_ROOT": "/var/task"}
    assert {name: value for name, value in found["environment"].items() if name != "QEMU_CPU"} == own | lambdas


def test_every_file_that_was_added_can_be_read_by_a_user_without_rights(
    emulation: Emulation, bundle: Bundle, base_bundle: Bundle
) -> None:
    unreadable = [path.lstrip("/") for path in in_box(emulation, bundle, "python", "-c", UNREADABLE).splitlines()]
    assert [path for path in unreadable if not os.path.lexists(base_bundle.root / path)] == []


def test_a_cold_start_compiles_nothing(emulation: Emulation, bundle: Bundle, note: Note) -> None:
    said = in_box(emulation, bundle, "python", "-v", "-c", IMPORTS)
    loaded = re.findall(r"^# code object from '?([^'\n]+)'?$", said, re.MULTILINE)
    note(f"modules of a cold start: {len(loaded)}")
    assert len(loaded) > 300
    assert [path for path in loaded if not path.endswith(".pyc")] == []


@pytest.fixture
def lambda_of_image(
    emulation: Emulation, bundle: Bundle, tmp_path: Path, clean_environment: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """Lambda whose sandboxes are boxes with the image in them."""
    words = (*emulation.program("box"), str(bundle.folder), *bundle.settings["Entrypoint"])
    (handler,) = bundle.settings["Cmd"]
    with world(tmp_path / "cache", Image(handler, words, {"PYTHONPATH": str(ROOT)}), concurrency=2) as made:
        for name, value in made.variables.items():
            monkeypatch.setenv(name, value)
        yield made


def test_a_whole_run_gives_the_bytes_of_a_serial_one(lambda_of_image: World, tmp_path: Path, note: Note) -> None:
    found = run_on_both(lambda_of_image, tmp_path / "granules", AREA)
    service = lambda_of_image.service
    for one in service.runs:
        note(f"  {one.status}, {'cold' if one.cold else 'warm'}: init {one.init:.1f} s, ran {one.seconds:.1f} s")
    assert found.complete
    assert found.observations > 1000
    assert sum(key.startswith(".run/parts/") for key in found.on_lambda) == found.cells > 1
    assert found.on_lambda == found.serial
    assert {one.status for one in service.runs if one.calls} == {"ok"}
    assert {Path(f"/proc/{number}/exe").resolve().name for number in service.processes} == {"qemu-aarch64"}
