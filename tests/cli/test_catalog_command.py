"""The commands ``maggjob catalog`` and ``maggjob plan``: areas, records, what is listed, what is refused."""

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import healpix_geo
import numpy as np
import pytest
import yaml

from maggjob.catalog.catalog import Catalog
from maggjob.catalog.file import read_catalog
from maggjob.cli.commands import main
from maggjob.config.load import builtin_configs
from maggjob.pipeline.result import read_summary
from maggjob.planning.cost import KEPT_SHARE
from maggjob.simulator.scene import cmr_records, simulate
from tests.granule_files import beam, cells_of, write_granule

AREA = (-106.0, -76.0, -102.0, -75.0)
SLACK = 0.005  # degrees of latitude: more than half a child of order 14 measures


@pytest.fixture(scope="module")
def granules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with simulated granules, and CMR-like records of them."""
    folder = tmp_path_factory.mktemp("listed")
    paths = simulate(folder / "granules", area=AREA, every=20, most=8)
    (folder / "records.json").write_text(json.dumps(cmr_records(paths)))
    return folder / "granules"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_environment: None) -> Path:
    """An empty folder to work in; what CMR says is kept beside it."""
    monkeypatch.setenv("MAGGJOB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def maggjob(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Call ``maggjob`` with arguments; return exit code, output, errors."""

    def typed(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["maggjob", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return typed


def pairs(catalog: Catalog) -> set[tuple[str, int]]:
    return {(catalog.granules[i].id, cell) for cell, positions in catalog.cells.items() for i in positions}


@lru_cache
def true_pairs(folder: Path) -> set[tuple[str, int]]:
    return {(path.stem, cell) for path in folder.rglob("*.h5") for cell in cells_of([path], 6, "authalic")}


@lru_cache
def inside(cell: int, west: float, south: float, east: float, north: float, slack: float) -> bool:
    """Return True if one of a cell's 65,536 children has its centre in a box, widened by a margin."""
    children = (np.uint64(cell) << np.uint64(16)) + np.arange(1 << 16, dtype=np.uint64)
    longitude, latitude = healpix_geo.nested.healpix_to_lonlat(children, 14, ellipsoid="WGS84")
    wide = slack / np.cos(np.radians(latitude))
    across = (longitude - west + wide) % 360 <= (east - west) + 2 * wide if east - west < 360 else True
    return bool(((latitude >= south - slack) & (latitude <= north + slack) & across).any())


# ---- from files, in an area


@pytest.mark.parametrize(
    ("options", "box"),
    [
        (["--aoi", "-104.5,-75.7,-103.2,-75.4"], (-104.5, -75.7, -103.2, -75.4)),
        pytest.param(
            ["--south-of", -75.62], (-180.0, -90.0, 180.0, -75.62), marks=pytest.mark.dear("as a box, but much larger")
        ),
        pytest.param(
            ["--north-of", -75.3], (-180.0, -75.3, 180.0, 90.0), marks=pytest.mark.dear("as south of, but much larger")
        ),
    ],
    ids=["a box", "south of", "north of"],
)
def test_only_cells_of_an_area_are_listed(
    maggjob: Typed, granules: Path, options: list[object], box: tuple[float, float, float, float]
) -> None:
    code, said, errors = maggjob("catalog", "--from-files", granules, *options)
    assert (code, errors) == (0, "")
    catalog = read_catalog("catalog.json")
    assert f"{len(catalog.granules)} granules in {len(catalog.cells)} cells, {catalog.pairs} pairs" in said
    every = true_pairs(granules)
    surely = {pair for pair in every if inside(pair[1], *box, 0.0)}
    perhaps = {pair for pair in every if inside(pair[1], *box, SLACK)}
    assert surely <= pairs(catalog) <= perhaps < every
    assert len(perhaps) - len(surely) <= 0.2 * len(surely)  # the oracle decides
    assert {name for name, _ in pairs(catalog)} == {entry.id for entry in catalog.granules}
    for entry in catalog.granules:  # all that a granule has counts, for the estimate
        assert entry.cells == len({cell for name, cell in every if name == entry.id})
    assert catalog.provenance["area"] == (options[1] if options[0] == "--aoi" else f"{options[0][2:]}:{options[1]}")  # type: ignore[index]


@pytest.mark.dear("cells of a hemisphere")
def test_an_area_round_everything_leaves_nothing_out(maggjob: Typed, granules: Path) -> None:
    assert maggjob("catalog", "--from-files", granules, "--out", "all.json")[0] == 0
    assert maggjob("catalog", "--from-files", granules, "--south-of", -60, "--out", "south.json")[0] == 0
    whole, south = read_catalog("all.json"), read_catalog("south.json")
    assert pairs(whole) == pairs(south) == true_pairs(granules)
    assert whole.digest == south.digest
    assert whole.granules == south.granules
    assert "area" not in whole.provenance


def test_granules_outside_are_left_out(maggjob: Typed, here: Path) -> None:
    """One in the area, one across its edge, one elsewhere."""
    (here / "mine").mkdir()
    for number, south in enumerate((-74.0, -75.4, -80.0)):
        tracks = {"gt1l": beam(60, south=south, step=1.6e-2)}
        write_granule(here / "mine" / f"ATL06_2019022203120{number}_085{number}0211_006_01.h5", tracks)
    paths = sorted((here / "mine").iterdir())
    assert maggjob("catalog", "--from-files", "mine", "--south-of", -76.0, "--out", "some.json")[0] == 0
    catalog = read_catalog("some.json")
    assert [entry.id for entry in catalog.granules] == [path.stem for path in paths[1:]]
    assert [entry.rows for entry in catalog.granules] == [60, 60]
    assert pairs(catalog) < true_pairs(here / "mine")
    assert {cell for name, cell in pairs(catalog) if name == paths[2].stem} == set(cells_of(paths[2:], 6, "authalic"))


def test_a_place_in_geojson_is_an_area(maggjob: Typed, granules: Path) -> None:
    ring = [[-104.5, -75.7], [-103.2, -75.7], [-103.2, -75.4], [-104.5, -75.4], [-104.5, -75.7]]
    Path("area.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    assert maggjob("catalog", "--from-files", granules, "--aoi", "area.geojson", "--out", "ring.json")[0] == 0
    box = "-104.5,-75.7,-103.2,-75.4"
    assert maggjob("catalog", "--from-files", granules, "--aoi", box, "--out", "box.json")[0] == 0
    assert read_catalog("ring.json").digest == read_catalog("box.json").digest


# ---- from records


@pytest.mark.parametrize(
    "latitude",
    ["authalic", pytest.param("geodetic-spherical", marks=pytest.mark.dear("the other convention"))],
)
def test_records_have_every_pair_of_the_files(maggjob: Typed, granules: Path, latitude: str) -> None:
    plain = yaml.safe_load(builtin_configs()["atl06.yaml"].read_text())
    plain["output"]["grid"]["latitude"] = latitude
    Path("mine.yaml").write_text(yaml.safe_dump(plain))
    records = granules.parent / "records.json"
    options = ("--config", "mine.yaml", "--version", "006")
    code, _, errors = maggjob("catalog", "--from-records", records, *options)
    assert (code, errors) == (0, "")
    catalog = read_catalog("catalog.json")
    truth = {(path.stem, cell) for path in granules.glob("*.h5") for cell in cells_of([path], 6, latitude)}
    assert truth <= pairs(catalog)
    assert len(catalog.granules) == len(list(granules.glob("*.h5")))
    assert [entry.size for entry in catalog.granules] == [
        (granules / f"{entry.id}.h5").stat().st_size for entry in catalog.granules
    ]
    assert catalog.footprints is not None
    assert sorted(set(catalog.footprints.owner.tolist())) == list(range(len(catalog.granules)))


@pytest.mark.dear("a whole catalog")
def test_the_records_of_the_command_are_those(maggjob: Typed, granules: Path) -> None:
    options = ["--area", *AREA, "--every", 20, "--most", 8]
    assert maggjob("simulate", "again", *options, "--records", "records.json")[0] == 0
    assert json.loads(Path("records.json").read_text()) == json.loads((granules.parent / "records.json").read_text())


@pytest.mark.dear("a whole search")
def test_pages_that_do_not_add_up_are_refused(maggjob: Typed, granules: Path) -> None:
    page = json.loads((granules.parent / "records.json").read_text())
    half = {**page, "items": page["items"][:3]}
    Path("one.json").write_text(json.dumps(half))
    Path("two.json").write_text(json.dumps({**page, "items": page["items"][3:]}))
    assert maggjob("catalog", "--from-records", "one.json", "--from-records", "two.json", "--version", "006")[0] == 0
    Path("catalog.json").unlink()
    for names, said in (
        (["one.json"], "hold 3 granules"),
        (["one.json", "two.json", "one.json"], "hold"),
        (["nowhere.json"], "nowhere.json"),
        (["."], "not a page"),
    ):
        given = [part for name in names for part in ("--from-records", name)]
        code, output, errors = maggjob("catalog", *given, "--version", "006")
        assert (code, output, len(errors.splitlines())) == (1, "", 1)
        assert said in errors
    assert sorted(path.name for path in Path().iterdir()) == ["one.json", "two.json"]


# ---- what a catalog holds


def test_info_says_what_a_catalog_holds(maggjob: Typed, granules: Path) -> None:
    maggjob("catalog", "--from-files", granules, "--south-of", -75.5)
    before = Path("catalog.json").read_bytes()
    code, said, errors = maggjob("catalog", "--info", "catalog.json")
    assert (code, errors) == (0, "")
    catalog = read_catalog("catalog.json")
    counts = [len(positions) for positions in catalog.cells.values()]
    assert said.splitlines() == [
        f"granules      {len(catalog.granules)}, cycle22, by file",
        f"cells         {len(catalog.cells)} of order 6, authalic",
        f"pairs         {catalog.pairs}, {min(counts)} to {max(counts)} granules per cell",
        f"size          0.0 GB in {len(catalog.granules)} granules whose size is known",
        f"digest        {catalog.digest}",
        "area          south-of:-75.5",
        f"files         {granules}",
    ]
    assert sorted(path.name for path in Path().iterdir()) == ["catalog.json"]
    assert Path("catalog.json").read_bytes() == before


def test_info_of_another_grid_and_of_the_older_form(maggjob: Typed, granules: Path) -> None:
    plain = yaml.safe_load(builtin_configs()["atl06.yaml"].read_text())
    plain["output"]["grid"] |= {"latitude": "geodetic-spherical", "parent_order": 5}
    Path("mine.yaml").write_text(yaml.safe_dump(plain))
    assert maggjob("catalog", "--from-files", granules, "--config", "mine.yaml")[0] == 0
    assert "of order 5, geodetic-spherical" in maggjob("catalog", "--info", "catalog.json")[1]
    older = {
        "metadata": {"parent_order": 6},
        "catalog": {"-6134114": ["s3://bucket/ATL06_20231218031203_08502211_007_01.h5"]},
    }
    Path("older.json").write_text(json.dumps(older))
    code, said, _ = maggjob("catalog", "--info", "older.json")
    assert code == 0
    assert "granules      1, cycle22, by s3" in said


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"hits": 0, "items": []}'])
def test_info_of_what_is_no_catalog_is_refused(maggjob: Typed, content: str | None) -> None:
    if content is not None:
        Path("some.json").write_text(content)
    code, said, errors = maggjob("catalog", "--info", "some.json")
    assert (code, said, len(errors.splitlines())) == (1, "", 1)
    assert "some.json" in errors


# ---- what is refused


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", "no time is given"),
        ("--cycle 0", "cycle is 0"),
        ("--cycle 100", "cycle is 100"),
        ("--cycle 99", "has begun"),
        ("--cycle 22 --cycles 21-22", "one of cycle, cycles, or start and end"),
        ("--cycle 22 --start 2024-01-01 --end 2024-02-01", "one of cycle, cycles, or start and end"),
        ("--cycles 22-21", "22-21"),
        ("--cycles 21", "cycles is '21'"),
        ("--cycles 21-22-23", "cycles"),
        ("--start 2024-01-01", "both start and end"),
        ("--start 2024-02-01 --end 2024-01-01", "swap them"),
        ("--start 2024-02-30 --end 2024-03-01", "2024-02-30"),
        ("--cycle 22 --short-name GEDI", "GEDI"),
        ("--cycle 22 --version latest", "latest"),
        ("--cycle 22 --swath-buffer-km -1", "-1"),
        ("--cycle 22 --swath-buffer-km nan", "nan"),
        ("--cycle 22 --endpoint http://cmr.example/search/", "give an https:// URL"),
        ("--cycle 22 --aoi atlantis", "'atlantis' is unknown"),
        ("--cycle 22 --aoi basins:28", "basin 28 does not exist"),
        ("--cycle 22 --aoi basins:", "basins:"),
        ("--cycle 22 --aoi 10,20,30", "not 4 numbers"),
        ("--cycle 22 --aoi 10,20,30,-20", "must lie below"),
        ("--cycle 22 --aoi 10,nan,30,20", "not 4 numbers"),
        ("--cycle 22 --aoi nowhere.geojson", "no such file"),
        ("--cycle 22 --aoi bad.geojson", "bad.geojson"),
        ("--cycle 22 --aoi eight.geojson", "crosses itself"),
        ("--cycle 22 --south-of 95", "not between -90 and 90"),
        ("--cycle 22 --south-of -65 --north-of 60", "give one"),
        ("--cycle 22 --south-of -65 --aoi grounded", "give one"),
        ("--from-files mine --cycle 22", "leave --cycle out"),
        ("--from-files mine --swath-buffer-km 3", "leave --swath-buffer-km out"),
        ("--from-files mine --from-records records.json", "leave --from-records out"),
        ("--from-files mine --aoi atlantis", "'atlantis' is unknown"),
        ("--from-files mine --aoi greenland", "in the area greenland"),
        ("--from-files mine --south-of -65 --north-of 60", "give one"),
        ("--from-files mine --out nowhere/catalog.json", "cannot write catalog"),
        ("--from-files mine --out folder", "cannot write catalog"),
        ("--from-files mine --out .", "cannot write catalog"),
        ("--from-records records.json --cycle 21 --version 006", "of cycle 21"),
        ("--from-records records.json --version 007", "version 007"),
        ("--from-records records.json --version 006 --aoi greenland", "touches the area greenland"),
    ],
)
def test_what_cannot_be_searched_is_one_line_and_nothing_is_written(
    maggjob: Typed, here: Path, granules: Path, options: str, said: str
) -> None:
    (here / "folder").mkdir()
    (here / "mine").symlink_to(granules)
    (here / "records.json").symlink_to(granules.parent / "records.json")
    (here / "bad.geojson").write_text('{"type": "Point", "coordinates": [0, 0]}')
    eight = [[0.0, -80.0], [10.0, -70.0], [10.0, -80.0], [0.0, -70.0], [0.0, -80.0]]
    (here / "eight.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [eight]}))
    before = sorted(path.name for path in here.rglob("*"))
    code, output, errors = maggjob("catalog", *options.split())
    assert (code, output, len(errors.splitlines())) == (1, "", 1), errors
    assert said in errors
    assert "error in maggjob itself" not in errors
    assert "Traceback" not in errors
    assert sorted(path.name for path in here.rglob("*")) == before
    assert not (here.parent / "cache").exists()


def test_a_catalog_and_a_search_are_one_too_many(maggjob: Typed) -> None:
    plain = yaml.safe_load(builtin_configs()["atl06.yaml"].read_text())
    Path("mine.yaml").write_text(yaml.safe_dump(plain | {"catalog": "catalog.json", "search": {"cycle": 22}}))
    for command in ("run", "plan"):
        code, output, errors = maggjob(command, "--config", "mine.yaml")
        assert (code, output) == (1, "")
        assert "catalog and search both select granules" in errors
    assert [path.name for path in Path().iterdir()] == ["mine.yaml"]


def test_a_catalog_that_is_there_stays_when_the_new_one_fails(maggjob: Typed, granules: Path) -> None:
    maggjob("catalog", "--from-files", granules)
    before = Path("catalog.json").read_bytes()
    assert maggjob("catalog", "--from-files", granules, "--aoi", "greenland")[0] == 1
    assert Path("catalog.json").read_bytes() == before


# ---- plan, and the run that follows


def plan_of(maggjob: Typed, *options: object) -> dict[str, Any]:
    code, said, errors = maggjob("plan", "--config", "atl06.yaml", "--json", *options)
    assert (code, errors) == (0, "")
    plain: dict[str, Any] = json.loads(said)
    return plain


def test_a_plan_is_what_the_run_does(maggjob: Typed, granules: Path) -> None:
    maggjob("catalog", "--from-files", granules)
    plain = plan_of(maggjob, "--workers", 40)
    assert sorted(path.name for path in Path().iterdir()) == ["catalog.json"]
    code, said, _ = maggjob("run", "--config", "atl06.yaml", "--backend", "serial")
    assert code == 0
    done = read_summary("atl06.zarr")
    for key in ("total_cells", "total_granules", "total_pairs", "driver", "window", "run_digest", "store_path"):
        assert plain[key] == done[key], key
    rows = done["segments"]["rows"]
    assert plain["estimate"]["observations"] == pytest.approx(KEPT_SHARE * rows)
    assert plain["estimate"]["observations"] == pytest.approx(done["total_obs"], rel=0.08)
    assert json.loads(json.dumps(plain["estimate"])) == done["estimate"]
    assert plain["lambda"]["workers"] == 40
    assert len(plain["lambda"]["bill"]) == 7
    assert f"{plain['estimate']['observations']:,.0f} observations (was {done['total_obs']:,})" in said


def test_an_area_is_planned_by_its_share(maggjob: Typed, granules: Path) -> None:
    """Within an area, a granule's segments are taken as spread evenly over its cells: a guess, not far off."""
    maggjob("catalog", "--from-files", granules, "--aoi", "-104.5,-75.7,-103.2,-75.4")
    plain = plan_of(maggjob)
    assert maggjob("run", "--config", "atl06.yaml", "--backend", "serial")[0] == 0
    done = read_summary("atl06.zarr")
    assert 0.5 < plain["estimate"]["observations"] / done["total_obs"] < 2.0
    assert done["segments"]["outside"] > 0


@pytest.mark.dear("a picture; test_plan_map draws some")
def test_a_map_is_drawn_beside_text_and_json(maggjob: Typed, granules: Path) -> None:
    maggjob("catalog", "--from-records", granules.parent / "records.json", "--version", "006")
    code, said, errors = maggjob("plan", "--config", "atl06.yaml", "--map", "plan.png")
    assert (code, errors) == (0, "")
    assert "plan.png" in said.splitlines()[-1]
    assert Path("plan.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    code, said, errors = maggjob("plan", "--config", "atl06.yaml", "--json", "--map", "again.png")
    assert code == 0
    assert json.loads(said)["total_granules"] > 0  # nothing but JSON
    assert "again.png" in errors
    assert Path("again.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--map", "nowhere/plan.png"], "cannot draw the plan"),
        (["--workers", "0"], "0 is not in the range"),
        (["--workers", "-3"], "-3 is not in the range"),
        (["--max-cells", "0"], "give 1 or more"),
        (["--driver", "ftp"], "'ftp' is unknown"),
        (["--driver", "s3"], "has URLs for file only"),
    ],
    ids=str,
)
def test_a_plan_that_cannot_be_is_refused(maggjob: Typed, granules: Path, options: list[str], said: str) -> None:
    maggjob("catalog", "--from-files", granules)
    code, _, errors = maggjob("plan", "--config", "atl06.yaml", *options)
    assert code == 1
    assert said in errors
    assert "error in maggjob itself" not in errors
    assert sorted(path.name for path in Path().iterdir()) == ["catalog.json"]


def test_help_names_what_there_is(maggjob: Typed) -> None:
    for command, options in (
        ("catalog", "--cycle --cycles --start --end --aoi --from-records --from-files --info"),
        ("plan", "--workers --map --json --catalog"),
    ):
        code, said, _ = maggjob(command, "--help")
        assert code == 0
        assert all(option in said for option in options.split())
        assert "\\b" not in said
