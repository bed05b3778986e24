"""The Zarr: opened by plain xarray and xdggs, in its place on Earth, whole or not there at all."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
import xdggs
import yaml
import zarr

import maggjob
from maggjob import Config
from maggjob.backend.settings import lithops_config
from maggjob.catalog.catalog import Catalog
from maggjob.catalog.local import from_files
from maggjob.config.load import builtin_configs
from maggjob.errors import LedgerError, StoreError
from maggjob.grid.healpix import format_cell, nested_to_word, parse_cell
from maggjob.jobs import shards
from maggjob.jobs.parts import pack, unpack
from maggjob.model.reports import CellReport
from maggjob.model.tasks import CellTask
from maggjob.pipeline.result import RunResult
from maggjob.pipeline.status import read_status
from maggjob.planning import division
from maggjob.planning.plan import Plan
from maggjob.storage.run_folder import KEPT, RUN, VERSIONS
from tests.granule_files import SEGMENTS, beam, write_granule
from tests.oracle import differences, nested, reference

CONVENTIONS = ("authalic", "geodetic-spherical")
STATISTICS = ["count", "h_max", "h_mean", "h_min", "h_q25", "h_q50", "h_q75", "h_sigma", "h_variance"]
CANNOT_OPEN = (FileNotFoundError, KeyError)


def config(latitude: str = "authalic", parent: int = 6, child: int = 12, morton: str | None = "int64") -> Config:
    plain = yaml.safe_load(builtin_configs()["atl06.yaml"].read_text())
    plain["output"]["grid"] |= {"latitude": latitude, "parent_order": parent, "child_order": child}
    plain["aggregation"]["coordinates"]["morton"] = morton and {"dtype": morton, "fill_value": 0}
    return maggjob.load_config(plain)


@pytest.fixture(scope="module")
def granules(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return three granules of two beams in five cells; the third shares one cell and has two alone."""
    folder = tmp_path_factory.mktemp("granules")
    return [
        write_granule(
            folder / f"ATL06_2019022203120{i}_085{i}0211_006_01.h5",
            {
                b: beam(120, seed=9 * i + k, south=s, west=w + 0.05 * k, step=8e-3)
                for k, b in enumerate(("gt1l", "gt2r"))
            },
        )
        for i, (s, w) in enumerate(((-74.6, -100.0), (-75.2, -101.0), (-75.0, -99.0)))
    ]


def catalog_of(paths: Sequence[Path], settings: Config) -> Catalog:
    return from_files([str(path) for path in paths], settings.recipe())


def do(settings: Config, paths: Sequence[Path], store: Path, **options: Any) -> RunResult:
    catalog = options.pop("catalog", None) or catalog_of(paths, settings)
    result = maggjob.run(settings, catalog=catalog, store=str(store), **({"backend": "serial"} | options))
    assert isinstance(result, RunResult)
    return result


@pytest.fixture(scope="module")
def stores(granules: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunResult]:
    """A run in either latitude convention."""
    folder = tmp_path_factory.mktemp("stores")
    return {latitude: do(config(latitude), granules, folder / f"{latitude}.zarr") for latitude in CONVENTIONS}


@pytest.fixture(scope="module")
def made(stores: dict[str, RunResult]) -> RunResult:
    return stores["authalic"]


def opened(store: str | Path, group: str = "12") -> xr.Dataset:
    return xr.open_zarr(store, group=group).load()


