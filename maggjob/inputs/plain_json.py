"""JSON as others write it: whatever cannot be used is a ValueError, so that one clause catches all of it."""

import json
import math
import os
from datetime import date
from typing import Any, NoReturn

from maggjob.errors import InputError


def load_json(content: str | bytes, *, finite: bool = True) -> Any:
    """Return the content of a JSON document.

    Parameters
    ----------
    content : str or bytes
        Bytes are UTF-8, with or without a byte order mark.
    finite : bool
        Whether numbers must be finite. Files of maggjob's own hold fill values, which may be infinite or NaN.

    Raises
    ------
    ValueError
        If it is not JSON, is nested too deeply, or has a number that is not finite or too long.

    Examples
    --------
    >>> load_json(b'{"size": 12}')
    {'size': 12}
    >>> load_json("[1e999]")
    Traceback (most recent call last):
    ValueError: the number 1e999 is too large
    """
    text = content.decode("utf-8-sig") if isinstance(content, bytes) else content.removeprefix("\ufeff")
    try:
        return json.loads(text, parse_float=_float, parse_constant=_constant) if finite else json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _float(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"the number {text} is too large")
    return number


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number of JSON")


def as_plain(value: Any) -> Any:
    """Return a value of a summary as JSON holds it.

    Raises
    ------
    InputError
        If it cannot.
    """
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise InputError(
        f"the summary holds {value!r:.80}, a {type(value).__name__}, which JSON cannot hold; give numbers, text, "
        "lists or mappings"
    )
