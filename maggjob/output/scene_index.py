"""The index and the contact sheet of the scenes job."""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import shapely

COLUMNS = 10
"""Pictures in a row of a contact sheet."""
MOST = 120
"""Pictures of a contact sheet; of more results, the last days are shown."""


def index_parquet(items: Sequence[Mapping[str, Any]]) -> bytes:
    """Return an index of STAC items as GeoParquet.

    Parameters
    ----------
    items : sequence of mapping
        Items of results.
    """
    from arro3.core import Array, DataType, Field, Schema, Table
    from arro3.io import write_parquet

    own = [item["properties"] for item in items]
    columns: dict[str, tuple[Any, list[Any]]] = {
        "id": (DataType.string(), [item["id"] for item in items]),
        "region": (DataType.string(), [one["maggjob:region"] for one in own]),
        "day": (DataType.string(), [one["maggjob:day"] for one in own]),
        "state": (DataType.string(), [one["maggjob:state"] for one in own]),
        "path": (
            DataType.string(),
            [f"{one['maggjob:region']}/{item['id']}.tif" for one, item in zip(own, items, strict=True)],
        ),
        "cloud_cover": (DataType.float64(), [one.get("eo:cloud_cover") for one in own]),
        "snow_cover": (DataType.float64(), [one.get("eo:snow_cover") for one in own]),
        "valid_share": (DataType.float64(), [one["maggjob:valid_share"] for one in own]),
        "geometry": (DataType.binary(), [shapely.to_wkb(shapely.geometry.shape(item["geometry"])) for item in items]),
    }
    kinds = sorted({item["geometry"]["type"] for item in items})
    geo = {
        "version": "1.0.0",
        "primary_column": "geometry",
        "columns": {"geometry": {"encoding": "WKB", "geometry_types": kinds}},
    }
    schema = Schema([Field(name, kind) for name, (kind, _) in columns.items()], metadata={"geo": json.dumps(geo)})
    table = Table.from_arrays([Array(values, type=kind) for kind, values in columns.values()], schema=schema)
    buffer = io.BytesIO()
    write_parquet(table, buffer)
    return buffer.getvalue()


def contact_sheet(items: Sequence[Mapping[str, Any]], pictures: Sequence[bytes]) -> bytes:
    """Return a picture of all results as PNG, by region and day.

    Parameters
    ----------
    items : sequence of mapping
        Items of results.
    pictures : sequence of bytes
        Thumbnail of each, PNG.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.image import imread

    shown = sorted(zip(items, pictures, strict=True), key=lambda one: str(one[0]["properties"]["maggjob:day"]))[-MOST:]
    shown = sorted(shown, key=lambda one: str(one[0]["id"]))
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(1.6 * columns, 1.9 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, (item, content) in zip(axes, shown, strict=False):
        own = item["properties"]
        axis.imshow(imread(io.BytesIO(content)), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        cloud = f", {own['eo:cloud_cover']:.0f} % cloud" if "eo:cloud_cover" in own else ""
        note = "" if own["maggjob:state"] == "complete" else f"\n{own['maggjob:state']}"
        axis.set_title(f"{own['maggjob:region']}\n{own['maggjob:day']}{cloud}{note}", fontsize=6)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
    return buffer.getvalue()
