"""The image is built and pushed without Docker, from a small base, small wheels and this package."""

import gzip
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from maggjob.aws import build, image_layers, registry as registry_module
from maggjob.aws.build import BuildOptions, PushedImage, push_image, show_build
from maggjob.aws.image import NOT_IN_IMAGE, Image
from maggjob.aws.login import Login, basic
from maggjob.aws.reference import parse_reference, pinned_digest
from maggjob.aws.wheels import fetch_wheels, read_lock
from maggjob.errors import BackendError, InputError, MaggjobError
from tests.aws.registry import Fault, Registry, image_registry, sha256
from tests.aws.small_image import (
    BASE,
    HERE,
    LIBRARY,
    PYTHON_FILES,
    add_base,
    base_config,
    layer,
    small_options,
    small_runtime,
    write_wheels,
)

IMAGE = Image("123456789012", "us-west-2", "maggjob", "maggjob:1")
TAG = HERE.replace(".", "")


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A registry with a base; nothing waits, and the layer of maggjob is small."""
    monkeypatch.setattr(registry_module, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(image_layers, "package_files", lambda _: {"var/task/maggjob/__init__.py": lambda: b"a = 1\n"})
    with image_registry() as found:
        add_base(found)
        yield found


@pytest.fixture(scope="module")
def kept_wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the small wheels: pip, which takes a second, runs only in tests about wheels."""
    folder = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        runtime = small_runtime(folder, patch)
        fetch_wheels(read_lock(runtime / f"worker-{HERE}.txt"), HERE, folder / "wheels")
    return folder / "wheels"


@pytest.fixture
def options(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_wheels: Path) -> BuildOptions:
    shutil.copytree(kept_wheels, tmp_path / "cache/wheels")
    return small_options(tmp_path, registry, monkeypatch)


@pytest.fixture
def without_wheels(options: BuildOptions) -> BuildOptions:
    """Options with an empty cache."""
    shutil.rmtree(options.image_cache)
    return options


def push(registry: Registry, options: BuildOptions, runtime: str = "maggjob:1", **login: Any) -> PushedImage:
    image = replace(IMAGE, runtime=runtime)
    return push_image(image, Login(registry.url, **login), options, lambda _: None)


def unpack(registry: Registry, digest: str) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    """Members of a layer that was pushed."""
    content = gzip.decompress(registry.blobs[IMAGE.repository][digest])
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {e.name: (e, file.read() if (file := tar.extractfile(e)) else b"") for e in tar}


def nothing_pushed(registry: Registry) -> bool:
    return not registry.tags[IMAGE.repository] and not registry.manifests[IMAGE.repository]


