"""The scenes job: against rasterio on the same files, day by day, split, extended, and with whatever can go wrong."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import Transformer
from rasterio.features import geometry_mask
from rasterio.merge import merge
from rasterio.warp import Resampling, reproject

import maggjob
from maggjob.config.scenes import load_scenes_config
from maggjob.errors import CatalogError, ConfigError, ExistsError, InputError
from maggjob.pipeline.scenes import ScenesResult
from maggjob.planning.scenes import ScenesPlan
from maggjob.simulator.scenes import TILES, Tile, simulate_scenes, value_at
from tests.servers import Request, server

START, END = "2023-07-01", "2023-07-07"
DAYS = ("2023-07-01", "2023-07-06")
SHAPES = {
    "134_Arsuk": [(-49.11, 61.22), (-49.06, 61.225), (-49.03, 61.205), (-49.09, 61.19)],
    "135_Next": [(-49.08, 61.215), (-49.0, 61.22), (-49.0, 61.2), (-49.08, 61.2)],
    "far": [(10, 61.2), (11, 61.2), (11, 61.3)],
}
SAME_ZONE = TILES[:2]


def features(**more: Any) -> list[dict[str, Any]]:
    shapes = {name: shapely.Polygon(points) for name, points in SHAPES.items()} | more
    return [
        {"type": "Feature", "properties": {"id": str(n), "name": name}, "geometry": shapely.geometry.mapping(shape)}
        for n, (name, shape) in enumerate(shapes.items())
    ]


def write_regions(path: str = "regions.json", **more: Any) -> None:
    Path(path).write_text(json.dumps({"type": "FeatureCollection", "features": features(**more)}))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder with regions and two days of scenes."""
    monkeypatch.chdir(tmp_path)
    write_regions()
    simulate_scenes("tiles", start=START, end=END)


def run(**options: Any) -> ScenesResult:
    given: dict[str, Any] = {"regions": "regions.json", "names": "134_Arsuk,135_Next", "start": START, "end": END}
    given |= {"items": "tiles/items.json", "store": "scenes", "backend": "serial"} | options
    done = maggjob.scenes(given.pop("config", "sentinel2.yaml"), **given)
    assert isinstance(done, ScenesResult)
    return done


def config(**changes: Any) -> dict[str, Any]:
    return load_scenes_config("sentinel2.yaml").model_dump() | changes


def tree(store: str = "scenes") -> dict[str, bytes]:
    return {str(p.relative_to(store)): p.read_bytes() for p in Path(store).rglob("*") if p.is_file()}


def states(store: str = "scenes") -> dict[str, int]:
    return maggjob.ledger(store).state.value_counts().to_dict()


def projected(name: str, crs: int = 32622) -> Any:
    turn = Transformer.from_crs(4326, crs, always_xy=True)
    dense = shapely.segmentize(shapely.Polygon(SHAPES[name]), 0.01)
    return shapely.transform(dense, lambda points: np.column_stack(turn.transform(points[:, 0], points[:, 1])))


def result(name: str, day: str, store: str = "scenes", band: int = 1) -> tuple[np.ndarray, Affine, Any]:
    with rasterio.open(f"{store}/{name}/{name}_{day}.tif") as file:
        return file.read(band), file.transform, file.bounds


def path_of(tile: Tile, day: str, band: str = "B08") -> Path:
    return Path(f"tiles/S2A_{tile.name}_{day.replace('-', '')}_0_L2A_{band}.tif")


# --- The pixels


