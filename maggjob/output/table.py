"""The ledger as a table: one row per granule and planned cell, which says why a cell of the map is grey.

The run writes it beside its result, as Parquet and as CSV. docs/output.md describes every column.
"""

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from maggjob.errors import InputError
from maggjob.inputs.places import store_place
from maggjob.jobs.parts import digest_of_bytes
from maggjob.model.reports import KEPT, CellReport
from maggjob.output.manifest import StoredObject, read_manifest
from maggjob.storage.folder import Folder, exists
from maggjob.storage.run_folder import LEDGER_CSV, LEDGER_PARQUET, run_folder

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
    rows: list[dict[str, Any]] = []
    for report in reports:
        cell = {
            "window": report.window,
            "cell": report.cell,
            "cell_state": report.state,
            "cell_reason": report.reason,
            "attempts": report.attempts,
        }
        for granule in report.granules:
            counts = {f"segments_{state}": granule.segments.get(state, 0) for state in states}
            rows.append(
                cell
                | {
                    "granule": granule.id,
                    "state": granule.state,
                    "reason": granule.reason,
                    "message": granule.message or (report.message if granule.state == "failed" else None),
                    "rows": granule.rows,
                    "invalid_coordinate": granule.invalid_coordinate,
                    "in_cell": granule.in_cell,
                    "beams": " ".join(beam for beam, found in granule.beams.items() if found == "read"),
                }
                | counts
            )
        if not report.granules:
            rows.append(cell | {"state": report.state, "reason": report.reason, "message": report.message})
    names = ["window", "cell", "granule", "state", "reason", "message", "cell_state", "cell_reason", "attempts"]
    names += ["beams", "rows", "invalid_coordinate", "in_cell", *(f"segments_{state}" for state in states)]
    return {name: [row.get(name, None if name in TEXT else 0) for row in rows] for name in names}


def write_ledger(reports: Sequence[CellReport], folder: Folder) -> StoredObject:
    """Write the ledger to the folder of its run, as Parquet and as CSV; return what the manifest records of it.

    Parameters
    ----------
    reports : sequence of CellReport
        Reports with all granules of their cells.
    folder : Folder
        Folder of the run.
    """
    from arro3.core import Array, DataType, Table
    from arro3.io import write_parquet

    columns = ledger_columns(reports)
    types = {name: DataType.string() if name in TEXT else DataType.int64() for name in columns}
    table = Table.from_pydict({name: Array(values, type=types[name]) for name, values in columns.items()})
    parquet = io.BytesIO()
    write_parquet(table, parquet)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    folder.put(LEDGER_PARQUET, parquet.getvalue())
    folder.put(LEDGER_CSV, text.getvalue().encode())
    return StoredObject(len(parquet.getvalue()), digest_of_bytes(parquet.getvalue()))


def ledger(store: str, region: str | None = None) -> "pd.DataFrame":
    """Return the ledger of a result as a table: one row per granule and planned cell.

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
    if digest_of_bytes(content) != read_manifest(store, region).ledger.digest:
        raise InputError(f"{name} is damaged ({len(content)} bytes, not those of the manifest); run again")
    table = read_parquet(io.BytesIO(content)).read_all()
    return pd.DataFrame({name: table[name].to_pylist() for name in table.column_names})
