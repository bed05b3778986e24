"""Windows of time: the cycle or the month that a granule belongs to, as the name of the granule says."""

import re
from datetime import datetime
from typing import Literal

from maggjob.errors import CatalogError
from maggjob.icesat2.names import EPOCH, GranuleName

Windows = Literal["none", "cycle", "month"]
"""Kinds of windows: one for all granules, one per 91-day cycle, one per calendar month (UTC)."""


def window_number(granule: str, windows: Windows) -> int:
    """Return the number of the window that a granule begins in.

    Parameters
    ----------
    granule : str
        Id of the granule.
    windows : {"cycle", "month"}

    Returns
    -------
    int
        The cycle, or the months since January 2018.

    Raises
    ------
    CatalogError
        If its name is not that of an ICESat-2 granule.
    """
    name = GranuleName.parse(granule)
    if name is None:
        raise CatalogError(f"granule {granule}: its name gives no {windows}; remove output.time, or rename the file")
    return name.cycle if windows == "cycle" else month_number(f"{name.start[:4]}-{name.start[4:6]}")


def month_number(text: str) -> int:
    """Return the months from January 2018 to a month such as 2019-04.

    Raises
    ------
    ValueError
        If the text is no month from 2018 on.
    """
    found = re.fullmatch(r"(\d{4})-(\d\d)", text)
    if found is None or not 1 <= int(found[2]) <= 12 or int(found[1]) < EPOCH.year:
        raise ValueError(f"{text!r} is no month from {EPOCH.year} on; write it as 2019-04")
    return (int(found[1]) - EPOCH.year) * 12 + int(found[2]) - 1


def window_text(number: int, windows: Windows) -> str:
    """Return the label of a window, such as ``cycle22`` or ``month2019-04``.

    Parameters
    ----------
    number : int
        As of `window_number`.
    windows : {"cycle", "month"}
    """
    if windows == "cycle":
        return f"cycle{number:02d}"
    return f"month{EPOCH.year + number // 12}-{number % 12 + 1:02d}"


def window_in(label: str) -> int:
    """Return the number in the label of a window."""
    return int(label.removeprefix("cycle")) if label.startswith("cycle") else month_number(label.removeprefix("month"))


def month_start(number: int) -> float:
    """Return the start of a month, in days since 2018-01-01, from its number."""
    return float((datetime(EPOCH.year + number // 12, number % 12 + 1, 1, tzinfo=EPOCH.tzinfo) - EPOCH).days)
