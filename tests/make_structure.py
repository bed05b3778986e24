"""Write maggjob/data/atl06_v006.json: what a native granule is made of, without its values.

    python -m tests.make_structure GRANULE

The simulator builds its granules from this file. It holds names, types, chunking and the short attributes of one beam
and of the groups beside the beams.
"""

import json
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np

OUT = Path(__file__).resolve().parents[1] / "maggjob" / "simulator" / "atl06_v006.json"
BEAM = "gt1l"
LONG = 200  # characters: longer attributes are prose
SKIP = {"DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME", "description"}
SKIP |= {"contributor_name", "contributor_role", "publisher_email", "identifier_file_uuid", "history", "date_created"}


def plain(value: Any) -> Any:
    """JSON's form of an attribute; None for references and prose."""
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, str):
        return value if len(value) <= LONG else None
    array = np.asarray(value)
    if array.dtype.kind not in "iuf" or array.size > 16:
        return None
    return array.ravel().tolist()


def attributes(item: h5py.HLObject) -> dict[str, Any]:
    """Short attributes of an object."""
    found = {name: plain(value) for name, value in item.attrs.items() if name not in SKIP}
    return {name: value for name, value in found.items() if value is not None}


def describe(dataset: h5py.Dataset) -> dict[str, Any]:
    """Type, layout and attributes of a dataset, and the values of short constant ones."""
    chunked = dataset.chunks is not None and dataset.compression == "gzip"
    entry: dict[str, Any] = {"dtype": dataset.dtype.str.lstrip("|"), "attrs": attributes(dataset)}
    if chunked:
        entry |= {"chunks": list(dataset.chunks), "shuffle": dataset.shuffle, "tail": list(dataset.shape[1:])}
        stored = sum(dataset.id.get_chunk_info(i).size for i in range(dataset.id.get_num_chunks()))
        entry["ratio"] = round(dataset.nbytes / stored, 2)
    else:
        entry["shape"] = list(dataset.shape)
        if dataset.dtype.kind in "iuf" and dataset.size <= 16:
            entry["value"] = dataset[...].ravel().tolist()
    return entry


def structure(path: Path) -> dict[str, Any]:
    """The structure of a granule."""
    with h5py.File(path) as file:
        groups: dict[str, Any] = {}
        datasets: dict[str, Any] = {}

        def visit(name: str, item: h5py.HLObject) -> None:
            if name.startswith("gt") and not name.startswith(BEAM):
                return
            if name.startswith("quality_assessment/gt") and not name.startswith(f"quality_assessment/{BEAM}"):
                return
            key = name.replace(BEAM, "{beam}")
            if isinstance(item, h5py.Group):
                groups[key] = {} if name.startswith("METADATA") else attributes(item)
            elif not name.startswith("METADATA"):
                datasets[key] = describe(item)

        file.visititems(visit)
        return {"root": attributes(file), "groups": groups, "datasets": datasets}


if __name__ == "__main__":
    OUT.write_text(json.dumps(structure(Path(sys.argv[1])), separators=(",", ":"), sort_keys=True) + "\n")
