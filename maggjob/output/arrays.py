"""The arrays of a result: their types, fill values and attributes, and their creation without values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from maggjob.config.schema import Config
from maggjob.jobs.parts import load, tag_in
from maggjob.jobs.shards import FAILED
from maggjob.model.recipe import Recipe
from maggjob.model.reports import CellReport
from maggjob.model.tasks import CellTask
from maggjob.output.attributes import PARTIAL_ATTRIBUTES, cell_ids_attributes, plain_attributes, variable_attributes
from maggjob.storage.folder import Folder


def variables(
    config: Config, recipe: Recipe, source: Mapping[str, Mapping[str, str]]
) -> dict[str, tuple[str, float, Mapping[str, Any]]]:
    """Return type, fill value and attributes of each array by name, in the order in which they are written.

    Parameters
    ----------
    config : Config
    recipe : Recipe
        Recipe of the order of the group.
    source : mapping
        ``units`` and ``long_name`` of each column in the granules.
    """
    coordinates = config.aggregation.coordinates
    found: dict[str, tuple[str, float, Mapping[str, Any]]] = {
        "cell_ids": ("uint64", coordinates.cell_ids.fill_value, cell_ids_attributes(recipe.grid))
    }
    if coordinates.morton is not None:
        spelled = {"int64": "signed decimal id", "uint64": "packed word"}[coordinates.morton.dtype]
        attributes = {"long_name": f"mortie cell id ({spelled})"}
        found["morton"] = (coordinates.morton.dtype, coordinates.morton.fill_value, attributes)
    for statistic in recipe.statistics:
        own = variable_attributes(statistic, source) | plain_attributes(
            config.aggregation.outputs[statistic.name].attrs
        )
        found[statistic.name] = (statistic.dtype, statistic.fill_value, own)
    if config.output.partial:
        found["partial"] = ("int8", FAILED, PARTIAL_ATTRIBUTES)
    return found


def source_attributes(
    tasks: Sequence[CellTask], reports: Sequence[CellReport], region: str | None
) -> Mapping[str, Mapping[str, str]]:
    """Return the attributes of the granules' columns, from the first part that has any.

    Parameters
    ----------
    tasks : sequence of CellTask
    reports : sequence of CellReport
        One per task, in the same order.
    region : str or None
        Region of the bucket.
    """
    for task, report in zip(tasks, reports, strict=True):
        if report.part is not None and any(granule.state == "used" for granule in report.granules):
            part = load(task, Folder(str(task.parts), region), tag_in(report.part))
            attributes: Mapping[str, Any] = part.ledger["attributes"]
            if attributes:
                return attributes
    return {}


@dataclass(frozen=True)
class Shape:
    """Shape of the arrays of a group."""

    rows: int
    """Length of the dimension ``cells``."""
    chunk: int
    """Rows per chunk."""
    shard: int
    """Rows per shard."""
    time: str | None = None
    """Name of the dimension of time, ``cycle`` or ``month``; None without one."""
    windows: int = 0
    """Length of the dimension of time."""

    @property
    def of_ids(self) -> "Shape":
        """The same without the dimension of time, as for the ids of the cells."""
        return replace(self, time=None)


def create_array(folder: Folder, dtype: str, fill: float, attributes: Mapping[str, Any], shape: Shape) -> None:
    """Create one array, without values.

    Parameters
    ----------
    folder : Folder
        The array's own folder: in the group's store, zarr would write the group's metadata now.
    dtype : str
    fill : float
        Fill value.
    attributes : mapping
    shape : Shape
        A shard holds one window only.
    """
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec
    from zarr.storage import ObjectStore

    attempts = count()
    one: tuple[int, ...] = () if shape.time is None else (1,)
    every: tuple[int, ...] = () if shape.time is None else (shape.windows,)

    def create() -> None:
        zarr.create_array(
            ObjectStore(folder.store),
            shape=(*every, shape.rows),
            chunks=(*one, shape.chunk),
            shards=(*one, shape.shard),
            dtype=dtype,
            fill_value=fill,
            compressors=[ZstdCodec(level=3), Crc32cCodec()],
            dimension_names=["cells"] if shape.time is None else [shape.time, "cells"],
            attributes=dict(attributes),
            # The folder is new: what a second attempt finds there is of one whose answer was lost.
            overwrite=next(attempts) > 0,
        )

    folder.patiently(create)
