"""Images in a registry: built from the Dockerfile by buildah, pulled by skopeo, unpacked by umoci."""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.image.registry import Registry
from tests.image.tools import Emulation, run

# Without a Docker engine: RUN is a chroot. pip finds the wheels of the lock in a folder, and needs no network.
BUILD = """\
buildah() { command buildah --root "$FOLDER/storage" --runroot "$FOLDER/run" --storage-driver vfs "$@"; }
buildah build --quiet --tag localhost/built --isolation chroot --platform linux/arm64 \\
  --tls-verify=false --creds "$CREDENTIALS" \\
  --volume "$WHEELS:/wheels:ro" --volume "$FOLDER/pip.conf:/etc/pip.conf:ro" "$@"
buildah push --quiet --format v2s2 --tls-verify=false --creds "$CREDENTIALS" localhost/built "docker://$TARGET"
"""


@dataclass(frozen=True)
class Bundle:
    """An image that was pulled and unpacked."""

    folder: Path
    """With ``rootfs`` (its files), ``image.json`` (its configuration) and ``manifest.json``."""

    @property
    def root(self) -> Path:
        """Return the folder of its files."""
        return self.folder / "rootfs"

    @property
    def config(self) -> dict[str, Any]:
        """Return what the image tells of itself: architecture, settings, layers."""
        return json.loads((self.folder / "image.json").read_text())

    @property
    def settings(self) -> dict[str, Any]:
        """Return what the image tells whoever starts it: Env, Entrypoint, Cmd, User, WorkingDir, Labels."""
        return self.config["config"]

    @property
    def packed(self) -> list[int]:
        """Return the bytes of each layer in the registry."""
        return [layer["size"] for layer in json.loads((self.folder / "manifest.json").read_text())["layers"]]

    def content(self, name: str) -> bytes:
        """Return the bytes of a file, given its name below `root`."""
        return (self.root / name).read_bytes()


def push_layout(layout: Path, registry: Registry, name: str) -> str:
    """Push what an OCI image layout has under the name base, an index and all, and return where it is."""
    target = f"{registry.address}/{name}"
    run(
        ["skopeo", "copy", "--quiet", "--all", "--dest-tls-verify=false", f"--dest-creds={registry.credentials}"]
        + [f"oci:{layout}:base", f"docker://{target}"]
    )
    return target


def digest_of(registry: Registry, uri: str) -> str:
    """Return the digest of what a name stands for: of an index, not of the image in it."""
    words = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"--creds={registry.credentials}", f"docker://{uri}"]
    return f"sha256:{hashlib.sha256(run(words).encode()).hexdigest()}"


def fetch_wheels(lock: Path, folder: Path) -> None:
    """Fetch the wheels of a lock for aarch64 and this Python, as pip chooses them, checking their hashes."""
    platforms = ("manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in range(17, 29)))
    run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        + ["--require-hashes", "--only-binary=:all:", *(word for name in platforms for word in ("--platform", name))]
        + ["--dest", str(folder), "--requirement", str(lock)]
    )


def build_by_buildah(
    emulation: Emulation, registry: Registry, name: str, folder: Path, wheels: Path, words: Sequence[str]
) -> str:
    """Build an image from a Dockerfile, push it, and return where it is.

    Parameters
    ----------
    emulation : Emulation
    registry : Registry
    name : str
        Repository and tag.
    folder : Path
        For buildah's storage. It needs a namespace to be deleted.
    wheels : Path
        Folder of the wheels that pip installs.
    words : sequence of str
        Further words of the command, as docker takes them: --build-arg, --file and the context.
    """
    folder.mkdir(parents=True)
    (folder / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    target = f"{registry.address}/{name}"
    variables = {
        "FOLDER": str(folder),
        "WHEELS": str(wheels),
        "CREDENTIALS": registry.credentials,
        "TARGET": target,
    }
    emulation.run("sh", "-euc", BUILD, "build", *words, environment=variables)
    return target


def pull(emulation: Emulation, registry: Registry, uri: str, folder: Path) -> Bundle:
    """Pull an image of arm64, and unpack it."""
    folder.mkdir(parents=True)
    run(
        ["skopeo", "--override-os=linux", "--override-arch=arm64", "copy", "--quiet", "--src-tls-verify=false"]
        + [f"--src-creds={registry.credentials}", f"docker://{uri}", f"oci:{folder}/layout:image"]
    )
    made = Bundle(folder / "bundle")
    emulation.run("umoci", "unpack", "--image", f"{folder}/layout:image", made.folder)
    for name, words in (("image.json", ["--config"]), ("manifest.json", ["--raw"])):
        (made.folder / name).write_text(run(["skopeo", "inspect", *words, f"oci:{folder}/layout:image"]))
    return made