@pytest.mark.dear("rasterio merges each again; one stands for all", keep=("2023-07-06-134_Arsuk",))
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("name", ["134_Arsuk", "135_Next"])
@pytest.mark.parametrize("day", DAYS)
def test_tiles_of_one_zone_are_merged_as_rasterio_merges_them(name: str, day: str) -> None:
    simulate_scenes("tiles", start=START, end=END, tiles=SAME_ZONE)
    assert run().complete
    got, transform, bounds = result(name, day)
    paths = [path_of(tile, day) for tile in SAME_ZONE]
    merged, _ = merge(paths, bounds=bounds, method="first")
    outside = geometry_mask([projected(name)], got.shape, transform)
    assert np.array_equal(got, np.where(outside, 0, merged[0]))
    assert (got > 0).sum() > 10_000


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_other_zones_are_reprojected_by_nearest_neighbour() -> None:
    assert run().complete
    name, day = "134_Arsuk", DAYS[0]
    got, transform, _ = result(name, day)
    with rasterio.open(path_of(TILES[2], day)) as other:
        turned = np.zeros(got.shape, np.uint16)
        grids = {"src_crs": other.crs, "dst_crs": "EPSG:32622", "src_transform": other.transform}
        reproject(other.read(1), turned, dst_transform=transform, resampling=Resampling.nearest, **grids)
    merged, _ = merge([path_of(tile, day) for tile in SAME_ZONE], bounds=result(name, day)[2], method="first")
    outside = geometry_mask([projected(name)], got.shape, transform)
    from_other = (merged[0] == 0) & ~outside
    assert from_other.sum() > 100
    # GDAL approximates the transformation within an eighth of a pixel: at borders a neighbour may be nearer.
    assert (got[from_other] != turned[from_other]).mean() < 0.15
    assert np.array_equal(got[~from_other], np.where(outside, 0, merged[0])[~from_other])
    told = maggjob.ledger("scenes")
    assert told[told.granule.str.contains("23VLH", na=False)].pixels.sum() > 0


def test_a_scene_in_degrees_is_reprojected() -> None:
    content = json.loads(Path("tiles/items.json").read_text())
    content["features"] = content["features"][:1]
    Path("tiles/items.json").write_text(json.dumps(content))
    step = 1e-4
    west, north = -49.15, 61.24
    profile = {"driver": "GTiff", "count": 1, "height": 600, "width": 1600, "dtype": "uint16", "nodata": 0}
    values = np.full((600, 1600), 4321, np.uint16)
    transform = Affine(step, 0, west, 0, -step, north)
    path = path_of(TILES[0], DAYS[0])
    with rasterio.open(path, "w", **profile, crs="EPSG:4326", transform=transform) as file:
        file.write(values, 1)
    done = run(names="134_Arsuk", config=config(classes=None))
    assert done.complete
    assert done.summary["scenes"]["reprojected"] == 1
    got = result("134_Arsuk", DAYS[0])[0]
    assert set(np.unique(got)) == {0, 4321}
    assert done.summary["scenes"]["pixels"]["nodata"] == 0


def test_a_region_of_two_zones_is_on_one_grid() -> None:
    """Its centroid decides; what lies in the other zone is reprojected."""
    wide = shapely.box(-48.02, 61.0, -47.99, 61.02)
    write_regions(border=wide)
    tiles = [Tile("22VFN", 32622, 655_000.0, 6_772_000.0, 800), Tile("23VLH", 32623, 332_000.0, 6_772_000.0, 800)]
    simulate_scenes("tiles", start=START, end=END, tiles=tiles)
    done = run(names="border", config=config(classes=None))
    assert done.complete
    assert [one.template.crs for one in done.plan.regions] == ["EPSG:32622"]
    assert done.summary["scenes"]["pixels"]["valid"] > 10_000


def test_every_day_is_on_the_same_grid_and_values_are_those_that_were_written() -> None:
    run()
    transforms = {result("134_Arsuk", day)[1] for day in DAYS}
    assert len(transforms) == 1
    got, transform, _ = result("134_Arsuk", DAYS[1])
    tile = SAME_ZONE[0]
    column, row = round((transform.c - tile.left) / 10), round((tile.top - transform.f) / 10)
    rows, columns = np.mgrid[row : row + got.shape[0], column : column + got.shape[1]]
    expected = value_at(tile, date.fromisoformat(DAYS[1]), rows, columns)
    own = (got == expected) | (got == 0)
    assert own.mean() > 0.9


@pytest.mark.dear("1 CPU-seconds; its neighbours cover the same lines")
@pytest.mark.parametrize("block", [128, 512])
def test_other_tilings_give_the_same(block: int) -> None:
    run(store="one")
    simulate_scenes("tiles", start=START, end=END, block=block)
    run(store="two")
    assert tree("one") == tree("two")


