"""Userlands that a worker runs in: Debian's Python, and in it what the Dockerfile puts into the image, in a folder.

One of aarch64, which qemu runs as a process of this machine, and one of x86-64, which this machine runs itself. Both
have the same versions of everything. Nothing of the machine is changed, and nobody need be root.

python -m tests.arm64.userland      # makes both
"""

import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.aws.wheels import RUNTIME

ROOT = RUNTIME.parent
CACHE = ROOT / ".arm64"
RELEASE, MINOR = "trixie", "3.13"  # a release of Debian with a Python that there is a lock for
LOCK = RUNTIME / f"worker-{MINOR}.txt"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# Besides Python: C++'s library, which numpy's wheel wants of the system, as Debian's own apt does; and pip.
PACKAGES = f"python{MINOR}-minimal libpython{MINOR}-stdlib libstdc++6 python3-pip-whl".split()
DEBIAN = {"aarch64": "arm64", "x86_64": "amd64"}
CPU = "neoverse-n1"  # Graviton2, which Lambda's ARM64 is
APT = """\
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
"""


class UserlandError(RuntimeError):
    """A userland cannot be made here."""


@dataclass(frozen=True)
class Userland:
    """A folder with the files of another system."""

    machine: str
    """As ``uname -m`` says it: aarch64 or x86_64."""
    folder: Path
    """Where it is."""

    @property
    def root(self) -> Path:
        """Return the folder that is its root."""
        return self.folder / "root"

    @property
    def task(self) -> Path:
        """Return the folder that is /var/task in the image."""
        return self.root / "var/task"

    @property
    def python(self) -> Path:
        """A script of this machine that starts its Python."""
        return self.folder / "bin/python"

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that the image sets."""
        (line,) = instructions("ENV")
        return dict(word.split("=", 1) for word in line.replace("/var/task", str(self.task)).split())

    def shell(self, command: str) -> None:
        """Run a RUN instruction of the Dockerfile in it."""
        # A process in it can fork, but the machine cannot start its programs by themselves, as compileall does for -j 0
        command = command.replace("-j 0", "-j 1")
        for there, here in (
            ("/var/task", self.task),
            ("/requirements.txt", LOCK),
            ("/library", self.folder / "library"),
        ):
            command = command.replace(there, shlex.quote(str(here)))
        outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        path = f"{self.python.parent}:{os.environ['PATH']}"
        run(["sh", "-ec", command], {**outside, "PATH": path, "PYTHON": MINOR, "REQUIREMENTS": "worker"})


def run(command: list[str], environment: dict[str, str] | None = None, given: str = "") -> str:
    """Run a command with a standard input, and return its output.

    Raises
    ------
    UserlandError
        It failed; says how.
    """
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=3600,
            input=given,
        )
    except FileNotFoundError:
        raise UserlandError(
            f"{command[0]} is not here: this needs a Debian or Ubuntu, with apt-get and dpkg-deb"
        ) from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-3000:]
        raise UserlandError(f"{shlex.join(command)[:300]} ended with {done.returncode}:\n{said}")
    return done.stdout


def instructions(word: str) -> list[str]:
    """Return the instructions of the Dockerfile that begin with a word such as RUN, one line each, without comments."""
    text = re.sub(r"^#.*\n", "", (RUNTIME / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return re.findall(rf"^{word} (.*)$", text, re.MULTILINE)


def mirrors() -> list[str]:
    """Addresses that this machine's apt takes packages from, in its order; which of them is Debian's is to be tried."""
    found = re.findall(r"^'(\S+)/dists/[^']+/InRelease'", run(["apt-get", "update", "--print-uris"]), re.MULTILINE)
    return list(dict.fromkeys(found))


class Packages:
    """Debian's packages of an architecture, through apt with settings and a state of its own.

    Of the machine's settings only the way out (proxies and the like) is taken: others run programs after an update.
    """

    def __init__(self, architecture: str, folder: Path, release: str = RELEASE) -> None:
        self.folder = folder
        for name in ("state/lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        (folder / "status").touch()
        self.way_out = re.findall(
            r"^Acquire::(?!IndexTargets|Languages|Changelogs).*$", run(["apt-config", "dump"]), re.MULTILINE
        )
        settings = APT.format(folder=folder, architecture=architecture)
        (folder / "apt.conf").write_text("\n".join([*self.way_out, settings]))
        if not KEYRING.is_file():
            raise UserlandError(f"{KEYRING} is not here; install debian-archive-keyring")
        problems = []
        for mirror in mirrors():
            self.source = f"deb [signed-by={KEYRING}] {mirror} {release} main\n"
            (folder / "sources.list").write_text(self.source)
            try:
                self.apt("-o", "APT::Update::Error-Mode=any", "update")
                return
            except UserlandError as problem:
                problems.append(str(problem))
        raise UserlandError(
            f"none of this machine's sources of packages has Debian {release} for {architecture}, or none can be "
            "reached; connect to the network, or add one to apt's sources:\n" + "\n".join(problems)
        )

    def apt(self, *arguments: str) -> None:
        """Run apt-get."""
        run(["apt-get", "--quiet", "--yes", *arguments], {**os.environ, "APT_CONFIG": str(self.folder / "apt.conf")})

    def fetch(self, *names: str) -> list[Path]:
        """Fetch packages and all that they depend on."""
        self.apt("install", "--download-only", *names)
        return sorted((self.folder / "cache/archives").glob("*.deb"))


def _unpack(made: Userland) -> None:
    """Unpack Debian's packages; none of their scripts is run."""
    for package in Packages(DEBIAN[made.machine], made.folder / "apt").fetch(*PACKAGES):
        run(["dpkg-deb", "--extract", str(package), str(made.root)])
    for name in ("bin", "lib", "lib64"):  # as the package base-files has them
        if (made.root / "usr" / name).is_dir():
            (made.root / name).symlink_to(f"usr/{name}")
    shutil.rmtree(made.folder / "apt")


