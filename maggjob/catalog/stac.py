"""Scenes from a STAC API, or from a file of STAC items."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from maggjob.config.scenes import ScenesConfig, SceneSearch
from maggjob.errors import CatalogError, InputError
from maggjob.inputs.places import local_place
from maggjob.inputs.plain_json import load_json
from maggjob.model.scenes import Scene, SceneAsset
from maggjob.storage.certificates import use_certificates
from maggjob.storage.urls import is_remote

PAGE = 100
"""Items per page of an API's answer."""
MOST_ITEMS = 50_000
"""Scenes that a search may list, so that an API whose pages do not end is left."""
BASELINE = 4.0
"""Processing baseline of Sentinel-2 from which reflectance has an offset."""
SCALE, OFFSET = 0.0001, -0.1
"""Scale of Sentinel-2's reflectance, and its offset from that baseline on, where an item tells none."""


@dataclass(frozen=True)
class SceneListing:
    """Scenes of some days."""

    scenes: tuple[Scene, ...]
    """Scenes, by time and id."""
    shapes: Mapping[str, Any] = field(default_factory=dict)
    """Outline of each scene as GeoJSON, by id."""
    lost: Mapping[str, str] = field(default_factory=dict)
    """Items that cannot be used, by id, and why."""


def search_scenes(config: ScenesConfig, shapes: Sequence[Mapping[str, Any]], start: date, end: date) -> SceneListing:
    """Ask a STAC API for the scenes that touch some polygons.

    Parameters
    ----------
    config : ScenesConfig
        With a search.
    shapes : sequence of mapping
        Polygons as GeoJSON, degrees; each is asked for apart.
    start, end : date
        First and last day, UTC.

    Raises
    ------
    CatalogError
        If the API cannot be reached, its answer is not one of STAC, or its pages do not end.
    """
    if config.search is None:
        raise InputError("neither items nor a search: give --items, or search: in the configuration")
    items: dict[str, Any] = {}
    for shape in shapes:
        for item in _pages(config.search, shape, start, end):
            items.setdefault(str(item.get("id")), item)
    return _listing(list(items.values()), config, start, end, "")


def _pages(search: SceneSearch, shape: Mapping[str, Any], start: date, end: date) -> Iterator[Any]:
    try:
        from pystac_client import Client
        from pystac_client.exceptions import APIError
    except ImportError as problem:
        raise InputError("pystac-client is needed to search for scenes: pip install 'maggjob[scenes]'") from problem
    use_certificates()
    seen: set[str] = set()
    try:
        client = Client.open(search.url)
        asked = client.search(
            collections=[search.collection],
            intersects=shape,
            datetime=f"{start}T00:00:00Z/{end}T23:59:59.999Z",
            limit=PAGE,
            method="POST",
        )
        for page in asked.pages_as_dicts():
            ids = {str(item["id"]) for item in page["features"]}
            if ids and ids <= seen:
                raise CatalogError(  # noqa: TRY301
                    f"{search.url}: its pages do not end: the next link leads back to {min(ids)}"
                )
            seen |= ids
            if len(seen) > MOST_ITEMS:
                raise CatalogError(  # noqa: TRY301
                    f"{search.url} lists more than {MOST_ITEMS:,} scenes; ask for fewer days, or a smaller region"
                )
            yield from page["features"]
    except CatalogError:
        raise
    # pystac-client raises errors of its own, of requests, and of whatever an answer lacks.
    except (APIError, OSError, KeyError, TypeError, ValueError, NotImplementedError) as problem:
        told = str(problem).splitlines()[0] if str(problem) else ""
        raise CatalogError(
            f"{search.url} cannot be searched ({type(problem).__name__}: {told[:300]}); check URL and collection"
        ) from problem


def scenes_in(path: str | Path, config: ScenesConfig, start: date, end: date) -> SceneListing:
    """Read scenes from a file of STAC items (a FeatureCollection); relative links begin at its folder.

    Parameters
    ----------
    path : str or Path
    config : ScenesConfig
    start, end : date
        First and last day, UTC.

    Raises
    ------
    CatalogError
        If it is not a file of items.
    """
    place = local_place(path, "items")
    try:
        content = load_json(place.read_bytes())
        items = content["features"]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise CatalogError(f"{path} is not a file of STAC items ({type(problem).__name__}: {problem})") from problem
    return _listing(items, config, start, end, f"{place.absolute().parent}/")


def _listing(items: Sequence[Any], config: ScenesConfig, start: date, end: date, base: str) -> SceneListing:
    scenes, shapes, lost = [], {}, {}
    most = 100 if config.search is None else config.search.max_cloud
    for number, item in enumerate(items):
        name = str(item.get("id", f"item {number}")) if isinstance(item, Mapping) else f"item {number}"
        try:
            scene = _scene(item, config, base)
        except (CatalogError, KeyError, TypeError, ValueError, AttributeError, IndexError) as problem:
            lost[name] = str(problem) if isinstance(problem, CatalogError) else f"{type(problem).__name__}: {problem}"
            continue
        if start <= date.fromisoformat(scene.time[:10]) <= end and scene.cloud <= most:
            scenes.append(scene)
            shapes[scene.id] = item["geometry"]
    return SceneListing(tuple(sorted(scenes, key=lambda one: (one.time, one.id))), shapes, lost)


def _scene(item: Mapping[str, Any], config: ScenesConfig, base: str) -> Scene:
    properties, assets, own = item["properties"], item["assets"], str(item["id"])
    moment = properties.get("datetime") or properties["start_datetime"]
    if not isinstance(item.get("geometry"), Mapping):
        raise CatalogError(f"scene {own} has no geometry")
    date.fromisoformat(str(moment)[:10])
    west, south, east, north = (float(one) for one in item["bbox"])
    return Scene(
        own,
        str(moment),
        float(properties.get("eo:cloud_cover", 100.0)),
        {name: _asset(own, assets, wanted, properties, base) for name, wanted in config.bands.items()},
        None if config.classes is None else _asset(own, assets, config.classes, {}, base),
        (west, south, east, north),
    )


def _asset(scene: str, assets: Mapping[str, Any], wanted: str, properties: Mapping[str, Any], base: str) -> SceneAsset:
    """Return an asset by its key, or by the name of its band."""
    found = assets.get(wanted)
    if found is None:
        named = [
            one
            for one in assets.values()
            if wanted in [b.get(k) for b in one.get("eo:bands", ()) for k in ("name", "common_name")]
            and str(one.get("type", "")).startswith("image/tiff")
        ]
        found = named[0] if named else None
    if found is None:
        raise CatalogError(f"scene {scene} has no asset or band {wanted!r}; it has {', '.join(sorted(assets))}")
    url = str(found["href"])
    if not is_remote(url) and "://" not in url:
        url = urljoin(base, url) if base else url
    raster = (found.get("raster:bands") or [{}])[0]
    scale, offset = float(raster.get("scale", SCALE)), raster.get("offset")
    if offset is None:
        late = float(properties.get("s2:processing_baseline") or 0) >= BASELINE
        offset = OFFSET if late else 0.0
    # Earth Search tells the offset of the product, too, where it has subtracted it from the pixels.
    if properties.get("earthsearch:boa_offset_applied") is True:
        offset = 0.0
    return SceneAsset(url, scale, float(offset))
