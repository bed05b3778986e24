"""The ledger as a table: one row per granule and planned cell, which says why a cell of the map is grey.

The run writes it beside its result, as Parquet and as CSV. docs/output.md describes every column.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from maggjob.errors import InputError
from maggjob.inputs.places import store_place
from maggjob.inputs.plain_json import load_json
from maggjob.jobs.parts import digest_of_bytes
from maggjob.model.reports import KEPT, CellReport
from maggjob.output.manifest import StoredObject, read_manifest
from maggjob.storage.folder import Folder, exists
from maggjob.storage.run_folder import LEDGER_CSV, LEDGER_PARQUET, NEXT_LEDGER, SUMMARY, run_folder

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


@dataclass(frozen=True)
class LedgerFiles:
    """A ledger as it is written."""

    parquet: bytes
    """The ledger as Parquet."""

    @property
    def stored(self) -> StoredObject:
        """What the manifest records of it."""
        return StoredObject(len(self.parquet), digest_of_bytes(self.parquet))

    def put_next(self, folder: Folder) -> None:
        """Write it beside the ledger that the manifest describes, until there is a new manifest."""
        folder.put(NEXT_LEDGER, self.parquet)

    def put(self, folder: Folder) -> None:
        """Write it to the folder of its run, as Parquet and as CSV."""
        folder.put(LEDGER_PARQUET, self.parquet)
        folder.put_pieces(LEDGER_CSV, self._csv)
        folder.delete([NEXT_LEDGER])

    def _csv(self) -> Iterator[bytes]:
        """Yield the ledger as CSV, in pieces: as a whole it is as large as all reports."""
        from arro3.io import read_parquet

        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        reader = read_parquet(io.BytesIO(self.parquet))
        names = list(reader.schema.names)
        writer.writerow(names)
        for batch in reader:
            writer.writerows(zip(*(batch[name].to_pylist() for name in names), strict=True))
            yield text.getvalue().encode()
            text.seek(0)
            text.truncate()
        yield text.getvalue().encode()


def put_table(columns: dict[str, list[Any]], folder: Folder) -> StoredObject:
    """Write a ledger to the folder of its run, as Parquet and as CSV; return what the manifest records of it.

    Parameters
    ----------
    columns : dict
        Values by column, which are removed one by one; those of `TEXT` are text, all others integers.
    folder : Folder
        Folder of the run.
    """
    table = table_of(columns)
    table.put(folder)
    return table.stored


def table_of(columns: dict[str, list[Any]]) -> LedgerFiles:
    """Return a ledger as it is written.

    Parameters
    ----------
    columns : dict
        Values by column, which are removed one by one to save memory; those of `TEXT` are text, all others integers.
    """
    from arro3.core import Array, DataType, Table
    from arro3.io import write_parquet

    kinds = {name: DataType.string() if name in TEXT else DataType.int64() for name in columns}
    parquet = io.BytesIO()
    write_parquet(Table.from_pydict({n: Array(columns.pop(n), type=kind) for n, kind in kinds.items()}), parquet)
    return LedgerFiles(parquet.getvalue())


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

    table = read_parquet(io.BytesIO(_ledger_bytes(store, region))).read_all()
    return pd.DataFrame({name: table[name].to_pylist() for name in table.column_names})


def cell_states(store: str, region: str | None = None) -> dict[str, dict[str, str]]:
    """Return the state of each planned cell, from the ledger: by the label of its window, then by its id.

    Parameters
    ----------
    store : str
        Path or s3:// URL of the Zarr.
    region : str, optional
        Region of the bucket.

    Raises
    ------
    InputError
        If the run left no ledger, or it is damaged.
    """
    from arro3.io import read_parquet

    found: dict[str, dict[str, str]] = {}
    for batch in read_parquet(io.BytesIO(_ledger_bytes(store, region))):
        columns = (batch[name].to_pylist() for name in ("window", "cell", "cell_state"))
        for window, cell, state in zip(*columns, strict=True):
            found.setdefault(window, {})[cell] = state
    return found


def _ledger_bytes(store: str, region: str | None) -> bytes:
    """Return the Parquet file of the ledger, after a check of its digest."""
    store = store_place(store)
    folder = run_folder(store)
    content = Folder(folder, region).find(LEDGER_PARQUET) if exists(folder, region) else None
    expected = None if content is None else _expected_digest(store, region)
    if content is not None and digest_of_bytes(content) != expected:
        # A client that ended between the manifest and the ledger has left the ledger beside it.
        content = Folder(folder, region).find(NEXT_LEDGER) or content
    name = f"{folder}/{LEDGER_PARQUET}"
    if content is None:
        raise InputError(f"no ledger at {name}: give the path of a Zarr that this version of 'maggjob run' wrote")
    # arro3 panics on damaged bytes.
    if digest_of_bytes(content) != expected:
        raise InputError(f"{name} is damaged ({len(content)} bytes, not those of the manifest); run again")
    return content