def tree(folder: str | Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def columns(dataset: xr.Dataset) -> dict[str, np.ndarray]:
    return {name: dataset[name].to_numpy() for name in [*STATISTICS, "cell_ids"]}


# ---- what is in it


@pytest.mark.parametrize("latitude", CONVENTIONS)
def test_it_is_what_the_oracle_says(stores: dict[str, RunResult], granules: list[Path], latitude: str) -> None:
    dataset = opened(stores[latitude].store_path)
    values = columns(dataset)
    assert differences(values, values["cell_ids"], reference(granules, 12, latitude)) == []
    tally = stores[latitude].tally
    assert int(dataset["count"].sum()) == tally.observations == tally.segments["kept"] > 0


def test_real_granules_are_what_the_oracle_says(real_granules: list[Path], tmp_path: Path) -> None:
    result = do(config(), real_granules, tmp_path / "map.zarr")
    values = columns(opened(result.store_path))
    assert differences(values, values["cell_ids"], reference(real_granules, 12, "authalic")) == []
    assert result.complete


@pytest.mark.dear("a whole run per pair of orders", keep=("8-8", "6-8"))
@pytest.mark.parametrize(("parent", "child"), [(8, 8), (6, 8), (9, 11), (4, 9)])
def test_other_orders_are_what_the_oracle_says(granules: list[Path], tmp_path: Path, parent: int, child: int) -> None:
    settings = config(parent=parent, child=child)
    result = do(settings, granules, tmp_path / "map.zarr")
    assert result.group == str(child)
    dataset = opened(result.store_path, str(child))
    assert dataset.sizes == {"cells": len(result.plan.cells) * 4 ** (child - parent)}
    values = columns(dataset)
    assert differences(values, values["cell_ids"], reference(granules, child, "authalic")) == []
    assert dataset.dggs.decode().dggs.grid_info.level == child


def test_rows_are_all_children_of_the_planned_cells_in_order(made: RunResult) -> None:
    dataset = opened(made.store_path)
    ids = dataset["cell_ids"].to_numpy()
    assert (np.diff(ids.astype(np.int64)) > 0).all()
    assert sorted(set((ids >> np.uint64(12)).tolist())) == sorted(made.plan.cells)
    assert len(ids) == 4096 * len(made.plan.cells)


def test_types_and_fills_are_those_of_the_configuration(made: RunResult) -> None:
    dataset = opened(made.store_path)
    assert sorted(dataset.data_vars) == STATISTICS
    assert sorted(dataset.coords) == ["cell_ids", "morton"]
    assert {v.dims for v in dataset.variables.values()} == {("cells",)}
    kinds = {str(name): str(v.dtype) for name, v in dataset.variables.items()}
    assert kinds == {"cell_ids": "uint64", "morton": "int64", "count": "int32"} | dict.fromkeys(
        STATISTICS[1:], "float32"
    )
    without = (dataset["count"] == 0).to_numpy()
    assert 0 < without.sum() < len(without)
    for name in STATISTICS[1:]:
        assert np.array_equal(np.isnan(dataset[name].to_numpy()), without), name
        assert np.isnan(zarr.open_array(Path(made.store_path) / "12" / name).fill_value)
    assert zarr.open_array(Path(made.store_path) / "12" / "count").fill_value == 0


def test_morton_is_the_signed_decimal_id(made: RunResult) -> None:
    dataset = opened(made.store_path)
    pairs = zip(dataset["morton"].to_numpy()[::97], dataset["cell_ids"].to_numpy()[::97], strict=True)
    for morton, cell in pairs:
        assert parse_cell(str(morton), 12) == cell
        assert format_cell(int(cell), 12) == str(morton)
        assert format_cell(int(cell) >> 12, 6) == str(morton)[:8]


def test_morton_may_be_the_packed_word_or_left_out(granules: list[Path], tmp_path: Path) -> None:
    words = opened(do(config(morton="uint64"), granules[:1], tmp_path / "words.zarr").store_path)
    assert words["morton"].dtype == np.uint64
    assert np.array_equal(words["morton"], nested_to_word(words["cell_ids"].to_numpy(), 12))
    assert parse_cell(str(int(words["morton"][5])), 12) == int(words["cell_ids"][5])
    without = opened(do(config(morton=None), granules[:1], tmp_path / "without.zarr").store_path)
    assert list(without.coords) == ["cell_ids"]
    assert np.array_equal(without["h_mean"], words["h_mean"], equal_nan=True)


# ---- where it is


def positions(paths: Sequence[Path], latitude: str) -> dict[int, tuple[float, float]]:
    """Mean longitude and latitude of the segments in each child, by h5py."""
    found: dict[int, list[tuple[float, float]]] = {}
    for path in paths:
        with h5py.File(path) as file:
            for group in file.values():
                if SEGMENTS not in group or "latitude" not in group[SEGMENTS]:
                    continue
                lat, lon = group[SEGMENTS]["latitude"][:], group[SEGMENTS]["longitude"][:]
                for cell, at in zip(nested(lat, lon, 12, latitude).tolist(), zip(lon, lat, strict=True), strict=True):
                    found.setdefault(cell, []).append(at)
    return {cell: (float(np.mean([x for x, _ in a])), float(np.mean([y for _, y in a]))) for cell, a in found.items()}


def distances(dataset: xr.Dataset, truth: dict[int, tuple[float, float]]) -> np.ndarray:
    """Kilometres from the centre of each cell with data to the mean of its segments."""
    assert isinstance(dataset.dggs.grid_info, xdggs.HealpixInfo)
    with_data = (dataset["count"] > 0).to_numpy()
    centres = dataset.dggs.cell_centers().isel(cells=with_data)
    ids = dataset["cell_ids"].to_numpy()[with_data].tolist()
    assert ids
    lon, lat = np.radians(np.array([truth[i] for i in ids])).T
    lon0, lat0 = np.radians(centres["longitude"].to_numpy()), np.radians(centres["latitude"].to_numpy())
    a = np.sin((lat - lat0) / 2) ** 2 + np.cos(lat) * np.cos(lat0) * np.sin((lon - lon0) / 2) ** 2
    return 2 * 6371.0 * np.arcsin(np.sqrt(a))


@pytest.mark.parametrize("latitude", CONVENTIONS)
def test_cells_lie_where_their_segments_lie(stores: dict[str, RunResult], granules: list[Path], latitude: str) -> None:
    """Either ellipsoid puts the other's cells some 7 km away: the test would notice."""
    dataset, truth = opened(stores[latitude].store_path), positions(granules, latitude)
    decoded = dataset.dggs.decode()
    assert decoded.dggs.grid_info.level == 12
    assert decoded.dggs.grid_info.indexing_scheme == "nested"
    assert distances(decoded, truth).max() < 2.0

    other = opened(stores[next(c for c in CONVENTIONS if c != latitude)].store_path)
    mistaken = dataset.copy()
    mistaken.attrs = other.attrs
    mistaken["cell_ids"].attrs = other["cell_ids"].attrs
    assert distances(mistaken.dggs.decode(), truth).min() > 4.0


@pytest.mark.dear("the other convention of latitudes has a test of its own", keep=("authalic",))
@pytest.mark.parametrize("latitude", CONVENTIONS)
def test_cells_of_real_granules_lie_where_their_segments_lie(
    real_granules: list[Path], tmp_path: Path, latitude: str
) -> None:
    result = do(config(latitude), real_granules, tmp_path / "map.zarr")
    away = distances(opened(result.store_path).dggs.decode(), positions(real_granules, latitude))
    assert len(away) > 500
    assert away.max() < 2.0


# ---- what it says of itself


def test_variables_say_what_they_are(made: RunResult) -> None:
    dataset = opened(made.store_path)
    attributes = {name: dataset[name].attrs for name in STATISTICS}
    assert attributes["count"] == {"long_name": "number of segments", "units": "1"}
    assert attributes["h_mean"]["units"] == "meters"
    assert attributes["h_mean"]["cell_methods"] == "area: mean"
    assert attributes["h_mean"]["long_name"] == "h_li, weighted mean"
    assert attributes["h_variance"]["units"] == "meters2"
    assert attributes["h_sigma"]["long_name"] == "formal standard error of h_mean"
    assert {attributes[f"h_{name}"]["cell_methods"] for name in ("min", "max")} == {"area: minimum", "area: maximum"}
    assert set(dataset["cell_ids"].attrs) == {"grid_name", "level", "indexing_scheme", "ellipsoid"}


def test_the_group_says_where_it_comes_from(made: RunResult, granules: list[Path]) -> None:
    attributes = opened(made.store_path).attrs
    assert attributes["Conventions"].startswith("CF-")
    assert attributes["tally"]["observations"] == made.tally.observations
    for kind in ("cells", "granules", "segments"):
        assert attributes["tally"][kind] == dict(getattr(made.tally, kind))
    assert attributes["config_digest"] == made.plan.config.digest
    assert attributes["run_digest"] == made.plan.digest
    assert maggjob.load_config(json.loads(attributes["config"])).digest == made.plan.config.digest
    assert attributes["cycles"] == [2]
    assert (attributes["number_of_granules"], attributes["number_of_reference_ground_tracks"]) == (3, 3)
    assert (attributes["product"], attributes["product_version"]) == (["ATL06"], ["006"])
    assert attributes["source_doi"] == ["10.5067/ATLAS/ATL06.006"]
    assert "WGS84" in attributes["vertical_datum"]
    assert attributes["latitude_convention"] == "authalic"
    assert set(attributes["dggs"]["ellipsoid"]) == {"name", "semi_major_axis", "inverse_flattening"}
    assert not [key for key in attributes if "created" in key or "history" in key]


def test_the_root_says_which_group_to_open(made: RunResult) -> None:
    root = xr.open_zarr(made.store_path)
    assert not root.variables
    assert f"group={root.attrs['group']!r}" in root.attrs["comment"]
    assert opened(made.store_path, root.attrs["group"])["count"].sum() == made.tally.observations
    assert root.attrs["title"] == opened(made.store_path).attrs["title"]


@pytest.mark.parametrize("latitude", CONVENTIONS)
@pytest.mark.parametrize("kind", ["pandas", "moc"])
def test_either_index_of_xdggs_finds_the_cells(stores: dict[str, RunResult], latitude: str, kind: str) -> None:
    store = stores[latitude].store_path
    dataset = xr.open_zarr(store, group="12").dggs.decode(index_options={"index_kind": kind})
    centres = dataset.dggs.cell_centers()
    ids = nested(centres["latitude"].to_numpy(), centres["longitude"].to_numpy(), 12, latitude)
    assert np.array_equal(ids, opened(store)["cell_ids"])


def seconds(text: str) -> float:
    moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    return (moment - datetime(2018, 1, 1, tzinfo=UTC)) / timedelta(seconds=1)


def test_its_time_is_that_of_the_segments_kept(granules: list[Path], tmp_path: Path) -> None:
    kept = []
    for path in granules:
        with h5py.File(path) as file:
            for group in file.values():
                data = group[SEGMENTS]
                kept.append(data["delta_time"][:][data["atl06_quality_summary"][:] == 0])
    attributes = opened(do(config(), granules, tmp_path / "map.zarr").store_path).attrs
    times = np.concatenate(kept)
    assert seconds(attributes["time_coverage_start"]) == pytest.approx(times.min(), abs=2e-6)
    assert seconds(attributes["time_coverage_end"]) == pytest.approx(times.max(), abs=2e-6)


def test_a_variable_is_two_files(made: RunResult) -> None:
    files = sorted(tree(made.store_path))
    arrays = [*STATISTICS, "cell_ids", "morton"]
    assert files == sorted(
        ["zarr.json", "12/zarr.json", *(f"12/{a}/zarr.json" for a in arrays), *(f"12/{a}/c/0" for a in arrays)]
    )


# ---- whole, or not there


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.dear("a whole assembly per moment", keep=("3-True", "10-False"))
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("at", [0, 3, 10])
def test_a_failure_on_the_way_leaves_what_there_was(
    granules: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool, at: int
) -> None:
    store = tmp_path / "map.zarr"
    if overwrite:
        do(config(), granules[:1], store)
    before = contents(store)
    write, written = shards._write, []

    def write_some(*arguments: Any, **options: Any) -> int:
        if len(written) == at:
            raise OSError("no room left on the device")
        written.append(arguments)
        return write(*arguments, **options)

    monkeypatch.setattr(shards, "_write", write_some)
    with pytest.raises(StoreError, match="no room left"):
        do(config(), granules, store, overwrite=overwrite)
    assert len(written) == at
    assert store.exists() == overwrite
    assert contents(store) == before
    run = tmp_path / "map.zarr.run"
    named_by_content = ("granules-", "shared-")  # what tasks hold: no harm, and no result
    left = {path.name for path in run.iterdir() if not path.name.startswith(named_by_content)}
    assert left <= {"parts", RUN, VERSIONS, *KEPT}
    assert read_status(str(store)).stage == "stopped"
    assert (run / "summary.json").exists() == overwrite
    monkeypatch.undo()
    result = do(config(), granules, store, overwrite=True)
    assert int(opened(store)["count"].sum()) == result.tally.observations


def test_overwriting_leaves_nothing_of_what_was_there(granules: list[Path], made: RunResult, tmp_path: Path) -> None:
    store = tmp_path / "map.zarr"
    do(config(child=11), granules, store)
    do(config(), granules, store, overwrite=True)
    assert tree(store) == tree(made.store_path)


# ---- the same bytes


def test_two_runs_give_the_same_bytes(granules: list[Path], made: RunResult, tmp_path: Path) -> None:
    again = do(config(), granules, tmp_path / "again.zarr")
    assert tree(again.store_path) == tree(made.store_path)
    assert tree(f"{again.plan.run_path}/parts") == tree(f"{made.plan.run_path}/parts")


@pytest.mark.dear("a run with two workers; make test has one in tests/pipeline/test_cell_map.py")
def test_localhost_gives_the_same_bytes_as_serial(granules: list[Path], made: RunResult, tmp_path: Path) -> None:
    lithops = do(
        config(),
        granules,
        tmp_path / "lithops.zarr",
        backend="localhost",
        max_workers=2,
        lithops_config=lithops_config("localhost", 2),
    )
    assert tree(lithops.store_path) == tree(made.store_path)
    assert tree(f"{lithops.plan.run_path}/parts") == tree(f"{made.plan.run_path}/parts")


@pytest.mark.dear("a whole run per number of shards", keep=("3",))
@pytest.mark.parametrize("cells", [1, 2, 3])
def test_several_shards_hold_the_same(
    granules: list[Path], made: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: int
) -> None:
    monkeypatch.setattr(division, "SHARD_ROWS", cells * 4096 + 5)
    monkeypatch.setattr(division, "CHUNK_ROWS", 4096)
    result = do(config(), granules, tmp_path / "map.zarr")
    shards = -(-len(made.plan.cells) // cells)
    assert shards > 1
    assert len([name for name in tree(result.store_path) if name.startswith("12/h_mean/c/")]) == shards
    xr.testing.assert_identical(opened(result.store_path), opened(made.store_path))


# ---- what is not as it was said


@pytest.fixture
def mapped(granules: list[Path], tmp_path: Path) -> tuple[Plan, list[CellTask], list[CellReport]]:
    """A run before it is assembled."""
    catalog, store = catalog_of(granules, config()), str(tmp_path / "map.zarr")
    plan = maggjob.plan(config(), catalog=catalog, store=store)
    tasks = maggjob.tasks(config(), catalog=catalog, store=store)
    return plan, tasks, [maggjob.map_cell(task) for task in tasks]


Mapped = tuple[Plan, list[CellTask], list[CellReport]]


def nothing_is_there(plan: Plan) -> None:
    for group in ("12", None):
        with pytest.raises(CANNOT_OPEN):
            xr.open_zarr(str(plan.store_path), group=group)
    assert not list(Path(str(plan.store_path)).glob("**/h_mean/c/*"))


def test_assembling_by_hand_gives_the_same_bytes(mapped: Mapped, made: RunResult) -> None:
    result = maggjob.assemble_run(*mapped)
    assert tree(result.store_path) == tree(made.store_path)
    assert result.tally == made.tally


@pytest.mark.parametrize("last", ["whole", "failed"])
def test_a_backup_that_met_a_failure_replaces_nothing(
    mapped: Mapped, made: RunResult, granules: list[Path], last: str
) -> None:
    """If a task has two calls, either may write last, and the report of either may be taken."""
    plan, tasks, reports = mapped
    number = next(n for n, report in enumerate(reports) if sum(g.kept > 0 for g in report.granules) > 1)
    path = next(path for path in granules if path.stem == reports[number].granules[0].id)
    aside = path.rename(path.with_suffix(".away"))
    try:
        backup = maggjob.map_cell(tasks[number])
    finally:
        aside.rename(path)
    if last == "whole":
        assert maggjob.map_cell(tasks[number]).part == reports[number].part
    assert backup.state == "partial"
    assert 0 < backup.observations < reports[number].observations

    result = maggjob.assemble_run(plan, tasks, reports)
    assert (tree(result.store_path), result.tally) == (tree(made.store_path), made.tally)

    taken = [backup if n == number else report for n, report in enumerate(reports)]
    result = maggjob.assemble_run(plan, tasks, taken, overwrite=True, allow_partial=True)
    lost = reports[number].observations - backup.observations
    assert result.tally.cells["partial"] == 1
    assert result.tally.observations == made.tally.observations - lost
    with xr.open_zarr(result.store_path, group="12") as data:
        assert int(data["count"].sum()) == result.tally.observations


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-30]),
        lambda path: path.write_bytes(path.read_bytes().replace(b"kept", b"cept", 1)),
        lambda path: path.write_bytes(flipped(path.read_bytes(), len(path.read_bytes()) // 2)),
    ],
)
def test_a_part_that_is_lost_or_damaged_is_named(mapped: Mapped, spoil: Callable[[Path], object]) -> None:
    plan, tasks, reports = mapped
    spoil(Path(str(tasks[2].part)))
    with pytest.raises(StoreError, match=tasks[2].id):
        maggjob.assemble_run(plan, tasks, reports)
    nothing_is_there(plan)