@pytest.mark.dear("several runs")
def test_the_offset_of_a_baseline_is_taken_away() -> None:
    run(store="old")
    simulate_scenes("tiles", start=START, end=END, offset=-0.1)
    with rasterio.open(path_of(TILES[0], DAYS[0])) as stored:
        assert stored.read(1).max() > 2000
    run(store="new")
    for name in ("134_Arsuk", "135_Next"):
        assert np.array_equal(result(name, DAYS[0], "old")[0], result(name, DAYS[0], "new")[0])
    # Earth Search has applied it where it says so, whatever the offset of the product is.
    content = json.loads(Path("tiles/items.json").read_text())
    for item in content["features"]:
        item["properties"]["earthsearch:boa_offset_applied"] = True
    Path("tiles/items.json").write_text(json.dumps(content))
    run(store="applied")
    own, other = result("134_Arsuk", DAYS[0], "applied")[0], result("134_Arsuk", DAYS[0], "old")[0]
    assert np.array_equal(own[own > 0], other[other > 0] + 1000)


def test_clouds_and_snow_are_counted_and_masked() -> None:
    simulate_scenes("tiles", start=START, end=END, tiles=TILES[:1])
    run(store="plain")
    run(store="masked", config=config(mask_clouds=True))
    item = json.loads(Path(f"plain/134_Arsuk/134_Arsuk_{DAYS[0]}.json").read_text())["properties"]
    got, transform, bounds = result("134_Arsuk", DAYS[0], "plain")
    with rasterio.open(path_of(TILES[0], DAYS[0], "SCL")) as file:
        classes = np.zeros(got.shape, np.uint8)
        grids = {"src_crs": file.crs, "dst_crs": file.crs, "src_transform": file.transform, "dst_transform": transform}
        reproject(file.read(1), classes, resampling=Resampling.nearest, **grids)
    there = got > 0
    assert item["eo:cloud_cover"] == pytest.approx(100 * (classes[there] == 9).mean(), abs=0.01)
    assert item["eo:snow_cover"] == pytest.approx(100 * (classes[there] == 11).mean(), abs=0.01)
    masked = result("134_Arsuk", DAYS[0], "masked")[0]
    assert np.array_equal(masked, np.where(classes == 9, 0, got))
    assert bounds is not None


@pytest.mark.dear("1 CPU-seconds; its neighbours cover the same lines")
@pytest.mark.parametrize("order", ["cloud", "id", "time"])
def test_the_order_decides_where_tiles_overlap(order: str) -> None:
    content = json.loads(Path("tiles/items.json").read_text())
    for item in content["features"]:
        second = "22VFN" in item["id"]
        item["properties"]["eo:cloud_cover"] = 1 if second else 50
        item["properties"]["datetime"] = item["properties"]["datetime"].replace("14:", "13:" if second else "14:")
    Path("tiles/items.json").write_text(json.dumps(content))
    run(config=config(order="id"), store="id")
    run(config=config(order=order))
    # Values of the second tile are 500 higher.
    first, own = (
        (got[got > 0] >= 1500).mean() for got in (result("135_Next", DAYS[0], s)[0] for s in ("id", "scenes"))
    )
    assert (own > first + 0.01) == (order != "id")


@pytest.mark.dear("a large region")
def test_windows_of_a_large_region_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    run(store="whole")
    monkeypatch.setattr("maggjob.planning.scenes.SIDE", 150)
    done = run(store="split")
    assert done.complete
    assert len(done.plan.targets) > 10
    whole, split = tree("whole"), tree("split")
    for name in (name for name in whole if name.endswith(".tif")):
        assert whole[name] == split[name]
    assert done.summary["tasks"]["assembly"]["done"] == 4
    assert not list(Path("split.run/parts").rglob("*.npy"))
    for name in (name for name in whole if name.endswith(".json")):
        one, two = (json.loads(content[name])["properties"] for content in (whole, split))
        assert one["maggjob:pixels"] == two["maggjob:pixels"]


