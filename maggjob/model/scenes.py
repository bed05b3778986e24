"""Scenes, regions, templates, tasks and reports of the scenes job."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SceneAsset:
    """One band of a scene."""

    url: str
    """URL or path of the GeoTIFF."""
    scale: float = 1.0
    """Physical value of a step."""
    offset: float = 0.0
    """Physical value of zero."""


@dataclass(frozen=True)
class Scene:
    """A scene, one tile at one time."""

    id: str
    """Its id."""
    time: str
    """Time of the scene, UTC, ISO 8601."""
    cloud: float
    """Cloud cover, per cent; 100 if it is not known."""
    bands: Mapping[str, SceneAsset]
    """Assets by the name of the band in the result."""
    classes: SceneAsset | None = None
    """Scene classification."""
    bbox: tuple[float, float, float, float] = (-180.0, -90.0, 180.0, 90.0)
    """West, south, east, north in degrees."""


@dataclass(frozen=True)
class Template:
    """A grid of pixels, the same for all days of a region, or a window of it."""

    crs: str
    """Coordinate reference system, such as EPSG:32622."""
    left: float
    """Western border, units of the grid."""
    top: float
    """Northern border."""
    resolution: float
    """Size of a pixel."""
    width: int
    """Number of columns."""
    height: int
    """Number of rows."""

    @property
    def transform(self) -> tuple[float, float, float, float, float, float]:
        """Affine transform from column and row to the grid."""
        return (self.resolution, 0.0, self.left, 0.0, -self.resolution, self.top)

    def window(self, row: int, column: int, height: int, width: int) -> "Template":
        """Return a window of the grid.

        Parameters
        ----------
        row, column : int
            First row and column.
        height, width : int
            Size.
        """
        left, top = self.left + column * self.resolution, self.top - row * self.resolution
        return Template(self.crs, left, top, self.resolution, width, height)


@dataclass(frozen=True)
class SceneRecipe:
    """What is computed of scenes: the configuration as workers need it."""

    bands: tuple[str, ...]
    """Names of the bands."""
    mask_clouds: bool
    """Whether pixels of clouds become nodata."""
    resampling: str
    """How scenes of another grid are reprojected."""
    scale: float
    """Physical value of a step of the result."""
    offset: float
    """Physical value of zero in the result."""
    digest: str
    """Digest of the configuration."""


@dataclass(frozen=True)
class SceneTarget:
    """A window of a region on one day."""

    region: str
    """Name of the region."""
    day: str
    """The day, ISO 8601."""
    whole: Template
    """Grid of the region."""
    row: int
    """First row of the window in the grid of the region."""
    column: int
    """First column."""
    template: Template
    """Grid of the window."""
    shape: Mapping[str, Any]
    """Polygon of the region as GeoJSON, in the grid's coordinates."""
    outline: Mapping[str, Any]
    """Polygon of the region as GeoJSON, in degrees."""
    scenes: tuple[int, ...]
    """Positions of its scenes in the task, in the order in which they are taken."""

    @property
    def name(self) -> str:
        """Name of the result."""
        return f"{self.region}_{self.day}"

    @property
    def part(self) -> str:
        """Name of the part of the window."""
        return f"{self.name}_{self.row}_{self.column}"


@dataclass(frozen=True)
class SceneTask:
    """Windows of a day that share scenes: each scene is opened once."""

    id: str
    """Id of the task."""
    scenes: tuple[Scene, ...]
    """Scenes."""
    targets: tuple[SceneTarget, ...]
    """Windows to make of them."""
    recipe: SceneRecipe
    """What to compute."""
    store: str
    """Folder or prefix of the results."""
    parts: str
    """Folder or prefix of parts, for regions of several windows."""
    region: str | None = None
    """Region of the buckets."""


@dataclass(frozen=True)
class AssemblyTask:
    """Windows of one region and day, which are joined."""

    id: str
    """Name of the result."""
    targets: tuple[SceneTarget, ...]
    """The windows."""
    scenes: tuple[Scene, ...]
    """Scenes of the day."""
    reports: tuple["TargetReport", ...]
    """Outcomes of the windows."""
    recipe: SceneRecipe
    """What was computed."""
    store: str
    """Folder or prefix of the results."""
    parts: str
    """Folder or prefix of parts."""
    region: str | None = None
    """Region of the buckets."""


@dataclass(frozen=True)
class SceneOutcome:
    """Outcome of one scene in a window."""

    id: str
    """Id of the scene."""
    state: str
    """``used``, ``unneeded`` (others had all pixels, or it had none there) or ``failed``."""
    pixels: int = 0
    """Pixels that were taken from it."""
    reprojected: bool = False
    """Whether it was reprojected."""
    reason: str | None = None
    """The error's ``reason``, if it failed."""
    message: str | None = None
    """The error's message."""


@dataclass(frozen=True)
class TargetReport:
    """Outcome of a window of a region on one day."""

    name: str
    """Name of the result."""
    region: str
    """Name of the region."""
    day: str
    """The day."""
    state: str
    """``complete``, ``partial`` (a scene failed) or ``failed``."""
    scenes: tuple[SceneOutcome, ...] = ()
    """Outcome of each scene."""
    pixels: Mapping[str, int] = field(default_factory=dict)
    """Number of pixels by state: ``valid``, ``nodata``, ``masked`` (clouds) and ``outside`` the polygon."""
    classes: Mapping[str, int] = field(default_factory=dict)
    """Number of pixels of the polygon with a class, of clouds and their shadows, and of snow."""
    reason: str | None = None
    """The error's ``reason``, if it failed."""
    message: str | None = None
    """The error's message."""

    @classmethod
    def of_item(cls, item: Mapping[str, Any]) -> "TargetReport":
        """Return the outcome of a result that was made before, from its STAC item.

        Parameters
        ----------
        item : mapping
        """
        own = item["properties"]
        outcomes = tuple(SceneOutcome(name, *values) for name, values in own["maggjob:scenes"].items())
        where = item["id"], own["maggjob:region"], own["maggjob:day"]
        return cls(*where, own["maggjob:state"], outcomes, own["maggjob:pixels"])


@dataclass(frozen=True)
class SceneReport:
    """Outcome of a task."""

    id: str
    """Id of the task."""
    targets: tuple[TargetReport, ...]
    """Outcome of each of its windows."""
    seconds: float = 0.0
    """Seconds that the worker took."""
    bytes_read: int = 0
    """Bytes read of scenes."""
    requests: int = 0
    """Number of requests for them."""
    peak_memory: int = 0
    """Peak memory of the worker's process so far, in bytes."""
