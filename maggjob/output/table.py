"""The ledger as a table: one row per granule and planned cell, which says why a cell of the map is grey.

The run writes it beside its result, as Parquet and as CSV. docs/output.md describes every column.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from maggjob.errors import InputError
from maggjob.inputs.places import store_place
from maggjob.inputs.plain_json import load_json
from maggjob.jobs.parts import digest_of_bytes
from maggjob.model.reports import KEPT, CellReport
from maggjob.output.manifest import StoredObject, read_manifest
from maggjob.storage.folder import Folder, exists
from maggjob.storage.run_folder import LEDGER_CSV, LEDGER_PARQUET, SUMMARY, run_folder

if TYPE_CHECKING:
    import pandas as pd

TEXT = ("window", "cell", "granule", "state", "reason", "message", "cell_state", "cell_reason", "beams")
"""Columns that hold text; all others hold whole numbers."""


def ledger_columns(reports: Sequence[CellReport]) -> dict[str, list[Any]]:
    """Return the ledger as columns, with one value per granule and cell.

    Parameters
    ----------
    reports : sequence of CellReport
        Reports with all granules of their cells. A cell without granules has one row, without a granule.
    """
    states = dict.fromkeys([KEPT, *(state for report in reports for state in report.segments)])
    names = ["window", "cell", "granule", "state", "reason", "message", "cell_state", "cell_reason", "attempts"]
    names += ["beams", "rows", "invalid_coordinate", "in_cell", *(f"segments_{state}" for state in states)]
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for report in reports:
        own = _columns_of(report, list(states))
        for name, column in columns.items():
            column.extend(own.get(name, [None if name in TEXT else 0]))
    return columns


def _columns_of(report: CellReport, states: Sequence[str]) -> dict[str, list[Any]]:
    """Return the columns of one cell, with one value per granule, or one if it has no granule."""
    granules, several = report.granules, max(1, len(report.granules))
    cell: dict[str, list[Any]] = {
        "window": [report.window] * several,
        "cell": [report.cell] * several,
        "cell_state": [report.state] * several,
        "cell_reason": [report.reason] * several,
        "attempts": [report.attempts] * several,
    }
    if not granules:
        return cell | {"state": [report.state], "reason": [report.reason], "message": [report.message]}
    return cell | {
        "granule": [g.id for g in granules],
        "state": [g.state for g in granules],
        "reason": [g.reason for g in granules],
        "message": [g.message or (report.message if g.state == "failed" else None) for g in granules],
        "beams": [_read_beams(tuple(g.beams.items())) for g in granules],
        "rows": [g.rows for g in granules],
        "invalid_coordinate": [g.invalid_coordinate for g in granules],
        "in_cell": [g.in_cell for g in granules],
        **{f"segments_{state}": [g.segments.get(state, 0) for g in granules] for state in states},
    }


# Few texts differ, and there are millions of rows.
@lru_cache(maxsize=1024)
def _read_beams(beams: tuple[tuple[str, str], ...]) -> str:
    return " ".join(beam for beam, found in beams if found == "read")


def write_ledger(reports: Sequence[CellReport], folder: Folder) -> StoredObject:
    """Write the ledger to the folder of its run, as Parquet and as CSV; return what the manifest records of it.

    Parameters
    ----------
    reports : sequence of CellReport
        Reports with all granules of their cells.
    folder : Folder
        Folder of the run.
    """
    return put_table(ledger_columns(reports), folder)


def put_table(columns: dict[str, list[Any]], folder: Folder) -> StoredObject:
    """Write a ledger to the folder of its run, as Parquet and as CSV; return what the manifest records of it.

    Parameters
    ----------
    columns : dict
        Values by column; those of `TEXT` are text, all others integers. It is emptied, as the columns of millions of
        rows take as much memory as the table.
    folder : Folder
        Folder of the run.
    """
    from arro3.core import Array, DataType, Table
    from arro3.io import write_parquet

    folder.put(LEDGER_CSV, _csv(columns))
    kinds = {name: DataType.string() if name in TEXT else DataType.int64() for name in columns}
    parquet = io.BytesIO()
    write_parquet(Table.from_pydict({n: Array(columns.pop(n), type=kind) for n, kind in kinds.items()}), parquet)
    content = parquet.getvalue()
    folder.put(LEDGER_PARQUET, content)
    return StoredObject(len(content), digest_of_bytes(content))


def _csv(columns: Mapping[str, Sequence[Any]]) -> bytes:
    content = io.BytesIO()
    with io.TextIOWrapper(content, encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        lines.flush()
        return content.getvalue()


def _expected_digest(store: str, region: str | None) -> str:
    """Return the digest of a ledger, from the manifest of a map or from the summary of another job."""
    content = Folder(run_folder(store), region).find(SUMMARY)
    try:
        plain = {} if content is None else load_json(content)
    except ValueError:
        plain = {}
    own = plain.get("ledger_digest") if isinstance(plain, dict) else None
    return read_manifest(store, region).ledger.digest if own is None else str(own)


def ledger(store: str, region: str | None = None) -> "pd.DataFrame":
    """Return the ledger of a result as a table: one row per granule and planned cell, or per granule of a series.

    Parameters
    ----------
    store : str
        Path or s3:// URL of the Zarr.
    region : str, optional
        Region of the bucket.

    Returns
    -------
    pandas.DataFrame
        docs/output.md describes the columns.

    Raises
    ------
    InputError
        If the run left no ledger, or it is damaged.

    Examples
    --------
    >>> import maggjob
    >>> paths = maggjob.simulate("granules", area=(-105, -76, -100, -75), every=100, most=3)
    >>> result = maggjob.run("atl06.yaml", catalog=maggjob.make_catalog("granules"), store="map.zarr", backend="serial")
    >>> table = ledger("map.zarr")
    >>> int(table.segments_kept.sum()) == result.tally.observations
    True
    """
    import pandas as pd
    from arro3.io import read_parquet

    store = store_place(store)
    folder = run_folder(store)
    content = Folder(folder, region).find(LEDGER_PARQUET) if exists(folder, region) else None
    name = f"{folder}/{LEDGER_PARQUET}"
    if content is None:
        raise InputError(f"no ledger at {name}: give the path of a Zarr that this version of 'maggjob run' wrote")
    # arro3 panics on damaged bytes.
    if digest_of_bytes(content) != _expected_digest(store, region):
        raise InputError(f"{name} is damaged ({len(content)} bytes, not those of the manifest); run again")
    table = read_parquet(io.BytesIO(content)).read_all()
    return pd.DataFrame({name: table[name].to_pylist() for name in table.column_names})