@pytest.mark.dear("1 CPU-seconds; its neighbours cover the same lines")
def test_only_what_is_needed_is_read() -> None:
    """A tile's window is read once, though two regions share it, and little beside it."""
    large = Tile("22VEN", 32622, 600_000.0, 6_790_020.0, 3000)
    simulate_scenes("large", start="2023-07-01", end="2023-07-01", tiles=[large], block=256)
    content = config(classes=None)
    alone = run(items="large/items.json", config=content, store="alone", names="134_Arsuk", end="2023-07-01")
    both = run(items="large/items.json", config=content, store="both", end="2023-07-01")
    size = Path("large/S2A_22VEN_20230701_0_L2A_B08.tif").stat().st_size
    assert alone.summary["scenes"]["bytes_read"] < size / 3
    assert both.summary["scenes"]["bytes_read"] < 1.6 * alone.summary["scenes"]["bytes_read"]
    assert both.plan.shared == 0


# --- Over time, and again


@pytest.mark.dear("whole runs")
def test_a_later_end_makes_new_days_only() -> None:
    run(store="whole")
    first = run(end="2023-07-03")
    before = {name: Path("scenes", name).stat().st_mtime_ns for name in tree() if name.endswith(".tif")}
    second = run()
    assert (first.taken, len(first.reports), second.taken, len(second.reports)) == (0, 2, 2, 4)
    assert all(Path("scenes", name).stat().st_mtime_ns == at for name, at in before.items())
    assert tree("scenes") == tree("whole")
    assert run().taken == 4


@pytest.mark.dear("two runs, one of them in processes")
def test_localhost_gives_the_same_bytes() -> None:
    run(store="serial")
    run(store="local", backend="localhost", max_workers=2)
    assert tree("serial") == tree("local")


@pytest.mark.dear("a whole run per case", keep=("True",))
@pytest.mark.parametrize("half", [True, False])
def test_a_scene_that_is_cut_is_counted_and_read_again(half: bool) -> None:
    path = path_of(TILES[0], DAYS[0])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if half else content[:100])
    done = run()
    assert not done.complete
    told = done.summary["scenes"]
    assert told["results"] == {"complete": 2, "partial": 2, "failed": 0}
    assert told["scenes"]["failed"] == 2
    assert sum(error["count"] for error in told["errors"].values()) == 2
    assert TILES[0].name in str(told["errors"])
    got = result("134_Arsuk", DAYS[0])[0]
    assert not ((got > 0) & (got < 1400)).any()
    path.write_bytes(content)
    again = run()
    assert (again.complete, again.taken) == (True, 2)


def test_a_band_that_is_cut_gives_nothing_of_its_scene() -> None:
    """Neither band is taken, if one of the two cannot be read."""
    content = json.loads(Path("tiles/items.json").read_text())
    for item in content["features"]:
        other = dict(item["assets"]["nir"])
        name = other["href"].replace("B08", "B04")
        shutil.copy(Path("tiles", other["href"]), Path("tiles", name))
        item["assets"]["red"] = other | {"href": name}
    Path("tiles/items.json").write_text(json.dumps(content))
    path_of(TILES[0], DAYS[0], "B04").write_bytes(b"II*\0")
    run(config=config(bands={"B08": "nir", "B04": "red"}))
    one, two = (result("134_Arsuk", DAYS[0], band=band)[0] for band in (1, 2))
    assert np.array_equal(one, two)
    assert not ((one > 0) & (one < 1400)).any()


def test_days_without_scenes_and_unusable_items_are_in_the_ledger() -> None:
    content = json.loads(Path("tiles/items.json").read_text())
    del content["features"][0]["assets"]["nir"]
    Path("tiles/items.json").write_text(json.dumps(content))
    done = run()
    assert not done.complete
    table = maggjob.ledger("scenes")
    lost = table[table.reason == "unusable"]
    assert lost.granule.tolist() == [content["features"][0]["id"]]
    assert "no asset or band 'nir'" in lost.message.iloc[0]
    assert states()["no_scene"] == 2 * 5


@pytest.mark.dear("1 CPU-seconds; its neighbours cover the same lines")
def test_all_cloud_is_no_failure() -> None:
    for path in Path("tiles").glob("*SCL.tif"):
        with rasterio.open(path) as file:
            profile, shape = file.profile, file.shape
        with rasterio.open(path, "w", **profile) as file:
            file.write(np.full(shape, 9, np.uint8), 1)
    done = run(config=config(mask_clouds=True))
    assert done.complete
    assert done.summary["scenes"]["pixels"]["valid"] == 0
    assert result("134_Arsuk", DAYS[0])[0].max() == 0


# --- What is asked for


