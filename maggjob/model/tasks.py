"""What a worker is asked to do.

A task goes by pickle and is kept small: it names its granules, or says where they are listed, and never holds a
credential.
"""

from dataclasses import dataclass

from maggjob.model.recipe import Recipe


@dataclass(frozen=True)
class Granule:
    """A granule as a worker sees it."""

    id: str
    """Its name: unique in a run, the same wherever it is read from."""
    url: str
    """A path, or a URL with the scheme file, s3 or https."""
    size: int | None = None
    """Size in bytes, if it is known exactly."""


@dataclass(frozen=True)
class GranuleList:
    """Where a task's granules are written down: lines of JSON in a larger object."""

    url: str
    """The object."""
    start: int
    """First byte."""
    size: int
    """Number of bytes."""


@dataclass(frozen=True)
class CellTask:
    """Everything that `maggjob.map_cell` needs for one cell."""

    id: str
    """Window and cell, such as ``cycle22/-6134114``: unique in a run."""
    cell: str
    """Signed decimal id."""
    window: str
    """Label of the time window: the cycle."""
    recipe: Recipe
    """What to compute."""
    granules: tuple[Granule, ...] | GranuleList
    """What to read, or where that is written down."""
    run: str = ""
    """Digest of configuration and catalog: parts of another run are not mixed with these."""
    parts: str | None = None
    """Folder or prefix to write the part to; without one the report carries the arrays."""
    credentials: str | None = None
    """Where the credentials of the archive are; without them the worker's own environment."""
    region: str | None = None
    """Region of the buckets that it reads and writes; without one that of the environment."""
    indexes: str | None = None
    """Folder or prefix that holds indexes of granules; one that it does not hold is read without."""

    @property
    def part(self) -> str | None:
        """Path or URL of the part, if the cell can be read whole: else `maggjob.jobs.parts.tag_of` is in its name."""
        return None if self.parts is None else f"{self.parts}/{self.id}.npz"


@dataclass(frozen=True)
class CellBatch:
    """Several cells for one call of `maggjob.jobs.cells.map_cells`."""

    tasks: tuple[CellTask, ...]
    """They are worked on one after the other."""


@dataclass(frozen=True)
class IndexTask:
    """Everything that `maggjob.jobs.granule_index.index_granules` needs for some granules."""

    id: str
    """Unique in a run."""
    recipe: Recipe
    """For what the indexes are to be used."""
    granules: tuple[Granule, ...] | GranuleList
    """What to index, or where that is written down."""
    indexes: str
    """Folder or prefix to write the indexes to."""
    credentials: str | None = None
    """As in `CellTask`."""
    region: str | None = None
    """As in `CellTask`."""