def test_an_image_has_base_library_packages_and_maggjob(registry: Registry, options: BuildOptions) -> None:
    pushed = push(registry, options)
    manifest, config = registry.image(IMAGE.repository, "1")
    assert registry.tags[IMAGE.repository] == {"1": pushed.digest}
    assert manifest["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    blobs = registry.blobs[IMAGE.repository]
    assert [len(blobs[item["digest"]]) for item in manifest["layers"]] == [item["size"] for item in manifest["layers"]]
    assert [sha256(gzip.decompress(blobs[item["digest"]])) for item in manifest["layers"]] == config["rootfs"][
        "diff_ids"
    ]
    assert config["architecture"] == "arm64"

    library, packages, ours = (unpack(registry, layer.digest) for layer in pushed.layers)
    # Neither tests nor idlelib nor site-packages; no folder that the base has.
    assert {n for n, (e, _) in library.items() if e.isfile()} == {
        f"{LIBRARY}/__pycache__/os.cpython-{TAG}.pyc",
        f"{LIBRARY}/json/__pycache__/__init__.cpython-{TAG}.pyc",
    }
    assert f"{LIBRARY}/json" not in library
    files = {n.removeprefix("var/task/") for n, (e, _) in packages.items() if e.isfile()}
    assert files == {
        *("also.py", f"__pycache__/also.cpython-{TAG}.pyc", "many/broken.py", "many/core.so", "many/__init__.py"),
        *(f"many/__pycache__/__init__.cpython-{TAG}.pyc", "many-2.0.dist-info/METADATA", "many-2.0.dist-info/WHEEL"),
        *("many-2.0.dist-info/licenses/LICENSE", "lithops/__init__.py", "lithops-3.7.9.dist-info/METADATA"),
        *("lithops-3.7.9.dist-info/WHEEL", f"lithops/__pycache__/__init__.cpython-{TAG}.pyc"),
    }
    assert {n for n, (e, _) in ours.items() if e.isfile()} == {
        *("var/task/maggjob/__init__.py", f"var/task/maggjob/__pycache__/__init__.cpython-{TAG}.pyc")
    }
    for entry, content in (*library.values(), *packages.values(), *ours.values()):
        assert (entry.uid, entry.gid, entry.mtime) == (0, 0, 315_532_800)
        assert entry.mode == (0o755 if entry.isdir() else 0o644)
        # PEP 552: a hash, not to be checked.
        assert not entry.name.endswith(".pyc") or content[4:8] == b"\x01\x00\x00\x00"


def test_the_settings_are_those_of_the_dockerfile(registry: Registry, options: BuildOptions) -> None:
    push(registry, options)
    settings = registry.image(IMAGE.repository, "1")[1]["config"]
    assert settings["Entrypoint"] == ["python", "-m", "awslambdaric"]
    assert settings["Cmd"] == ["maggjob.aws.handler.handler"]
    assert (settings["WorkingDir"], settings["User"]) == ("/var/task", "65534:65534")
    # Those of the base are kept.
    assert settings["Env"][:3] == ["PATH=/usr/local/bin:/usr/bin", "LANG=C.UTF-8", "PYTHONPATH=/var/task"]
    assert settings["Labels"] == {
        "maggjob.python": HERE,
        # The Lithops of the lock, not that of this environment.
        "maggjob.lithops": "3.7.9",
        "maggjob.version": build.__version__,
        "org.opencontainers.image.base.name": f"{registry.host}/{BASE}:{HERE}-slim",
        "org.opencontainers.image.base.digest": registry.tags[BASE][f"{HERE}-slim"],
    }


def test_byte_code_is_used_although_its_source_has_another_time(
    registry: Registry, options: BuildOptions, tmp_path: Path
) -> None:
    pushed = push(registry, options)
    for part in pushed.layers:
        with tarfile.open(part.path) as tar:
            tar.extractall(tmp_path / "root", filter="data")
    task = tmp_path / "root/var/task"
    (task / "also.py").write_text("also = 'compiled from the source'\n")
    code = "import also, many; print(also.also, many.__spec__.cached, many.__file__, many.os.__name__)"
    environment = {"PYTHONPATH": str(task), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[0] == "1"
    assert not list(task.glob("**/broken.*.pyc"))


def test_the_same_inputs_give_the_same_digest(registry: Registry, options: BuildOptions) -> None:
    first = push(registry, options)
    shutil.rmtree(options.image_cache / "layers")
    again = push(registry, options, "maggjob:2")
    assert again.digest == first.digest
    assert again.sent == 0


@pytest.mark.dear("builds two images")
def test_what_is_there_is_neither_fetched_nor_sent_again(
    registry: Registry, without_wheels: BuildOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = without_wheels
    first = push(registry, options)
    assert first.fetched > 0
    assert first.sent >= sum(part.size for part in first.layers)
    registry.seen.clear()
    monkeypatch.setattr(image_layers, "package_files", lambda _: {"var/task/maggjob/__init__.py": lambda: b"a = 2\n"})
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    edited = push(registry, options, "maggjob:2")
    assert edited.fetched == 0
    assert edited.layers[:2] == first.layers[:2]
    config = registry.image(IMAGE.repository, "2")[0]["config"]["size"]
    assert edited.sent == edited.layers[2].size + config
    # Of the base only the manifests and the configuration are asked for.
    assert len(registry.requests("GET", "/blobs/")) == 1
    assert len(registry.requests("PATCH")) == 2


def test_an_edit_of_maggjob_sends_less_than_two_megabytes(
    registry: Registry, options: BuildOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(registry, options)
    monkeypatch.undo()
    monkeypatch.setattr(registry_module, "PAUSES", (0.0, 0.0))
    edited = push(registry, options, "maggjob:2")
    assert edited.layers[2].files > 300
    assert edited.sent < 2_000_000
    names = {n.removeprefix("var/task/maggjob/") for n in unpack(registry, edited.layers[2].digest)}
    assert {"aws/handler.py", f"jobs/__pycache__/cells.cpython-{TAG}.pyc", "grid/outlines.npz", "py.typed"} <= names
    assert not {name for name in names if set(NOT_IN_IMAGE) - {"__pycache__"} & set(name.split("/"))}


@pytest.mark.dear("builds two images")
def test_a_damaged_file_of_the_cache_is_made_again(registry: Registry, options: BuildOptions) -> None:
    first = push(registry, options)
    assert options.cache is not None
    kept = [path for path in options.cache.rglob("*") if path.suffix in (".gz", ".whl") or "sha256-" in path.name]
    assert len(kept) == 3 + 2 + 1
    for path in kept:
        path.write_bytes(b"damaged" + path.read_bytes()[7:])
    assert push(registry, options, "maggjob:2").digest == first.digest
    assert not list(options.cache.rglob("*.new"))


def test_a_dry_run_says_all_and_asks_nobody(registry: Registry, options: BuildOptions) -> None:
    said: list[str] = []
    show_build(IMAGE, options, said.append)
    text = "\n".join(said)
    assert f"{registry.host}/{BASE}:{HERE}-slim" in text
    assert f"2 packages for aarch64, checked by the hashes of worker-{HERE}.txt" in text
    assert f"push {IMAGE.uri}" in text
    assert not registry.seen
    assert not list(options.image_cache.glob("layers/*"))


def test_each_step_is_told_with_time_and_size(registry: Registry, options: BuildOptions) -> None:
    said: list[str] = []
    push_image(IMAGE, Login(registry.url), options, said.append)
    assert all(line[:6].strip().replace(".", "").isdigit() for line in said)
    assert said[-1].endswith("MB fetched")
    assert "MB sent" in said[-1]
    assert [
        line.split()[2] for line in said
    ] == "base to layers layer 2 layer layer base: layer layer layer pushed".split()


# --- The base ---


def test_a_base_is_pinned_until_its_line_is_removed(registry: Registry, options: BuildOptions, tmp_path: Path) -> None:
    lock = tmp_path / "base.lock"
    options = replace(options, base_lock=lock)
    name = parse_reference(f"{registry.host}/{BASE}:{HERE}-slim")
    push(registry, options)
    first = registry.tags[BASE][f"{HERE}-slim"]
    assert pinned_digest(name, lock) == first
    second = add_base(registry, {f"{LIBRARY}/new.py": b"new = 1\n"})
    push(registry, options, "maggjob:2")
    label = "org.opencontainers.image.base.digest"
    assert registry.image(IMAGE.repository, "2")[1]["config"]["Labels"][label] == first
    lock.write_text("".join(line for line in lock.read_text().splitlines(True) if "@" not in line))
    pushed = push(registry, options, "maggjob:3")
    assert registry.image(IMAGE.repository, "3")[1]["config"]["Labels"][label] == second
    assert f"{LIBRARY}/__pycache__/new.cpython-{TAG}.pyc" in unpack(registry, pushed.layers[0].digest)
    assert pinned_digest(name, lock) == second
    # An option counts more than the file.
    push(registry, replace(options, digest=first), "maggjob:4")
    assert registry.image(IMAGE.repository, "4")[1]["config"]["Labels"][label] == first


def test_the_runtime_folder_pins_a_base(registry: Registry, options: BuildOptions) -> None:
    first = registry.tags[BASE][f"{HERE}-slim"]
    assert options.runtime is not None
    (options.runtime / "base.lock").write_text(f"# ours\n{registry.host}/{BASE}:{HERE}-slim@{first}\n")
    add_base(registry, {f"{LIBRARY}/new.py": b"new = 1\n"})
    pushed = push(registry, options)
    assert pushed.layers[0].files == 2


def test_a_broken_lock_of_bases_is_named(registry: Registry, options: BuildOptions, tmp_path: Path) -> None:
    lock = tmp_path / "base.lock"
    lock.write_text("python:3.13-slim\n")
    with pytest.raises(InputError, match=r"base\.lock: 'python:3\.13-slim' has no digest"):
        push(registry, replace(options, base_lock=lock))


def test_upper_layers_of_a_base_hide_lower_ones(registry: Registry, options: BuildOptions) -> None:
    upper = {
        f"{LIBRARY}/.wh.os.py": b"",
        f"{LIBRARY}/json/.wh..wh..opq": b"",
        f"{LIBRARY}/json/decoder.py": b"decoder = 1\n",
        f"{LIBRARY}/added.py": b"added = 1\n",
        f"{LIBRARY}/has.py": b"has = 1\n",
        f"{LIBRARY}/__pycache__/has.cpython-{TAG}.pyc": b"the base's own",
    }
    # The base must have os.py to be found.
    add_base(registry, upper, {f"{LIBRARY}/os.py": b"name = 'newer'\n"})
    files = unpack(registry, push(registry, options).layers[0].digest)
    names = {n.removeprefix(f"{LIBRARY}/") for n, (e, _) in files.items() if e.isfile()}
    assert names == {
        *(f"__pycache__/{name}.cpython-{TAG}.pyc" for name in ("os", "added")),
        f"json/__pycache__/decoder.cpython-{TAG}.pyc",
    }
    assert b"newer" in files[f"{LIBRARY}/__pycache__/os.cpython-{TAG}.pyc"][1]


def test_the_python_of_a_base_is_found_as_a_shell_would(registry: Registry, options: BuildOptions) -> None:
    """Debian's Python beside another: /usr/bin comes later on the PATH, and links lead through folders."""
    debian = {
        "usr/bin/python3.9": b"\x7fELF",
        "usr/bin/python": ("python3.9",),
        "usr/lib/python3.9/os.py": b"name = 'debian'\n",
        "bin": ("usr/bin",),
    }
    add_base(registry, debian)
    assert push(registry, options).layers[0].files == 2
    only = {
        **{name: content for name, content in debian.items() if "3.9" not in name},
        f"usr/bin/python{HERE}": b"\x7fELF",
        "usr/bin/python": ("/etc/alternatives/python",),
        "etc/alternatives/python": (f"../../bin/python{HERE}",),
        f"usr/lib/python{HERE}/os.py": b"name = 'debian'\n",
    }
    layers = [layer(only)]
    config = base_config(layers, config={"Env": ["PATH=/usr/local/bin:/bin"]})
    registry.add_image(BASE, "debian", config, layers)
    pushed = push(registry, replace(options, base=f"{registry.host}/{BASE}:debian"), "maggjob:2")
    files = unpack(registry, pushed.layers[0].digest)
    assert {n for n, (e, _) in files.items() if e.isfile()} == {
        f"usr/lib/python{HERE}/__pycache__/os.cpython-{TAG}.pyc"
    }


# --- What is refused: one line, nothing pushed, and a second try works ---


def no_such_base(registry: Registry) -> None:
    del registry.tags[BASE][f"{HERE}-slim"]


def only_amd64(registry: Registry) -> None:
    other = registry.tags[BASE][f"{HERE}-slim-amd64"]
    registry.add_index(BASE, f"{HERE}-slim", {"linux/amd64": other, "unknown/unknown": other})


def one_image_of_amd64(registry: Registry) -> None:
    add_base(registry, architecture="amd64")
    registry.tags[BASE][f"{HERE}-slim"] = registry.tags[BASE][f"{HERE}-slim-amd64"]


def another_python(registry: Registry) -> None:
    files = {name.replace(HERE, "3.9"): content for name, content in PYTHON_FILES.items()}
    files["usr/local/bin/python"] = ("python3.9",)
    layers = [layer(files)]
    registry.add_image(BASE, f"{HERE}-slim", base_config(layers), layers)


def no_python(registry: Registry) -> None:
    layers = [layer({"usr/bin/perl": b""})]
    registry.add_image(BASE, f"{HERE}-slim", base_config(layers), layers)


def zstd_layer(registry: Registry) -> None:
    layers = [layer(PYTHON_FILES)]
    item = {"mediaType": "application/vnd.oci.image.layer.v1.tar+zstd", "size": 1, "digest": sha256(layers[0])}
    registry.add_image(BASE, f"{HERE}-slim", base_config(layers), layers, layers=[item])


def no_tar_file(registry: Registry) -> None:
    layers = [gzip.compress(b"no tar file" * 100)]
    registry.add_image(BASE, f"{HERE}-slim", base_config(layers), layers)


def login_refused(registry: Registry) -> None:
    registry.user = "AWS:another"


def pull_breaks_off(registry: Registry) -> None:
    (digest,) = (digest for digest, content in registry.blobs[BASE].items() if content[:2] == b"\x1f\x8b")
    registry.faults.append(Fault("GET", digest, after=100, times=99))


def push_breaks_off(registry: Registry) -> None:
    registry.faults.append(Fault("PATCH", "/uploads/", after=100, times=99))


def registry_is_down(registry: Registry) -> None:
    registry.faults.append(Fault("PUT", "/manifests/", status=503, times=99))


BAD: list[tuple[Callable[[Registry], None], type[MaggjobError], str]] = [
    (no_such_base, InputError, r"base image \S+-slim: .*404 .*check the names"),
    (only_amd64, InputError, r"has no linux/arm64, only linux/amd64; give another one with --base"),
    (one_image_of_amd64, InputError, r"is for amd64, not for arm64; give another one with --base"),
    (another_python, InputError, rf"has Python 3\.9, not {HERE}; give another one with --base"),
    (no_python, InputError, r"has no python with a standard library on its PATH"),
    (zstd_layer, InputError, r"has layers of type \S+zstd; Lambda takes gzip only"),
    (no_tar_file, InputError, r"a layer is not a packed tar file"),
    (login_refused, BackendError, r"401 UNAUTHORIZED.*the login was refused"),
    (pull_breaks_off, BackendError, r"blob sha256:\S+ broke off"),
    (push_breaks_off, BackendError, r"(PATCH|POST): .*check the network, and try again"),
    (registry_is_down, BackendError, r"503 FAULT.*try again later"),
]


@pytest.mark.parametrize(("spoil", "error", "said"), BAD, ids=lambda value: getattr(value, "__name__", ""))
def test_a_bad_base_or_registry_is_named(
    registry: Registry, options: BuildOptions, spoil: Callable[[Registry], None], error: type[MaggjobError], said: str
) -> None:
    spoil(registry)
    with pytest.raises(error, match=said) as caught:
        push(registry, options)
    assert "\n" not in str(caught.value)
    assert nothing_pushed(registry)
    registry.user = None
    registry.faults.clear()
    add_base(registry)
    push(registry, options)
    assert registry.tags[IMAGE.repository].keys() == {"1"}


def test_a_pull_that_broke_off_is_continued(registry: Registry, options: BuildOptions) -> None:
    """Within a command, and by the next one."""
    add_base(registry, {"usr/share/large": random.Random(0).randbytes(1_000_000)})
    (digest,) = (digest for digest, content in registry.blobs[BASE].items() if len(content) > 1_000_000)
    size = len(registry.blobs[BASE][digest])
    # Of 200,000 bytes, three pieces of 65,536 are kept.
    fault = Fault("GET", digest, after=200_000, times=3)
    registry.faults.append(fault)
    with pytest.raises(BackendError, match="broke off"):
        push(registry, options)
    assert sum(path.stat().st_size for path in options.image_cache.glob("base/*.part")) == 9 * 65_536
    fault.times = 1
    registry.seen.clear()
    push(registry, options)
    assert len(registry.requests("GET", digest)) == 2
    assert [path.stat().st_size for path in options.image_cache.glob(f"base/*{digest[7:]}*")] == [size]
    assert registry.blobs[IMAGE.repository][digest] == registry.blobs[BASE][digest]


def test_an_image_for_another_python_is_refused(registry: Registry, options: BuildOptions) -> None:
    with pytest.raises(InputError, match=r"Python 3\.9: there is no worker-3\.9\.txt, images exist for 3\.11, 3\.12"):
        push(registry, replace(options, python="3.9"))
    assert options.runtime is not None
    (options.runtime / "worker-3.9.txt").write_text("")
    with pytest.raises(InputError, match=rf"Python 3\.9 cannot be made by Python {HERE}"):
        push(registry, replace(options, python="3.9"))
    assert not registry.seen


@pytest.mark.parametrize(
    ("lock", "said"),
    [
        ("", r"0 packages, of which 0 have hashes"),
        ("lithops==3.8.0\n", r"1 packages, of which 0 have hashes"),
        ("lithops==3.8.0 --hash=sha256:12\n", r"1 packages, of which 0 have hashes"),
    ],
)
def test_a_lock_without_hashes_is_refused(registry: Registry, options: BuildOptions, lock: str, said: str) -> None:
    options.lock.write_text(lock)
    with pytest.raises(InputError, match=said):
        push(registry, options)
    assert nothing_pushed(registry)


def test_a_lock_without_lithops_is_refused(registry: Registry, options: BuildOptions) -> None:
    options.lock.write_text(options.lock.read_text().replace("lithops", "another"))
    with pytest.raises(InputError, match="the lock has no lithops"):
        show_build(IMAGE, options, lambda _: None)


@pytest.mark.dear("builds an image; test_layers refuses it, too")
def test_a_wheel_that_is_not_the_locked_one_is_refused(
    registry: Registry, without_wheels: BuildOptions, tmp_path: Path
) -> None:
    options = without_wheels
    wheel = next((tmp_path / "index").glob("many-*.whl"))
    content = wheel.read_bytes()
    wheel.write_bytes(content.replace(b"MIT", b"BSD"))
    with pytest.raises(BackendError, match=r"many==2\.0: the package index has another file than the lock says"):
        push(registry, options)
    assert nothing_pushed(registry)
    assert not list(options.image_cache.rglob("*.whl"))
    write_wheels(tmp_path / "index")
    push(registry, options)


def test_a_package_that_no_index_has_is_named(registry: Registry, without_wheels: BuildOptions, tmp_path: Path) -> None:
    options = without_wheels
    next((tmp_path / "index").glob("many-*.whl")).unlink()
    with pytest.raises(BackendError, match=r"pip download failed: .*many==2\.0.*; check the network and the index"):
        push(registry, options)


def test_a_full_disk_is_told(registry: Registry, options: BuildOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    write_layer = image_layers.write_layer

    def full(*given: Any) -> Any:
        write_layer(*given)
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(image_layers, "write_layer", full)
    with pytest.raises(BackendError, match=r"cache: No space left on device; free some space there, or set MAGGJOB_C"):
        push(registry, options)
    assert nothing_pushed(registry)
    assert not list(options.image_cache.glob("layers/*"))
    monkeypatch.setattr(image_layers, "write_layer", write_layer)
    push(registry, options)


def test_a_cache_that_cannot_be_written_is_told(registry: Registry, options: BuildOptions, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BackendError, match=r"file/layers: Not a directory; free some space there, or set MAGGJOB_"):
        push(registry, replace(options, cache=tmp_path / "file"))


def test_a_tag_that_exists_is_never_replaced(registry: Registry, options: BuildOptions) -> None:
    registry.immutable = True
    first = push(registry, options)
    add_base(registry, {f"{LIBRARY}/new.py": b"new = 1\n"})
    with pytest.raises(BackendError, match="400 TAG_INVALID"):
        push(registry, options)
    assert registry.tags[IMAGE.repository] == {"1": first.digest}


def test_a_private_base_is_read_with_the_login_that_is_given(registry: Registry, options: BuildOptions) -> None:
    with image_registry(user="AWS:token") as there:
        registry.user, registry.bearer = "me:secret", True
        with pytest.raises(BackendError, match="401"):
            push(there, options, authorization=basic("AWS:token"))
        pushed = push(there, replace(options, base_login="me:secret"), authorization=basic("AWS:token"))
        assert there.tags[IMAGE.repository] == {"1": pushed.digest}
        assert not any("token" in path for _, path, _ in there.seen)
    assert json.loads(there.manifests[IMAGE.repository][pushed.digest][0])["schemaVersion"] == 2
