"""The configuration of the scenes job: satellite scenes of regions, by day."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from maggjob.config.load import read_content, validate
from maggjob.config.schema import digest_of
from maggjob.config.source import Identifier, Real, Strict, Whole

Number = Real | Whole


class SceneSearch(Strict):
    """What to ask a STAC API for."""

    url: str = Field(pattern=r"^https?://\S+$")
    """URL of the API."""
    collection: str = Field(pattern=r"^[\w.-]+$")
    """Collection."""
    max_cloud: Number = Field(100, ge=0, le=100)
    """Largest cloud cover of a scene, per cent."""


class ScenesConfig(Strict):
    """A whole configuration of the scenes job."""

    job: Literal["scenes"]
    """The job."""
    search: SceneSearch | None = None
    """What to ask for, unless items are given."""
    sources: tuple[Annotated[str, Field(pattern=r"^s3://[A-Za-z0-9][A-Za-z0-9.-]*/?$")], ...] = ()
    """Buckets that scenes may be read from, such as ``s3://my-bucket``; https needs none."""
    bands: dict[Identifier, str] = Field(min_length=1)
    """Name of each band in the result, and the asset that holds it: its key, or the name of its band."""
    classes: str | None = None
    """Asset with the scene classification (SCL), for cloud and snow; none by default."""
    mask_clouds: bool = False
    """Whether pixels of clouds and their shadows become nodata."""
    order: Literal["cloud", "id", "time"] = "cloud"
    """Where scenes overlap, the first that has a value: by cloud cover, name or time, ascending."""
    crs: Literal["utm"] | Annotated[str, Field(pattern=r"^EPSG:\d{4,6}$")] = "utm"
    """Grid of the result: the UTM zone of each region's centroid, or one code for all."""
    resolution: Number = Field(10, gt=0, le=10_000)
    """Size of a pixel, in units of the grid."""
    resampling: Literal["nearest", "bilinear", "cubic"] = "nearest"
    """How scenes of another grid are reprojected. Scenes on the grid are copied."""
    scale: Number = Field(0.0001, gt=0)
    """Physical value of a step of the result."""
    offset: Number = 0.0
    """Physical value of zero in the result."""
    store: str | None = None
    """Folder or prefix (s3://bucket/prefix) of the results."""

    @model_validator(mode="after")
    def _can_mask(self) -> Self:
        if self.mask_clouds and self.classes is None:
            raise ValueError("mask_clouds needs 'classes', the asset with the scene classification")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of all settings that decide about the pixels."""
        return digest_of(self.model_dump(mode="json", exclude={"search", "sources", "store"}))


def load_scenes_config(path: "str | Path | Mapping[str, Any] | ScenesConfig") -> ScenesConfig:
    """Read a configuration of the scenes job.

    Parameters
    ----------
    path : str, Path, mapping or ScenesConfig
        As for `maggjob.load_config`.

    Raises
    ------
    ConfigError
        If the file does not exist, is not YAML, or has an invalid key or value.

    Examples
    --------
    >>> load_scenes_config("sentinel2.yaml").bands
    {'B08': 'nir'}
    """
    return path if isinstance(path, ScenesConfig) else validate(ScenesConfig, *read_content(path, "scenes"))