def fetch_emulator(folder: Path) -> Path:
    """Fetch qemu, which needs no libraries of the machine, and return its program."""
    packages = Packages("amd64", folder / "apt")
    (package,) = (path for path in packages.fetch("qemu-user") if path.name.startswith("qemu-user_"))
    name = "./usr/bin/qemu-aarch64"
    run(["sh", "-ec", f"dpkg-deb --fsys-tarfile '{package}' | tar --extract --directory='{folder}' {name}"])
    shutil.rmtree(folder / "apt")
    return folder / name


def _write_starters(made: Userland) -> None:
    """Write scripts of this machine that stand for the userland's python and pip."""
    python, libraries = made.root / f"usr/bin/python{MINOR}", made.root / "usr/lib/x86_64-linux-gnu"
    if made.machine == "x86_64":  # its own loader and libraries, not the machine's
        start = [libraries / "ld-linux-x86-64.so.2", "--argv0", python, "--library-path", libraries, python]
    else:
        start = [fetch_emulator(made.folder), "-cpu", CPU, "-L", made.root, python]
    (wheel,) = (made.root / "usr/share/python-wheels").glob("pip-*.whl")
    made.python.parent.mkdir()
    for name, words in (("python", start), ("pip", [made.python, wheel / "pip"])):
        path = made.python.with_name(name)
        path.write_text(f'#!/bin/sh\nexec {shlex.join(map(str, words))} "$@"\n')
        path.chmod(0o755)


def make(machine: str) -> Userland:
    """The userland of a machine, with this checkout's maggjob; all else is made when what it is made of has changed.

    Raises
    ------
    UserlandError
        It cannot be made here.
    """
    if platform.machine() != "x86_64":
        raise UserlandError(f"this machine is {platform.machine()}; the comparison is made on an x86_64 one")
    made = Userland(machine, CACHE / machine)
    made_of = [path.read_bytes() for path in (LOCK, RUNTIME / "Dockerfile", Path(__file__))]
    digest = hashlib.sha256(b"".join([*made_of, str(made.folder).encode()])).hexdigest()
    stamp = made.folder / "made-of"
    install, compile_and_import = instructions("RUN")
    if not stamp.is_file() or stamp.read_text() != digest:
        shutil.rmtree(made.folder, ignore_errors=True)
        made.root.mkdir(parents=True)
        _unpack(made)
        _write_starters(made)
        made.shell(install)
        stamp.write_text(digest)
    shutil.rmtree(made.task / "maggjob", ignore_errors=True)
    shutil.copytree(ROOT / "maggjob", made.task / "maggjob", ignore=shutil.ignore_patterns("__pycache__"))
    made.shell(compile_and_import)
    return made


def main() -> None:
    """Make both."""
    for machine in DEBIAN:
        made = make(machine)
        print(f"{machine}: {made.folder}")  # noqa: T201


if __name__ == "__main__":
    main()
