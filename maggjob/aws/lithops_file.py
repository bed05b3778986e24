"""lithops_config.yaml: a new one from the packaged file, or the values of an account written into one that is there.

The file is changed line by line, so that comments and whatever a person changed stay.
"""

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from maggjob.backend.settings import BACKENDS, CONFIG_FILE, TO_FILL_IN, packaged_config
from maggjob.errors import InputError
from maggjob.inputs.plain_yaml import load_yaml

NAME = "maggjob"
"""Default name of an installation, which needs no namespace."""
OURS = "maggjob"
"""Word that each Lithops configuration for maggjob contains: in the name of the runtime, or in comments."""


@dataclass(frozen=True)
class AccountValues:
    """What `maggjob cloud setup` writes into lithops_config.yaml."""

    region: str
    """Region of the workers."""
    bucket: str
    """Lithops' bucket."""
    role: str
    """ARN of the workers' role."""
    runtime: str
    """Name of the runtime."""
    namespace: str | None = None
    """Namespace of the functions; None leaves the file's."""
    user: str | None = None
    """user_id; None leaves the file's."""
    memory: int | None = None
    """Memory of the function, MB; None leaves the file's."""
    timeout: int | None = None
    """Timeout of the function, seconds; None leaves the file's."""

    def lines(self) -> dict[tuple[str, str], str | int]:
        """Return the values by section and key."""
        found = {
            ("aws", "region"): self.region,
            ("aws_s3", "storage_bucket"): self.bucket,
            ("aws_lambda", "execution_role"): self.role,
            ("aws_lambda", "runtime"): self.runtime,
            ("aws_lambda", "namespace"): self.namespace,
            ("aws_lambda", "user_id"): self.user,
            ("aws_lambda", "runtime_memory"): self.memory,
            ("aws_lambda", "runtime_timeout"): self.timeout,
        }
        return {key: value for key, value in found.items() if value is not None}


@dataclass(frozen=True)
class FilledFile:
    """The text of a lithops_config.yaml with the values of an account."""

    text: str
    """New content."""
    changes: tuple[str, ...]
    """What was changed, a line each."""


