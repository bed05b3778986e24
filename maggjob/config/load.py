"""Find, parse and validate a configuration.

Any problem raises one `ConfigError` that names the file, the key, the value, and what is allowed.
"""

import reprlib
import types
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from maggjob.config.builtin import END, builtin_configs, builtin_names, find_builtin
from maggjob.config.schema import Config
from maggjob.config.source import Search
from maggjob.errors import ConfigError, InputError
from maggjob.inputs.places import local_place
from maggjob.inputs.plain_yaml import load_yaml

__all__ = ["ConfigLike", "builtin_configs", "load_config", "make_search", "read_content", "validate"]

ConfigLike = str | Path | Mapping[str, Any] | Config
"""A file, the name of a built-in configuration, or the content of a configuration."""

COMMANDS = {"cells": "run", "series": "series", "scenes": "scenes"}
"""Jobs, and the command that takes a configuration of each."""


def load_config(path: ConfigLike) -> Config:
    """Read a configuration.

    Parameters
    ----------
    path : str, Path, mapping or Config
        A file or, if no such file exists, the name of a built-in configuration, with or without ``.yaml``. So
        ``atl06`` is the built-in one also where there is a file atl06.yaml. A mapping is validated; a `Config` is
        returned unchanged.

    Raises
    ------
    ConfigError
        If the file does not exist, is not YAML, or has an invalid key or value.

    Examples
    --------
    >>> import maggjob
    >>> maggjob.load_config("atl06").output.grid.child_order
    12
    """
    return path if isinstance(path, Config) else validate(Config, *read_content(path))


def read_content(path: str | Path | Mapping[str, Any], job: str = "cells") -> tuple[Mapping[Any, Any], str]:
    """Return the content of a configuration, and its name for messages.

    Parameters
    ----------
    path : str, Path or mapping
        A file, the name of a built-in configuration, or the content.
    job : str
        Job of the configuration: cells or series.

    Raises
    ------
    ConfigError
        If the file does not exist, is not YAML, or is of another job.
    """
    if isinstance(path, Mapping):
        return path, "configuration"
    try:
        file = local_place(path, "configuration")
    except InputError as problem:
        raise ConfigError(f"{problem}; built-in configurations are {', '.join(builtin_names(job))}") from None
    try:
        found = file.is_file()
    except OSError:
        # The name is too long for a file.
        found = False
    if not found:
        file = _builtin(str(path), job)
    try:
        content = load_yaml(file.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError, OSError) as problem:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(problem).split())}") from problem
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: holds {type(content).__name__}, expected the keys {', '.join(Config.model_fields)}")
    of = content.get("job", "cells")
    if of != job:
        known = f"'maggjob {COMMANDS[of]}' takes it" if of in COMMANDS else f"known are {', '.join(COMMANDS)}"
        raise ConfigError(f"{path}: job is {of!r}, not {job!r}; {known}")
    return content, str(path)


def _builtin(name: str, job: str) -> Path:
    """Return the path of a built-in configuration of a job.

    Raises
    ------
    ConfigError
        If there is none of that name.
    """
    found = find_builtin(name, job)
    if found is not None:
        return found
    known = ", ".join(builtin_names(job))
    other = next((of for of in COMMANDS if find_builtin(name, of)), None)
    if other is not None:
        raise ConfigError(
            f"{name} is a built-in configuration of another job: 'maggjob {COMMANDS[other]}' takes it; those of this "
            f"job are {known}"
        )
    beside = Path(f"{name}{END}")
    hint = f"; there is a file {beside}: give its whole name" if beside.is_file() else ""
    raise ConfigError(f"no configuration {name!r}: no such file{hint}; built-in configurations are {known}")


# A YAML alias may expand to a very large value.
BRIEF = reprlib.Repr()
BRIEF.maxlevel, BRIEF.maxlist, BRIEF.maxstring, BRIEF.maxother = 3, 8, 200, 200


Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], content: Mapping[Any, Any], name: str) -> Model:
    """Return a configuration from its content.

    Parameters
    ----------
    model : type
        Model of the configuration.
    content : mapping
    name : str
        Name of the configuration, for messages.

    Raises
    ------
    ConfigError
        If a key or a value is invalid.
    """
    try:
        return model.model_validate(content)
    except ValidationError as problem:
        # A misspelt key is unknown, and the right one missing: the former says more.
        found = sorted(problem.errors(), key=lambda error: error["type"] != "extra_forbidden")
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise ConfigError(f"{name}: {_describe(found[0], content, model)}{more}") from problem


def make_search(content: Mapping[str, Any]) -> Search:
    """Validate the search for granules in CMR.

    Raises
    ------
    ConfigError
        If a key or a value is invalid.
    """
    try:
        return Search.model_validate(dict(content))
    except ValidationError as problem:
        found = sorted(problem.errors(), key=lambda error: error["type"] != "extra_forbidden")
        raise ConfigError(f"search: {_describe(found[0], content, Search)}") from problem


def _describe(error: Any, content: Any, model: Any = Config) -> str:
    """Return one validation error as text: the path of the key, its value, and what is allowed."""
    keys = list(_existing(error["loc"], content)) if error["type"] != "missing" else error["loc"]
    where = ".".join(str(key) for key in keys)
    if error["type"] == "extra_forbidden":
        known = _known_keys(error["loc"][:-1], model)
        close = get_close_matches(str(keys[-1]), known, 1)
        meant = f"did you mean {close[0]!r}? " if close else ""
        return f"{where}: unknown key; {meant}known are {', '.join(known)}"
    if error["type"] == "missing":
        return f"{where}: missing"
    message = str(error["msg"]).removeprefix("Value error, ")
    value = error["input"]
    shown = "" if isinstance(value, dict) else f" is {BRIEF.repr(value)}"
    return f"{where}{shown}: {message[:1].lower() + message[1:]}" if where else message


def _existing(location: tuple[Any, ...], content: Any) -> Iterator[int | str]:
    """Yield the keys of a location without those that pydantic adds: types of a union, and "[key]"."""
    for key in location:
        if (isinstance(content, Mapping) and key in content) or (
            isinstance(content, list | tuple) and isinstance(key, int)
        ):
            content = content[key]
            yield key


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _known_keys(location: Sequence[int | str], annotation: Any) -> list[str]:
    """Return the keys of the model at a location (the first type of a union, the items of a mapping or tuple)."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _known_keys(location, parts[0])
    if origin in (Union, types.UnionType):
        models = [part for part in map(_bare, parts) if hasattr(part, "model_fields")]
        # The location names the kind of the item, too.
        return _known_keys(location[1:], models[0]) if models else _known_keys(location, parts[0])
    if not location:
        return list(annotation.model_fields)
    if origin in (dict, tuple):
        return _known_keys(location[1:], parts[1] if origin is dict else parts[0])
    return _known_keys(location[1:], annotation.model_fields[location[0]].annotation)
