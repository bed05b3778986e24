"""The configuration of the series job: means of gridded granules over time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from maggjob.config.load import read_content, validate
from maggjob.config.schema import digest_of
from maggjob.config.source import Driver, Identifier, Path_, Real, Strict, Whole
from maggjob.config.variable import Attribute, descriptive
from maggjob.model.means import MeanMask, MeanRecipe, MeanVariable

Name = Literal["mean", "min", "max", "share"]
"""Statistics of a variable: area-weighted mean, minimum, maximum, and the share of the area that has values."""
Degrees = Real | Whole


class GridSearch(Strict):
    """What to ask CMR for."""

    short_name: str = Field(pattern=r"^[\w.-]+$")
    """Short name of the product."""
    provider: str | None = Field(None, pattern=r"^\w+$")
    """Provider of the product, as CMR calls it."""
    version: str | None = Field(None, pattern=r"^[\w.-]+$")
    """Version of the product; by default any, of which a product of this name has usually one."""
    endpoint: str | None = None
    """URL of another CMR than NASA's."""


class GridCoordinates(Strict):
    """Datasets with the axes of the grid."""

    latitude: Path_ = "lat"
    """Latitudes, degrees, one per row."""
    longitude: Path_ = "lon"
    """Longitudes, degrees east, one per column."""
    time: Path_ = "time"
    """Times with CF units; a granule without is of the day that its name, or CMR, says."""


class Region(Strict):
    """The part of the grid that is averaged."""

    latitude: tuple[Degrees, Degrees] = (-90, 90)
    """Southern and northern latitude, both included, degrees."""
    longitude: tuple[Degrees, Degrees] | None = None
    """Western and eastern longitude, both included, degrees; west may be east of east. All by default."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        south, north = self.latitude
        if not -90 <= south <= north <= 90:
            raise ValueError(f"latitude is {[south, north]}; must ascend and lie from -90 to 90")
        if self.longitude is not None and not all(-360 <= one <= 360 for one in self.longitude):
            raise ValueError(f"longitude is {list(self.longitude)}; must lie from -360 to 360")
        return self


class Mask(Strict):
    """Which grid cells count, by a dataset of flags."""

    dataset: Path_
    """Path of the flags."""
    values: tuple[Whole, ...] | None = Field(None, min_length=1)
    """Values of the cells that count."""
    set: Whole = Field(0, ge=0)
    """Bits that must all be set."""
    clear: Whole = Field(0, ge=0)
    """Bits that must all be clear."""

    @model_validator(mode="after")
    def _selects(self) -> Self:
        if self.values is None and not self.set and not self.clear:
            raise ValueError("give 'values', 'set' or 'clear'")
        return self


class SeriesVariable(Strict):
    """A variable that is averaged."""

    dataset: Path_
    """Path of the variable."""
    add: Degrees = 0.0
    """Number added to values in physical units, such as -273.15 for degrees Celsius."""
    units: str | None = None
    """Units of the result; by default those of the granules."""
    statistics: tuple[Name, ...] = Field(("mean", "min", "max", "share"), min_length=1)
    """What is written of it."""
    attrs: dict[str, Attribute] = Field(default_factory=dict)
    """Attributes of its mean, minimum and maximum."""

    @field_validator("attrs")
    @classmethod
    def _attrs_describe(cls, attrs: dict[str, Any]) -> dict[str, Any]:
        return descriptive(attrs)


class SeriesConfig(Strict):
    """A whole configuration of the series job."""

    job: Literal["series"]
    """The job."""
    search: GridSearch | None = None
    """What to ask CMR for, unless files are given."""
    driver: Driver = "s3"
    """How granules are read; local files are read as files."""
    reader: Literal["auto", "h5coro", "h5py"] = "auto"
    """Library that reads HDF5."""
    interval: Literal["day", "month", "none"] = "day"
    """How often a granule is expected: intervals without one are missing. None: whatever is there."""
    coordinates: GridCoordinates = GridCoordinates()
    """Axes of the grid."""
    region: Region = Region()
    """Part of the grid that is averaged."""
    mask: Mask | None = None
    """Grid cells that count; all by default."""
    variables: dict[Identifier, SeriesVariable] = Field(min_length=1)
    """Variables by their name in the result."""
    store: str | None = None
    """Path or URL (s3://bucket/prefix) of the Zarr to write."""
    attrs: dict[str, Attribute] = Field(default_factory=dict)
    """Global attributes."""

    @property
    def recipe(self) -> MeanRecipe:
        """The configuration as workers need it."""
        mask = None if self.mask is None else MeanMask(**self.mask.model_dump())
        south, north = self.region.latitude
        sector = self.region.longitude
        return MeanRecipe(
            self.coordinates.latitude,
            self.coordinates.longitude,
            self.coordinates.time,
            (float(south), float(north)),
            None if sector is None else (float(sector[0]), float(sector[1])),
            tuple(MeanVariable(name, one.dataset, float(one.add)) for name, one in self.variables.items()),
            mask,
            self.reader,
        )

    @property
    def digest(self) -> str:
        """SHA-256 of all settings that decide about the result."""
        product = None if self.search is None else [self.search.short_name, self.search.version]
        own = self.model_dump(mode="json", exclude={"driver", "reader", "search", "store"})
        # Where it is searched decides nothing, but another product is another series.
        return digest_of([own, product])


def load_series_config(path: "str | Path | Mapping[str, Any] | SeriesConfig") -> SeriesConfig:
    """Read a configuration of the series job.

    Parameters
    ----------
    path : str, Path, mapping or SeriesConfig
        As for `maggjob.load_config`.

    Raises
    ------
    ConfigError
        If the file does not exist, is not YAML, or has an invalid key or value.

    Examples
    --------
    >>> load_series_config("mur25_sst.yaml").interval
    'day'
    """
    return path if isinstance(path, SeriesConfig) else validate(SeriesConfig, *read_content(path, "series"))
