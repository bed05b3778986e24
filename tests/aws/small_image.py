"""Small inputs of an image: a base with a tiny Python, wheels of a few lines, a lock of them, and a runtime folder.

with image_registry() as registry:
    add_base(registry)                                    # library/python:3.11-slim for linux/arm64
    options = small_options(tmp_path, registry)           # for push_image
"""

import base64
import gzip
import hashlib
import io
import shutil
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from maggjob.aws.build import BuildOptions
from tests.aws.registry import Registry, sha256
from tests.aws.wheels import RUNTIME

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
BASE = "library/python"
LIBRARY = f"usr/local/lib/python{HERE}"
Link = tuple[str]
"""Target of a symbolic link."""
PYTHON_FILES: dict[str, bytes | Link] = {
    f"usr/local/bin/python{HERE}": b"\x7fELF",
    "usr/local/bin/python": (f"python{HERE}",),
    f"{LIBRARY}/os.py": b"name = 'posix'\n",
    f"{LIBRARY}/json/__init__.py": b"def loads(text):\n    return text\n",
    f"{LIBRARY}/test/test_os.py": b"tested = True\n",
    f"{LIBRARY}/idlelib/idle.py": b"idle = True\n",
    f"{LIBRARY}/site-packages/pip/__init__.py": b"pip = True\n",
}
"""Files of a base image."""


def library_files() -> dict[str, bytes | Link]:
    """Files of a base image with the standard library of this Python, without byte code, as official images."""
    library = Path(sysconfig.get_path("stdlib"))
    sources = [path for path in library.rglob("*.py") if "site-packages" not in path.relative_to(library).parts]
    program = {name: content for name, content in PYTHON_FILES.items() if "/bin/" in name}
    return program | {f"{LIBRARY}/{path.relative_to(library)}": path.read_bytes() for path in sorted(sources)}


def layer(files: Mapping[str, bytes | Link]) -> bytes:
    """A packed layer with files and links."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            if isinstance(content, tuple):
                entry.type, entry.linkname = tarfile.SYMTYPE, content[0]
                tar.addfile(entry)
            else:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def base_config(layers: list[bytes], **changes: Any) -> dict[str, Any]:
    """Configuration of a base image."""
    diff_ids = [sha256(gzip.decompress(content)) for content in layers]
    variables = ["PATH=/usr/local/bin:/usr/bin", "LANG=C.UTF-8"]
    about: dict[str, Any] = {"architecture": "arm64", "os": "linux", "config": {"Env": variables, "Cmd": ["python3"]}}
    return {**about, "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": [{"created_by": "base"}]} | changes


def add_base(registry: Registry, *more: Mapping[str, bytes | Link], tag: str = f"{HERE}-slim", **changes: Any) -> str:
    """Store a base as an index with one image for arm64 and one for amd64; ``changes`` are of its configuration."""
    layers = [layer(files) for files in (PYTHON_FILES, *more)]
    ours = registry.add_image(BASE, f"{tag}-arm64", base_config(layers, **changes), layers)
    other = registry.add_image(BASE, f"{tag}-amd64", base_config(layers, architecture="amd64"), layers)
    return registry.add_index(BASE, tag, {"linux/amd64": other, "linux/arm64": ours})


def write_wheel(folder: Path, name: str, version: str, files: Mapping[str, bytes], tag: str = "py3-none-any") -> Path:
    """Write a wheel; ``files`` are added to its metadata."""
    about = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    content = {**files, f"{about}/METADATA": metadata, f"{about}/WHEEL": f"Wheel-Version: 1.0\nTag: {tag}\n".encode()}
    lines = [
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}"
        for path, data in content.items()
    ]
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in {**content, f"{about}/RECORD": "\n".join([*lines, f"{about}/RECORD,,"]).encode()}.items():
            archive.writestr(zipfile.ZipInfo(path), data)
    return wheel


def lock_line(wheel: Path) -> str:
    """Line of a lock for a wheel."""
    name, version, *_ = wheel.name.split("-")
    return f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


def write_wheels(folder: Path) -> list[Path]:
    """Write the wheels of a small image: Lithops' name, and a package with all that a wheel can hold."""
    many = {
        "many/__init__.py": b"import os\n",
        "many/broken.py": b"def template(:\n",
        "many/core.so": b"\x7fELF",
        "many/core.pyi": b"x: int\n",
        "many/tests/test_core.py": b"assert False\n",
        "many-2.0.data/purelib/also.py": b"also = 1\n",
        "many-2.0.data/scripts/run": b"#!python\n",
        "many-2.0.dist-info/licenses/LICENSE": b"MIT\n",
    }
    lithops = write_wheel(folder, "lithops", "3.7.9", {"lithops/__init__.py": b"name = 'not the real one'\n"})
    return [lithops, write_wheel(folder, "many", "2.0", many, "cp39-abi3-manylinux2014_aarch64")]


def small_runtime(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a folder like runtime/ with a lock of the small wheels, and let pip find them, and nothing else."""
    wheels = write_wheels(folder / "index")
    runtime = folder / "runtime"
    runtime.mkdir()
    shutil.copy(RUNTIME / "Dockerfile", runtime)
    for name in ("worker", "worker-readers"):
        (runtime / f"{name}-{HERE}.txt").write_text("".join(lock_line(wheel) for wheel in wheels))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return runtime


def small_options(folder: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> BuildOptions:
    """Options of an image made of small inputs, with a cache of its own."""
    given: dict[str, Any] = {"base": f"{registry.host}/{BASE}:{HERE}-slim", "cache": folder / "cache"}
    return BuildOptions(HERE, runtime=small_runtime(folder, monkeypatch), **given | changes)