def test_the_result_is_a_cog_with_an_item_and_an_index() -> None:
    run()
    with rasterio.open(f"scenes/134_Arsuk/134_Arsuk_{DAYS[0]}.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert (file.nodata, file.scales, file.descriptions) == (0, (0.0001,), ("B08",))
    item = json.loads(Path(f"scenes/134_Arsuk/134_Arsuk_{DAYS[0]}.json").read_text())
    import pystac

    assert pystac.Item.from_dict(item).id == f"134_Arsuk_{DAYS[0]}"
    meta, _, shapes, columns = pyogrio.raw.read("scenes/index.parquet") if parquet() else (None, None, None, None)
    if meta is not None:
        assert len(columns[0]) == 4
        assert shapely.from_wkb(shapes[0]).geom_type == "Polygon"
    assert Path("scenes/contact.png").read_bytes()[:4] == b"\x89PNG"


def parquet() -> bool:
    """Return True if pyogrio's GDAL reads Parquet."""
    return "Parquet" in pyogrio.list_drivers()


@pytest.mark.parametrize("name", ["regions.gpkg", "regions.shp", "regions.json"])
def test_regions_are_read_by_name_from_any_file(name: str) -> None:
    plain = features()
    if name != "regions.json":
        wkb = np.array([shapely.to_wkb(shapely.geometry.shape(one["geometry"])) for one in plain], object)
        names = np.array([one["properties"]["name"] for one in plain], object)
        pyogrio.raw.write(name, wkb, [names], ["name"], geometry_type="Polygon", crs="EPSG:4326")
    plan = maggjob.scenes(
        "sentinel2.yaml", regions=name, names=["135_Next"], start=START, end=END, items="tiles/items.json", dry_run=True
    )
    assert isinstance(plan, ScenesPlan)
    assert [one.region.name for one in plan.regions] == ["135_Next"]
    assert not Path("scenes.run").exists()


@pytest.mark.dear(
    "a command per kind of input; some stand for all",
    keep=(
        "options0-InputError-no region 'nowhere'; it has 3, such as 134_Arsuk",
        "options1-InputError-no scene from 2023-07-01 to 2023-07-07 touches the regions far",
        "options2-InputError-none.json",
        "options4-InputError-2023-7-1",
        "options3-InputError-after end",
    ),
)
@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"names": "nowhere"}, InputError, "no region 'nowhere'; it has 3, such as 134_Arsuk"),
        ({"names": "far"}, InputError, "no scene from 2023-07-01 to 2023-07-07 touches the regions far"),
        ({"regions": "none.json"}, InputError, "none.json"),
        ({"start": "2023-08-01"}, InputError, "after end"),
        ({"start": "2023-7-1"}, InputError, "2023-7-1"),
        ({"items": "none.json"}, CatalogError, "none.json"),
        ({"config": "atl06.yaml"}, ConfigError, "those of this job are sentinel2"),
        ({"config": config(crs="EPSG:4326")}, InputError, "in degrees"),
        ({"config": config(resolution=0.01)}, InputError, "split it"),
        ({"config": config(bands={"B99": "none"})}, InputError, "no asset or band 'none'"),
        ({"config": config(mask_clouds=True, classes=None)}, ConfigError, "needs 'classes'"),
        ({"config": config(bands={})}, ConfigError, "bands"),
        ({"backend": "aws_lambda", "store": "s3://mine/scenes"}, InputError, "cannot reach this machine"),
    ],
)
def test_bad_input_leaves_nothing(options: dict[str, Any], error: type[Exception], said: str) -> None:
    before = sorted(Path().rglob("*"))
    with pytest.raises(error, match=said):
        run(**options)
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (shapely.Polygon([(-179, 60), (179, 60), (179, 61)]), "antimeridian"),
        (shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)]), "not valid"),
        (shapely.Point(0, 0), "Point, not a polygon"),
        (shapely.Polygon([(600000, 6790000), (610000, 6790000), (610000, 6780000)]), "not degrees"),
    ],
)
def test_a_region_that_is_none_is_refused_by_name(shape: Any, said: str) -> None:
    write_regions(odd=shape)
    with pytest.raises(InputError, match=f"region odd.*{said}"):
        run(names="odd")


