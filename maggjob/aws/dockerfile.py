"""The settings of an image, read from the last stage of its Dockerfile: one source, with and without Docker."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from maggjob.errors import InputError

COPIED = ("FROM", "COPY")
"""Instructions of the last stage whose work the layers of `maggjob.aws.build` do."""


@dataclass(frozen=True)
class Settings:
    """Settings of an image."""

    env: Mapping[str, str]
    """Environment variables, in addition to those of the base."""
    workdir: str
    """Working directory."""
    user: str
    """USER:GROUP."""
    entrypoint: tuple[str, ...]
    """Program and its first arguments."""
    cmd: tuple[str, ...]
    """Further arguments."""
    labels: Mapping[str, str]
    """Labels, in addition to those of the base."""


def instructions(text: str) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile, such as ("FROM", "python:3.13"), without comments."""
    plain = re.sub(r"^\s*#.*\n?", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    words = (line.strip().partition(" ") for line in plain.splitlines() if line.strip())
    return [(word.upper(), rest.strip()) for word, _, rest in words]


def read_settings(path: Path, arguments: Mapping[str, str]) -> Settings:
    """Return the settings of the last stage of a Dockerfile.

    Parameters
    ----------
    path : Path
    arguments : mapping
        Build arguments; for others, the Dockerfile's defaults count.

    Raises
    ------
    InputError
        If the last stage has an instruction that only docker can carry out, or lacks one.
    """
    every = instructions(path.read_text(encoding="utf-8"))
    begin = max((number for number, (word, _) in enumerate(every) if word == "FROM"), default=0)
    # Arguments before the first FROM are defaults of those that a stage declares again.
    known: dict[str, str] = {}
    first = next((number for number, (word, _) in enumerate(every) if word == "FROM"), 0)
    common = dict(rest.partition("=")[::2] for word, rest in every[:first] if word == "ARG")
    pairs: dict[str, dict[str, str]] = {"ENV": {}, "LABEL": {}}
    single: dict[str, str] = {}
    for word, rest in every[begin:]:
        if word == "ARG":
            name, _, default = rest.partition("=")
            known[name] = arguments.get(name, (default or common.get(name, "")).strip('"'))
        elif word in pairs:
            pairs[word] |= dict(pair.partition("=")[::2] for pair in shlex.split(_fill(rest, known, path)))
        elif word in ("WORKDIR", "USER", "ENTRYPOINT", "CMD"):
            single[word] = rest
        elif word not in COPIED:
            raise InputError(f"{path}: {word} in the last stage needs Docker; remove it, or build with --docker")
    missing = [word for word in ("WORKDIR", "USER", "ENTRYPOINT", "CMD") if word not in single]
    if missing:
        raise InputError(f"{path}: no {' and no '.join(missing)} in the last stage; add it")
    entrypoint, cmd = (_words(single[word], word, path) for word in ("ENTRYPOINT", "CMD"))
    return Settings(pairs["ENV"], single["WORKDIR"], single["USER"], entrypoint, cmd, pairs["LABEL"])


def _fill(text: str, known: Mapping[str, str], path: Path) -> str:
    """Replace ${NAME} by the build argument of that name."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in known:
            raise InputError(f"{path}: ${{{match[1]}}} has no ARG in the last stage; add one")
        return known[match[1]]

    return re.sub(r"\$\{(\w+)\}", value, text)


def _words(text: str, word: str, path: Path) -> tuple[str, ...]:
    """Return the words of an instruction in its JSON form."""
    try:
        return tuple(json.loads(text))
    except ValueError:
        raise InputError(f'{path}: {word} {text} is not a JSON list; write {word} ["program", "argument"]') from None