def read_own_file(path: Path) -> str | None:
    """Return the text of a lithops_config.yaml of maggjob; None if there is no file.

    Raises
    ------
    InputError
        If the file cannot be read, or is not one of maggjob's: it is never overwritten.
    """
    if not path.exists():
        return None
    try:
        text = path.read_bytes().decode("utf-8-sig")
        content = load_yaml(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as problem:
        raise InputError(f"{path}: {' '.join(str(problem).split())}; mend it, or {_other_file()}") from problem
    why = why_foreign(text, content)
    if why:
        raise InputError(f"{path} is not a Lithops configuration of maggjob ({why}); it is left alone: {_other_file()}")
    return text


def why_foreign(text: str, content: Any) -> str:
    """Return why a Lithops configuration is not one of maggjob's; empty if it is.

    Parameters
    ----------
    text : str
    content : object
        What the YAML says.

    Examples
    --------
    >>> why_foreign("lithops: {backend: gcp_cloudrun}", {"lithops": {"backend": "gcp_cloudrun"}})
    'its backend is gcp_cloudrun'
    """
    if not isinstance(content, Mapping):
        return "it is not a mapping"
    general = content.get("lithops") or {}
    backend = general.get("backend", "localhost") if isinstance(general, Mapping) else "unknown"
    if backend not in BACKENDS.values():
        return f"its backend is {backend}"
    return "" if OURS in text else f"it does not mention {OURS}"


def check_same_installation(text: str | None, name: str) -> None:
    """Check that a lithops_config.yaml with the values of an account is for the installation that is meant.

    Parameters
    ----------
    text : str or None
        Content of the file; None if there is none.
    name : str
        Name of the installation.

    Raises
    ------
    InputError
        If it is for another one, whose values would be lost.
    """
    section = ((load_yaml(text) or {}) if text else {}).get("aws_lambda") or {}
    role, own = str(section.get("execution_role") or TO_FILL_IN), section.get("namespace") or NAME
    if own != name and (TO_FILL_IN not in role or section.get("namespace")):
        raise InputError(
            f"{CONFIG_FILE} is for the installation {own}, not for {name}: {_other_file()}, or --name {own}"
        )


def _other_file() -> str:
    return "give --lithops-config with the name of another file"


def fill_in(text: str | None, values: AccountValues) -> FilledFile:
    """Write the values of an account into a lithops_config.yaml.

    Parameters
    ----------
    text : str or None
        Content of the file; None for the packaged one.
    values : AccountValues

    Raises
    ------
    InputError
        If the file is laid out so that its lines cannot be changed, such as a section in one line
        (``aws: {region: us-west-2}``) or sections that are indented.
    """
    packaged = packaged_config().read_text(encoding="utf-8")
    new = packaged if text is None else _add_sections(text, packaged)
    wanted = values.lines()
    try:
        before = load_yaml(new) or {}
    # Sections that are added at the margin do not fit below an indented first line.
    except (ValueError, yaml.YAMLError) as problem:
        raise _cannot_change(wanted) from problem
    if "architecture" not in (before.get("aws_lambda") or {}):
        # Lithops' own default is another one than the image's.
        wanted["aws_lambda", "architecture"] = "arm64"
    changes = []
    for (section, key), value in wanted.items():
        old = (before.get(section) or {}).get(key)
        if old == value:
            continue
        new = _set_line(new, section, key, value)
        changes.append(f"{section}.{key}: {value}" + ("" if old is None or "CHANGE-ME" in str(old) else f", was {old}"))
    _check_filled(new, before, wanted)
    return FilledFile(new, tuple(changes))


def _add_sections(text: str, packaged: str) -> str:
    """Add the sections for AWS that a text lacks, as they are in the packaged file."""
    for section in ("aws", "aws_s3", "aws_lambda"):
        if not re.search(rf"^{section}:", text, re.MULTILINE):
            found = re.search(rf"^{section}:\n(?:(?:[ #].*)?\n)*", packaged, re.MULTILINE)
            text = f"{text.rstrip()}\n\n{found[0].rstrip() if found else f'{section}:'}\n"
    return text


def _set_line(text: str, section: str, key: str, value: str | int) -> str:
    """Return a text in which a key of a section has a value."""
    lines = text.splitlines(keepends=True)
    end = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    if lines and not lines[-1].endswith(("\n", "\r")):
        lines[-1] += end
    start = next((i for i, line in enumerate(lines) if re.match(rf"{section}:\s*(#.*)?$", line)), None)
    if start is None:
        return text
    indent = "  "
    for number in range(start + 1, len(lines)):
        line = lines[number]
        # The section ends at the first line that is neither indented nor empty nor a comment.
        if re.match(r"[^\s#]", line):
            break
        if not (found := re.match(r"(\s+)([\w-]+):", line)):
            continue
        indent = found[1]
        if found[2] == key:
            comment = re.search(r"\s+#.*$", line.rstrip("\r\n"))
            lines[number] = f"{indent}{key}: {value}{comment[0] if comment else ''}{end}"
            return "".join(lines)
    lines.insert(start + 1, f"{indent}{key}: {value}{end}")
    return "".join(lines)


def _check_filled(text: str, before: Mapping[str, Any], values: Mapping[tuple[str, str], str | int]) -> None:
    """Check that exactly the values of the account were changed.

    Raises
    ------
    InputError
        If that is not so.
    """
    wanted = {key: dict(value) if isinstance(value, Mapping) else value for key, value in before.items()}
    for (section, key), value in values.items():
        wanted[section] = {**(wanted.get(section) or {}), key: value}
    try:
        found = load_yaml(text)
    except (ValueError, yaml.YAMLError):
        found = None
    if found != wanted:
        raise _cannot_change(values)


def _cannot_change(values: Mapping[tuple[str, str], str | int]) -> InputError:
    said = "; ".join(f"{section}.{key}: {value}" for (section, key), value in values.items())
    return InputError(
        f"{CONFIG_FILE} is laid out in a way that maggjob cannot change (a section in one line or indented, or a value "
        f"over several): write these values yourself: {said}; or {_other_file()}"
    )


def check_writable(path: Path) -> None:
    """Check that a file can be written, before anything else is done.

    Raises
    ------
    InputError
        If its folder does not exist or is read-only, or the file is.
    """
    folder = path.absolute().parent
    if not folder.is_dir():
        raise InputError(f"{path}: there is no folder {folder}; create it, or {_other_file()}")
    if path.is_dir():
        raise InputError(f"{path} is a folder; {_other_file()}")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise InputError(f"{path} cannot be written: change its rights, or {_other_file()}")


def write_file(path: Path, text: str) -> None:
    """Write a lithops_config.yaml as a whole, or leave the old one.

    Parameters
    ----------
    path : Path
    text : str

    Raises
    ------
    InputError
        If the disk refuses.
    """
    # A link stays one.
    target = path.resolve()
    part = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        part.write_bytes(text.encode())
        if target.exists():
            part.chmod(target.stat().st_mode & 0o777)
        part.replace(target)
    except OSError as problem:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise InputError(f"{path} could not be written: {problem}; free some space, or {_other_file()}") from problem
