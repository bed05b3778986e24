"""Debian's docker-registry on a free port of 127.0.0.1, with a login by Basic, as ECR has it."""

import base64
import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import bcrypt

USER = "AWS"  # the name that ECR's tokens begin with
CONFIG = """\
version: 0.1
log: {{level: info, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: "{folder}/blobs"}}}}
http: {{addr: "127.0.0.1:0"}}
auth: {{htpasswd: {{realm: test, path: "{folder}/htpasswd"}}}}
"""


@dataclass(frozen=True)
class Registry:
    """A registry that runs."""

    address: str
    """127.0.0.1:PORT."""
    credentials: str
    """USER:PASSWORD."""

    @property
    def authorization(self) -> str:
        """Return the value of the header Authorization."""
        return "Basic " + base64.b64encode(self.credentials.encode()).decode()


@contextmanager
def registry(folder: Path) -> Iterator[Registry]:
    """Start a registry that keeps its blobs in a folder, and stop it at the end."""
    folder.mkdir(parents=True)
    password = secrets.token_urlsafe(12)
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
    (folder / "htpasswd").write_text(f"{USER}:{hashed}\n")
    (folder / "config.yml").write_text(CONFIG.format(folder=folder))
    log = folder / "log"
    # It ends with this process, even if that is killed.
    command = ["setpriv", "--pdeathsig", "TERM", "docker-registry", "serve", folder / "config.yml"]
    with (
        log.open("wb") as written,
        subprocess.Popen(command, stdout=written, stderr=written, stdin=subprocess.DEVNULL) as process,
    ):
        try:
            yield Registry(_address(process, log), f"{USER}:{password}")
        finally:
            process.terminate()


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """Wait for the line of the log that tells the port."""
    while True:
        ended = process.poll()
        if found := re.search(r"listening on (127\.0\.0\.1:\d+)", log.read_text()):
            return found[1]
        if ended is not None:
            raise RuntimeError(f"docker-registry ended with {ended}: {log.read_text()[-2000:]}")
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
