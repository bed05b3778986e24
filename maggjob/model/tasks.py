"""Tasks for workers.

Tasks are pickled and kept small: a task contains its granules, or the place where they are listed, and never
credentials.
"""

from dataclasses import dataclass

from maggjob.model.recipe import Recipe

GRANULES_A_PACK = 16
"""Indexes per pack, at most: keys stay shorter than the names that any file system takes."""


@dataclass(frozen=True, slots=True)
class Granule:
    """A granule as a worker sees it."""

    id: str
    """Name of the granule: unique in a run, and the same wherever it is read from."""
    url: str
    """Path, or URL with the scheme file, s3 or https."""
    size: int | None = None
    """Size in bytes, if it is known exactly."""
    etag: str | None = None
    """Version of the object when the run began (its ETag, or what stands for it); None if it is not known."""
    index: str | None = None
    """Key, in the folder of indexes, of the object that holds its index; None if it has none, or it is not known."""


@dataclass(frozen=True)
class GranuleList:
    """The place of a task's list of granules (`maggjob.granules.lists`) within a larger object."""

    url: str
    """Path or URL of the object."""
    start: int
    """First byte of the list."""
    size: int
    """Number of bytes."""
    digest: str = ""
    """First digits of the SHA-256 of these bytes; empty if they are not to be checked."""


@dataclass(frozen=True)
class CellTask:
    """Everything that `maggjob.map_cell` needs for one cell."""

    id: str
    """Window and cell, such as ``cycle22/-6134114``; unique in a run."""
    cell: str
    """Signed decimal id of the cell."""
    window: str
    """Label of the time window: the cycle."""
    recipe: Recipe
    """What to read and compute."""
    granules: tuple[Granule, ...] | GranuleList
    """Granules to read, or the place where they are listed."""
    run: str = ""
    """Digest of configuration and catalog, so that parts of different runs are never mixed."""
    parts: str | None = None
    """Folder or prefix to write the part to. If None, the report contains the arrays."""
    credentials: str | None = None
    """Path or URL of the archive's credentials. If None, the worker's environment is used."""
    region: str | None = None
    """Region of the buckets that are read and written. If None, the environment's."""
    indexes: str | None = None
    """Folder or prefix of the granules' indexes; None to read granules without. A list of granules says where in it the
    indexes are; if the task contains its granules, they are looked for. A granule without an index is read without."""

    @property
    def part(self) -> str | None:
        """Path or URL of the part of a cell that is read whole; otherwise its name contains a tag (`jobs.parts`)."""
        return None if self.parts is None else f"{self.parts}/{self.id}.npz"


@dataclass(frozen=True)
class CellBatch:
    """Several cells for one call of `maggjob.jobs.cells.map_cells`."""

    tasks: tuple[CellTask, ...]
    """Tasks, which are processed one after the other."""


@dataclass(frozen=True)
class IndexTask:
    """Everything that `maggjob.jobs.granule_index.index_granules` needs for some granules."""

    id: str
    """Id of the task, unique in a run."""
    recipe: Recipe
    """Recipe that the indexes will serve."""
    granules: tuple[Granule, ...] | GranuleList
    """Granules to index, or the place where they are listed. Existing indexes are found as for a `CellTask`."""
    indexes: str
    """Folder or prefix to write the indexes to."""
    credentials: str | None = None
    """As in `CellTask`."""
    region: str | None = None
    """As in `CellTask`."""
