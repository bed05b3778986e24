"""The table of basins as text, and as a CSV file."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maggjob.errors import InputError
from maggjob.inputs.places import PlaceLike, local_place, may_replace

if TYPE_CHECKING:
    import pandas as pd

CSV_START = b"name,area_km2,covered_km2,"
"""How the CSV of a table begins."""


def basin_lines(table: "pd.DataFrame") -> list[str]:
    """Return a table of `basins` as aligned lines: one per polygon with cells, and one that names the others.

    Parameters
    ----------
    table : pandas.DataFrame
    """
    rows = table.to_dict("records")
    rate_units, volume_units = (str(rows[0][name]) for name in ("rate_units", "volume_units"))
    filled = any(row["filled_km2"] > 0 for row in rows)
    header = ["name", "area (km2)", "covered (km2)", "share", "cells", f"rate ({rate_units})", "error"]
    header += ["filled (km2)"] * filled + [f"volume ({volume_units})", "error"]
    lines = [header] + [_texts(row, filled) for row in rows if row["cells"]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(
            [line[0].ljust(widths[0]), *(one.rjust(wide) for one, wide in zip(line[1:], widths[1:], strict=True))]
        )
        for line in lines
    ]
    empty = [str(row["name"]) for row in rows if not row["cells"]]
    text += [f"no cells in {', '.join(empty)}"] if empty else []
    without = sum(int(row["without_error"]) for row in rows)
    text += [f"{without:,} cells with a rate but no error are not counted"] if without else []
    common = f", and {rows[0]['systematic']:g} {rate_units} in common" if rows[0]["systematic"] else ""
    return [*text, f"errors are correlated over {rows[0]['correlation_km']:g} km{common}"]


def _texts(row: dict[Any, Any], filled: bool) -> list[str]:
    """Return the fields of a row: values have two significant digits of their errors."""
    return [
        str(row["name"]),
        f"{row['area_km2']:,.0f}",
        f"{row['covered_km2']:,.0f}",
        f"{row['share']:.1%}",
        f"{row['cells']:,}",
        *_rounded(row["rate"], row["rate_error"]),
        *([f"{row['filled_km2']:,.0f}"] if filled else []),
        *_rounded(row["volume"], row["volume_error"]),
    ]


def _rounded(value: float, error: float) -> tuple[str, str]:
    digits = max(0, 1 - math.floor(math.log10(error))) if error > 0 else 3
    return f"{value:,.{digits}f}", f"{error:,.{digits}f}"


def csv_place(given: PlaceLike) -> Path:
    """Return the path of a CSV file to write.

    Raises
    ------
    ExistsError
        If a file exists there that is not a table of basins.
    InputError
        If it is not a path on this machine.
    """
    path = local_place(given, "table")
    may_replace(path, (CSV_START,), "table of basins")
    return path


def write_basins(table: "pd.DataFrame", path: Path) -> None:
    """Write a table of `basins` as CSV.

    Parameters
    ----------
    table : pandas.DataFrame
    path : Path
        See `csv_place`.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    try:
        table.to_csv(path, index=False, lineterminator="\n")
    except OSError as problem:
        raise InputError(f"cannot write the table to {path}: {problem}; give another file") from problem
