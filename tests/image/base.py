"""A stand-in for the official image of Python: a userland of Debian for arm64, as an index with one image in it.

python -m tests.image.base      # makes it, and tells where it is
"""

import hashlib
import shutil
from pathlib import Path

from tests.arm64.userland import Packages
from tests.image.tools import MINOR, RELEASES, Emulation, cache_folder

NAME = "base"
# Packages that are essential in Debian, and those that a worker needs besides Python: as in tests.arm64.userland.
USERLAND = """\
printf '%s\\n' "$WAY_OUT" > "$FOLDER/apt.conf"
printf '%s' "$HOOK" > "$FOLDER/hook"
chmod 755 "$FOLDER/hook"
mmdebstrap --quiet --mode=root --architectures=arm64 --variant=essential --format=tar \\
  --include="python$MINOR-minimal libpython$MINOR-stdlib libstdc++6 python3-pip-whl" \\
  --skip=check/qemu --skip=output/dev --skip=output/mknod --aptopt="$FOLDER/apt.conf" \\
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \\
  --dpkgopt='path-exclude=/usr/share/locale/*' --customize-hook="$FOLDER/hook" "$RELEASE" "$FOLDER/root.tar" -
"""
# The official image has no byte code of the standard library, none of Debian's changes to Python's start, and calls its
# programs python, python3 and pip.
HOOK = """\
#!/bin/sh
set -eu
rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap"
rm "$1/usr/lib/python$MINOR/sitecustomize.py"
find "$1/usr" -name __pycache__ -prune -exec rm -rf {} +
ln -s "/usr/bin/python$MINOR" "$1/usr/local/bin/python"
ln -s "/usr/bin/python$MINOR" "$1/usr/local/bin/python3"
printf '#!/bin/sh\\nexec python "$(echo /usr/share/python-wheels/pip-*.whl)/pip" "$@"\\n' > "$1/usr/local/bin/pip"
chmod 755 "$1/usr/local/bin/pip"
"""
IMAGE = """\
buildah() { command buildah --root "$FOLDER/storage" --runroot "$FOLDER/run" --storage-driver vfs "$@"; }
container=$(buildah from --arch arm64 scratch)
buildah add --quiet "$container" "$FOLDER/root.tar" /
buildah config --arch arm64 --os linux --cmd python3 --env LANG=C.UTF-8 --env PYTHON_VERSION="$MINOR" \\
  --env PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
buildah manifest create localhost/index
buildah commit --quiet --manifest localhost/index "$container"
buildah manifest push --quiet --all localhost/index "oci:$FOLDER/layout:base"
"""


def make_base(emulation: Emulation, cache: Path) -> Path:
    """Return the folder of the base, an OCI image layout; made when it is not in the cache, in some ten minutes."""
    digest = hashlib.sha256((USERLAND + HOOK + IMAGE + RELEASES[MINOR]).encode()).hexdigest()[:12]
    made = cache / f"{NAME}-{RELEASES[MINOR]}-{digest}"
    if made.is_dir():
        return made
    with emulation.folder(cache) as folder:
        packages = Packages("arm64", folder / "apt", RELEASES[MINOR])
        variables = {
            "FOLDER": str(folder),
            "MINOR": MINOR,
            "RELEASE": RELEASES[MINOR],
            "HOOK": HOOK,
            "WAY_OUT": "\n".join(packages.way_out),
        }
        emulation.run("sh", "-euc", USERLAND, given=packages.source, environment=variables)
        emulation.run("sh", "-euc", IMAGE, environment=variables)
        for old in cache.glob(f"{NAME}-{RELEASES[MINOR]}-*"):
            shutil.rmtree(old)
        (folder / "layout").rename(made)
    return made


def main() -> None:
    """Make the base."""
    cache = cache_folder()
    print(make_base(Emulation(cache), cache))  # noqa: T201


if __name__ == "__main__":
    main()