@pytest.mark.dear("whole runs")
def test_only_own_results_are_replaced() -> None:
    run()
    before = tree()
    with pytest.raises(ExistsError, match="another configuration"):
        run(config=config(order="id"))
    assert tree() == before
    run(config=config(order="id"), overwrite=True)
    Path("mine/134_Arsuk").mkdir(parents=True)
    Path(f"mine/134_Arsuk/134_Arsuk_{DAYS[0]}.tif").write_text("mine")
    with pytest.raises(ExistsError, match="is of no run"):
        run(store="mine", overwrite=True)
    assert Path(f"mine/134_Arsuk/134_Arsuk_{DAYS[0]}.tif").read_text() == "mine"


# --- A STAC API


@contextmanager
def api(page: Callable[[str, Request], dict[str, Any]]) -> Iterator[str]:
    """Serve a STAC API on this machine with these pages, and the files of its scenes."""
    landing = {
        "type": "Catalog",
        "id": "stand-in",
        "stac_version": "1.0.0",
        "description": "a stand-in",
        "conformsTo": ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"],
    }

    def respond(request: Request) -> None:
        base = f"http://{request.headers['Host']}"
        if request.key.startswith("/tiles/"):
            request.serve(Path(request.key.strip("/")).read_bytes())
            return
        if request.key == "/search":
            body = page(base, request)
            if "code" in body:
                request.reply(404, json.dumps(body).encode(), Content_Type="application/json")
                return
        else:
            links = [{"rel": rel, "href": f"{base}/"} for rel in ("self", "root")]
            links.append({"rel": "search", "href": f"{base}/search", "type": "application/geo+json", "method": "POST"})
            body = landing | {"links": links}
        request.reply(200, json.dumps(body).encode(), Content_Type="application/geo+json")

    with server(respond) as served:
        yield served.url()


def items_at(base: str) -> list[dict[str, Any]]:
    items = json.loads(Path("tiles/items.json").read_text())["features"]
    for item in items:
        for asset in item["assets"].values():
            asset["href"] = f"{base}/tiles/{Path(asset['href']).name}"
    return list(items)


def test_scenes_are_searched_for_page_by_page_and_read_in_ranges() -> None:
    run(store="files")
    asked: list[dict[str, Any]] = []

    def page(base: str, request: Request) -> dict[str, Any]:
        asked.append(json.loads(request.body or b"{}"))
        items, second = items_at(base), "token=2" in request.path
        following = [] if second else [{"rel": "next", "href": f"{base}/search?token=2", "method": "GET"}]
        return {"type": "FeatureCollection", "features": items[4:] if second else items[:4], "links": following}

    with api(page) as url:
        done = run(items=None, config=config(search={"url": url, "collection": "sentinel-2-l2a"}), store="served")
        assert done.complete
        assert done.summary["scenes"]["requests"] >= 12
    assert tree("served") == tree("files")
    assert len(asked) == 4
    assert asked[0]["collections"] == ["sentinel-2-l2a"]
    assert asked[0]["intersects"]["type"] == "Polygon"
    assert asked[0]["datetime"].startswith("2023-07-01T00:00:00Z/2023-07-07T23:59:59")


@pytest.mark.parametrize("kind", ["a loop", "an error", "nothing"])
def test_an_answer_that_is_none_is_told(kind: str) -> None:
    def page(base: str, request: Request) -> dict[str, Any]:
        again = [{"rel": "next", "href": f"{base}/search?token=2", "method": "GET"}]
        match kind:
            case "a loop":
                return {"type": "FeatureCollection", "features": items_at(base), "links": again}
            case "an error":
                return {"code": "NotFound", "description": "no such collection"}
        return {"type": "FeatureCollection", "features": [], "links": []}

    with api(page) as url, pytest.raises((CatalogError, InputError)) as caught:
        run(items=None, config=config(search={"url": url, "collection": "sentinel-2-l2a"}))
    said = {"a loop": "its pages do not end", "nothing": "no scene from"}.get(kind, "cannot be searched")
    assert said in str(caught.value)
    assert not Path("scenes.run").exists()


def test_an_api_that_is_not_there_is_told() -> None:
    with pytest.raises(CatalogError, match="cannot be searched"):
        run(items=None, config=config(search={"url": "http://127.0.0.1:9/v1", "collection": "x"}))