def test_a_damaged_part_leaves_the_old_result(mapped: Mapped, granules: list[Path]) -> None:
    plan, tasks, reports = mapped
    maggjob.assemble_run(plan, tasks, reports)
    before = tree(str(plan.store_path))
    Path(str(tasks[0].part)).unlink()
    with pytest.raises(StoreError, match=tasks[0].id):
        maggjob.assemble_run(plan, tasks, reports, overwrite=True)
    assert tree(str(plan.store_path)) == before


def test_a_part_of_another_cell_or_run_is_refused(mapped: Mapped) -> None:
    plan, tasks, reports = mapped
    one, other = Path(str(tasks[0].part)), Path(str(tasks[1].part))
    own = one.read_bytes()
    one.write_bytes(other.read_bytes())
    with pytest.raises(StoreError, match=f"belongs to {tasks[1].id}"):
        maggjob.assemble_run(plan, tasks, reports)
    one.write_bytes(own)
    with pytest.raises(StoreError, match="belongs to"):
        maggjob.assemble_run(plan, [replace(task, run="0" * 64) for task in tasks], reports)
    nothing_is_there(plan)


def more(report: CellReport, state: str, by: int) -> CellReport:
    return replace(report, segments=dict(report.segments) | {state: report.segments[state] + by})


@pytest.mark.parametrize(
    "alter",
    [
        lambda reports: [more(reports[0], "kept", 1), *reports[1:]],
        lambda reports: [more(reports[0], "kept", 1), more(reports[1], "kept", -1), *reports[2:]],
        lambda reports: [more(reports[0], "quality", 1), *reports[1:]],
        lambda reports: [replace(reports[0], state="partial"), *reports[1:]],
        lambda reports: [replace(reports[0], granules=()), *reports[1:]],
        lambda reports: reports[1:],
        lambda reports: [*reports, reports[0]],
    ],
    ids=["observations", "between cells", "states", "cell state", "granules", "one is missing", "one is there twice"],
)
def test_reports_that_disagree_with_parts_are_refused(
    mapped: Mapped, alter: Callable[[list[CellReport]], list[CellReport]]
) -> None:
    plan, tasks, reports = mapped
    with pytest.raises(LedgerError):
        maggjob.assemble_run(plan, tasks, alter(reports))
    nothing_is_there(plan)