@pytest.mark.dear("a whole run per kind of damage", keep=("cut-tif",))
@pytest.mark.parametrize("suffix", ["tif", "png"])
@pytest.mark.parametrize("how", ["lost", "cut"])
def test_a_result_whose_files_are_not_whole_is_made_again(suffix: str, how: str) -> None:
    run(names="134_Arsuk", end=DAYS[0])
    before = tree()
    (path,) = Path("scenes/134_Arsuk").glob(f"*.{suffix}")
    content = path.read_bytes()
    path.unlink()
    if how == "cut":
        path.write_bytes(content[:100])
    again = run(names="134_Arsuk", end=DAYS[0])
    assert again.complete
    assert again.taken == 0
    assert tree() == before


def test_the_index_holds_all_results_of_a_store() -> None:
    run(names="134_Arsuk", end=DAYS[0])
    run(names="135_Next", end=DAYS[0])
    apart = tree()
    run(names="134_Arsuk,135_Next", end=DAYS[0], store="both")
    assert apart["index.parquet"] == tree("both")["index.parquet"]
    assert apart["contact.png"] == tree("both")["contact.png"]


def test_a_partial_result_replaces_no_complete_one() -> None:
    run(names="134_Arsuk", end=DAYS[0])
    before = tree()
    items = json.loads(Path("tiles/items.json").read_text())
    first = next(item for item in items["features"] if item["properties"]["datetime"].startswith(DAYS[0]))
    first["id"] += "_again"
    place = Path("tiles") / next(iter(first["assets"].values()))["href"]
    place.write_bytes(place.read_bytes()[:2000])
    Path("tiles/items.json").write_text(json.dumps(items))
    done = run(names="134_Arsuk", end=DAYS[0])
    assert not done.complete
    (name,) = [key for key in before if key.endswith(".tif")]
    assert tree()[name] == before[name]
    assert tree()[name.replace(".tif", ".json")] == before[name.replace(".tif", ".json")]


def test_foreign_indexes_are_not_replaced() -> None:
    Path("scenes").mkdir()
    Path("scenes/index.parquet").write_bytes(b"mine")
    with pytest.raises(ExistsError, match=r"index\.parquet"):
        run()
    assert tree() == {"index.parquet": b"mine"}


def test_an_item_without_a_geometry_is_unusable() -> None:
    items = json.loads(Path("tiles/items.json").read_text())
    lost = items["features"][0]
    lost["geometry"] = None
    Path("tiles/items.json").write_text(json.dumps(items))
    done = run(names="134_Arsuk")
    assert not done.complete
    assert lost["id"] in done.plan.listing.lost
    assert "geometry" in done.plan.listing.lost[lost["id"]]


def test_swapped_days_write_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="swap them"):
        simulate_scenes(tmp_path / "none", start=END, end=START)
    assert not (tmp_path / "none").exists()


def test_simulated_scenes_take_the_place_of_no_other_file() -> None:
    Path("mine").mkdir()
    Path("mine/items.json").write_text("[]")
    with pytest.raises(ExistsError, match="mine"):
        simulate_scenes("mine", start=START, end=END)
    assert [path.name for path in Path("mine").iterdir()] == ["items.json"]
    assert Path("mine/items.json").read_text() == "[]"


def test_simulated_scenes_come_with_regions() -> None:
    done = run(regions="tiles/regions.json", names=None)
    assert done.complete
    assert sorted(path.name for path in Path("scenes").iterdir() if path.is_dir()) == ["134_Arsuk", "135_Next"]


def test_pages_without_an_end_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maggjob.catalog.stac.MOST_ITEMS", 40)
    asked: list[Request] = []

    def page(base: str, request: Request) -> dict[str, Any]:
        asked.append(request)
        items = [item | {"id": f"{item['id']}-{len(asked)}"} for item in items_at(base)]
        following = {"rel": "next", "href": f"{base}/search?token={len(asked)}", "method": "GET"}
        return {"type": "FeatureCollection", "features": items, "links": [following]}

    with api(page) as url, pytest.raises(CatalogError, match="more than 40 scenes"):
        run(items=None, config=config(search={"url": url, "collection": "sentinel-2-l2a"}))
    assert not Path("scenes.run").exists()