def test_data_that_disagree_with_the_ledger_are_refused(mapped: Mapped) -> None:
    plan, tasks, reports = mapped
    path = Path(str(tasks[0].part))
    part = unpack(path.read_bytes(), "part", 12)
    level = part.levels[12]
    count = level.values["count"].copy()
    count[0] += 1
    path.write_bytes(pack(part.ledger, [replace(level, values={**level.values, "count": count})]))
    with pytest.raises(LedgerError, match="count sums to"):
        maggjob.assemble_run(plan, tasks, reports)
    for group in ("12", None):
        with pytest.raises(CANNOT_OPEN):
            xr.open_zarr(str(plan.store_path), group=group)


def flipped(content: bytes, position: int) -> bytes:
    changed = bytearray(content)
    changed[position] ^= 0x10
    return bytes(changed)


@pytest.mark.parametrize("variable", ["h_mean", "count", "cell_ids", "morton"])
def test_a_flipped_bit_is_an_error_and_no_wrong_value(mapped: Mapped, variable: str) -> None:
    store = maggjob.assemble_run(*mapped).store_path
    path = Path(store) / "12" / variable / "c" / "0"
    content = path.read_bytes()
    truth = zarr.open_array(path.parents[1])[:]
    index = 16 * len(mapped[1]) + 4
    chunks = len(content) - index
    for position in [*range(0, chunks, chunks // 25), chunks + 1, len(content) - 1]:
        path.write_bytes(flipped(content, position))
        with pytest.raises((ValueError, RuntimeError)):
            zarr.open_array(path.parents[1])[:]
    path.write_bytes(content)
    assert np.array_equal(zarr.open_array(path.parents[1])[:], truth, equal_nan=variable == "h_mean")


def test_failed_cells_are_fill(granules: list[Path], made: RunResult, tmp_path: Path) -> None:
    copies = [tmp_path / path.name for path in granules]
    for path, copy in zip(granules, copies, strict=True):
        copy.write_bytes(path.read_bytes())
    catalog = catalog_of(copies, config())
    copies[2].write_bytes(copies[2].read_bytes()[:-1000])
    result = do(config(), copies, tmp_path / "map.zarr", catalog=catalog)
    assert result.tally.cells == {"planned": 5, "complete": 2, "empty": 0, "partial": 1, "failed": 2}
    assert result.tally.granules == {"used": 2, "no_overlap": 0, "failed": 1}
    assert result.tally.errors["truncated"]["count"] == 3
    failed = [parse_cell(report.cell, 6) for report in result.reports if report.state == "failed"]
    dataset, whole = opened(result.store_path), opened(made.store_path)
    assert np.array_equal(dataset["cell_ids"], whole["cell_ids"])
    of_failed = np.isin(dataset["cell_ids"].to_numpy() >> np.uint64(12), np.array(failed, np.uint64))
    assert of_failed.sum() == 2 * 4096
    assert not dataset["count"].to_numpy()[of_failed].any()
    assert whole["count"].to_numpy()[of_failed].any()
    assert np.isnan(dataset["h_mean"].to_numpy()[of_failed]).all()
    values = columns(dataset)
    assert differences(values, values["cell_ids"], reference(granules[:2], 12, "authalic")) == []
    assert dataset.attrs["tally"]["cells"]["failed"] == 2
    assert dataset.attrs["number_of_granules"] == 2
