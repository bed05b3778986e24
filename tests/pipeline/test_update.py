"""Results with a time axis, and their updates: the same bytes as one run over everything, whatever happened before."""

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import maggjob
from maggjob.catalog.catalog import Catalog
from maggjob.errors import CatalogError, ConfigError, ExistsError, InputError, MaggjobError, StoreError
from maggjob.output.zarr_store import ROOT
from maggjob.pipeline.result import clean
from maggjob.planning.windows import area_rows
from maggjob.show.text import history_text, update_dict, update_text
from maggjob.storage.folder import Folder
from maggjob.storage.lock import RunLock
from tests.runs import files
from tests.servers import s3_server

AREA = (-104.5, -75.6, -103.2, -75.2)
CYCLES = (20, 21, 23)
RUN = {"backend": "serial", "indexes": "indexes"}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Granules of three cycles, with one between them missing."""
    folder = tmp_path_factory.mktemp("update") / "granules"
    return [str(p) for p in maggjob.simulate(folder, cycles=CYCLES, area=AREA, every=60, most=4)]


def configured(time: str = "cycle", **output: Any) -> dict[str, Any]:
    plain = maggjob.load_config("atl06_dem.yaml").model_dump(mode="json", exclude_none=True)
    plain["output"] |= {"time": time, **output}
    return plain


def of_cycles(paths: list[str], *cycles: int) -> list[str]:
    return [path for path in paths if int(Path(path).name[25:27]) in cycles]


def catalog_of(paths: list[str], time: str = "cycle", **output: Any) -> Catalog:
    return maggjob.make_catalog(paths, configured(time, **output), aoi=AREA)


def do(paths: list[str], store: str, time: str = "cycle", **options: Any) -> maggjob.RunResult:
    result = maggjob.run(configured(time), catalog=catalog_of(paths, time), store=store, **(RUN | options))
    assert isinstance(result, maggjob.RunResult)
    return result


def updated(store: str, paths: list[str], time: str = "cycle", **options: Any) -> maggjob.RunResult:
    result = maggjob.update(store, catalog=catalog_of(paths, time), **(RUN | options))
    assert isinstance(result, maggjob.RunResult), update_text(result)
    return result


def by_cycle(paths: list[str]) -> dict[int, int]:
    """Number of segments kept of each cycle, by h5py."""
    import h5py

    found: dict[int, int] = {}
    for path in paths:
        cycle = int(Path(path).name[25:27])
        with h5py.File(path) as file:
            for beam in (name for name in file if name.startswith("gt")):
                group = file[beam]["land_ice_segments"]
                good = (group["atl06_quality_summary"][:] == 0) & (group["h_li"][:] < 1e30)
                found[cycle] = found.get(cycle, 0) + int(good.sum())
    return found


# --- The axis ---


@pytest.mark.dear("four runs")
def test_each_cycle_is_what_a_run_of_it_alone_gives(paths: list[str]) -> None:
    do(paths, "all.zarr")
    ds = xr.open_zarr("all.zarr", group="12")
    assert dict(ds.sizes)["cycle"] == 4
    assert ds.cycle.values.tolist() == [20, 21, 22, 23]
    assert ds.granules.values.tolist() == [len(of_cycles(paths, cycle)) for cycle in (20, 21, 22, 23)]
    for cycle in CYCLES:
        do(of_cycles(paths, cycle), "one.zarr", "none", overwrite=True)
        one = xr.open_zarr("one.zarr", group="12")
        own = ds.sel(cycle=cycle).sel(cells=np.isin(ds.cell_ids.values, one.cell_ids.values))
        for name in one.data_vars:
            np.testing.assert_array_equal(own[name].values, one[name].values)
        start, end = str(own.time_start.values), str(own.time_end.values)
        assert start[:22] == one.attrs["time_coverage_start"][:22]
        assert end[:22] == one.attrs["time_coverage_end"][:22]
    assert int(ds["count"].sel(cycle=22).sum()) == 0
    assert np.isnat(ds.time_start.sel(cycle=22).values)
    kept = by_cycle(paths)
    assert {c: int(ds["count"].sel(cycle=c).sum()) for c in CYCLES} == kept


@pytest.mark.dear("a run of several cycles, and copies of it")
def test_the_result_opens_with_xdggs_and_converts(paths: list[str]) -> None:
    do(paths, "all.zarr")
    ds = maggjob.open_result("all.zarr")
    assert ds.dggs.grid_info.level == 12
    assert ds.sel(cycle=23).dh_mean.dims == ("cells",)
    # Without the cycle that has no times: xarray warns of those.
    ds.sel(cycle=[20, 21, 23]).to_zarr("copy.zarr", consolidated=False)
    ids = xr.open_zarr("copy.zarr", consolidated=False).cell_ids.values
    assert ids.tolist() == ds.cell_ids.values.tolist()


@pytest.mark.dear("whole runs")
def test_rows_are_all_cells_of_the_area(paths: list[str]) -> None:
    catalog = catalog_of(paths)
    plan = maggjob.plan(configured(), catalog=catalog)
    assert plan.cells == area_rows(catalog) == tuple(maggjob.area_cells(AREA).tolist())
    assert {one.window: len(one.cells) for one in plan.each}["cycle22"] == 0


@pytest.mark.dear("whole runs")
def test_a_shard_holds_one_cycle(paths: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maggjob.planning.division.SHARD_ROWS", 1)
    do(paths, "all.zarr")
    keys = sorted(key for key in files("all.zarr/12/dh_mean") if key != "zarr.json")
    rows = len(maggjob.area_cells(AREA)) * 4096 // (4 * 4096)
    assert keys == sorted(f"c/{cycle}/{row}" for cycle in range(4) for row in range(max(1, rows)))


@pytest.mark.dear("four runs")
@pytest.mark.parametrize("index", [True, False])
def test_with_and_without_indexes_and_on_workers(paths: list[str], index: bool) -> None:
    do(paths, "all.zarr")
    do(paths, "again.zarr", index=index, backend="localhost", max_workers=2)
    assert files("all.zarr") == files("again.zarr")


@pytest.mark.dear("another axis")
def test_months(paths: list[str]) -> None:
    do(paths, "months.zarr", "month")
    with maggjob.open_result("months.zarr") as ds:
        months = sorted({Path(path).name[6:12] for path in paths})
        with_data = ds.month.values[ds.granules.values > 0]
        assert [str(month)[:7].replace("-", "") for month in with_data] == months
        assert int(ds["count"].sum()) == sum(by_cycle(paths).values())
        assert np.diff(ds.month.values).astype("timedelta64[D]").astype(int).min() >= 28


@pytest.mark.dear("another axis")
def test_a_first_window_before_all_granules_is_empty(paths: list[str]) -> None:
    config = configured(first=19)
    result = maggjob.run(config, catalog=catalog_of(paths, first=19), store="all.zarr", **RUN)
    assert isinstance(result, maggjob.RunResult)
    with maggjob.open_result("all.zarr") as ds:
        assert ds.cycle.values.tolist() == [19, 20, 21, 22, 23]
        assert int(ds["count"].sel(cycle=19).sum()) == 0


BAD_AXES: dict[str, tuple[dict[str, Any], str]] = {
    "another kind": ({"time": "year"}, "'year'"),
    "a first window without an axis": ({"time": "none", "first": 3}, "first"),
    "a cycle of text": ({"time": "cycle", "first": "2019-01"}, "cycle from 1 to 99"),
    "a month of a number": ({"time": "month", "first": 3}, "2019-04"),
    "a month that does not exist": ({"time": "month", "first": "2019-13"}, "2019-13"),
}


@pytest.mark.parametrize("what", BAD_AXES)
def test_axes_that_are_refused(what: str) -> None:
    output, part = BAD_AXES[what]
    with pytest.raises(ConfigError, match=part):
        maggjob.load_config(configured(**output))


def test_a_fit_over_time_has_no_axis() -> None:
    plain = maggjob.load_config("atl06_trend.yaml").model_dump(mode="json", exclude_none=True)
    plain["output"]["time"] = "cycle"
    with pytest.raises(ConfigError, match=r"trend.*output\.time"):
        maggjob.load_config(plain)


def test_granules_before_the_first_window_are_named(paths: list[str]) -> None:
    config = configured(first=21)
    with pytest.raises(CatalogError, match=r"cycle21.*output\.first"):
        maggjob.plan(config, catalog=catalog_of(paths, first=21))


@pytest.mark.dear("whole runs over real granules; the simulated ones stay")
def test_real_granules_of_several_cycles(real_granules: list[Path]) -> None:
    plain = maggjob.load_config("atl06.yaml").model_dump(mode="json", exclude_none=True)
    plain["output"]["time"] = "cycle"
    paths = [str(path) for path in real_granules]
    cycles = sorted({int(Path(path).stem.removeprefix("processed_")[21 + 4 : 23 + 4]) for path in paths})
    catalog = maggjob.make_catalog(paths[:-1], plain)
    result = maggjob.run(plain, catalog=maggjob.make_catalog(paths, plain), store="real.zarr", **RUN)
    assert isinstance(result, maggjob.RunResult)
    assert len(catalog.granules) == len(paths) - 1
    with xr.open_zarr("real.zarr", group="12") as ds:
        assert ds.cycle.values.tolist() == list(range(min(cycles), max(cycles) + 1))
        assert ds.cycle.values[ds.granules.values > 0].tolist() == cycles
        assert int(ds["count"].sum()) == result.tally.observations > 50_000


# --- Updates ---


@pytest.mark.dear("three whole runs; with a cycle axis the update has more to do", keep=("cycle",))
@pytest.mark.parametrize("time", ["cycle", "none"])
def test_an_update_equals_one_run_over_everything(paths: list[str], time: str) -> None:
    do(paths, "one.zarr", time)
    do(of_cycles(paths, 20, 21), "map.zarr", time)
    plan = maggjob.plan_update("map.zarr", catalog=catalog_of(paths, time))
    assert list(plan.added) == sorted(Path(p).stem for p in of_cycles(paths, 23))
    assert plan.removed == ()
    assert plan.kept_windows == (("cycle20", "cycle21") if time == "cycle" else ())
    before = files("map.zarr")
    result = updated("map.zarr", paths, time)
    assert files("map.zarr") == files("one.zarr") != before
    assert sorted(report.id for report in result.reports if report.attempts) == sorted(plan.mapped)
    assert maggjob.verify_result("map.zarr", deep=True, recompute=20, granules=True).good
    assert maggjob.plan_update("map.zarr", catalog=catalog_of(paths, time)).nothing
    entries = maggjob.history("map.zarr")
    assert [(entry.what, len(entry.added)) for entry in entries] == [("run", 0), ("update", len(plan.added))]
    assert entries[-1].digest == result.plan.digest
    assert "update" in history_text(entries)


@pytest.mark.parametrize("time", ["cycle", "none"])
@pytest.mark.dear("runs and updates of several cycles")
def test_a_late_granule_costs_only_its_cells(paths: list[str], time: str) -> None:
    do(paths, "one.zarr", time)
    late = of_cycles(paths, 21)[0]
    do([path for path in paths if path != late], "map.zarr", time)
    plan = maggjob.plan_update("map.zarr", catalog=catalog_of(paths, time))
    cells = maggjob.make_catalog([late], configured(time), aoi=AREA).cells
    assert len(plan.mapped) == len(cells)
    if time == "cycle":
        assert plan.kept_windows == ("cycle20", "cycle22", "cycle23")
        assert {name.split("/")[0] for name in plan.mapped} == {"cycle21"}
    updated("map.zarr", paths, time)
    assert files("map.zarr") == files("one.zarr")


@pytest.mark.dear("four runs")
@pytest.mark.parametrize("time", ["cycle", "none"])
def test_a_revised_granule_replaces_the_old_one(paths: list[str], tmp_path: Path, time: str) -> None:
    import h5py

    do(paths, "map.zarr", time)
    old = Path(of_cycles(paths, 20)[0])
    new = tmp_path / old.name.replace("_00.h5", "_01.h5")
    shutil.copyfile(old, new)
    with h5py.File(new, "r+") as file:
        for beam in (name for name in file if name.startswith("gt")):
            file[beam]["land_ice_segments/h_li"][...] = file[beam]["land_ice_segments/h_li"][...] + np.float32(2)
    everything = [*(path for path in paths if path != str(old)), str(new)]
    plan = maggjob.plan_update("map.zarr", catalog=catalog_of(everything, time))
    assert (plan.added, plan.removed) == ((new.stem,), (old.stem,))
    updated("map.zarr", everything, time)
    do(everything, "one.zarr", time)
    assert files("map.zarr") == files("one.zarr")
    assert maggjob.history("map.zarr")[-1].removed == (old.stem,)


@pytest.mark.dear("a run and two updates")
def test_withdrawn_granules_are_named_unless_they_are_meant(paths: list[str]) -> None:
    do(paths, "map.zarr")
    gone = of_cycles(paths, 21)[1]
    left = [path for path in paths if path != gone]
    before = {**files("map.zarr"), **files("map.zarr.run")}
    with pytest.raises(CatalogError) as caught:
        maggjob.update("map.zarr", catalog=catalog_of(left), **RUN)
    for part in ("lacks 1 of", Path(gone).stem, "--withdrawn"):
        assert part in str(caught.value)
    assert {**files("map.zarr"), **files("map.zarr.run")} == before
    updated("map.zarr", left, withdrawn=True)
    do(left, "one.zarr")
    assert files("map.zarr") == files("one.zarr")


@pytest.mark.dear("four runs")
@pytest.mark.parametrize("time", ["cycle", "none"])
def test_a_cleaned_result_can_be_updated(paths: list[str], time: str) -> None:
    do(of_cycles(paths, 20, 21), "map.zarr", time)
    clean("map.zarr")
    late = catalog_of([path for path in paths if path != of_cycles(paths, 20)[0]], time)
    assert late.pairs
    updated("map.zarr", paths, time)
    do(paths, "one.zarr", time)
    assert files("map.zarr") == files("one.zarr")
    assert maggjob.verify_result("map.zarr", deep=True, recompute=20).good


@pytest.mark.dear("three runs")
def test_cells_of_cleaned_parts_are_mapped_where_their_window_changed(paths: list[str]) -> None:
    late = of_cycles(paths, 21)[0]
    do([path for path in paths if path != late], "map.zarr")
    clean("map.zarr")
    plan = maggjob.plan_update("map.zarr", catalog=catalog_of(paths))
    alone = maggjob.make_catalog([late], configured(), aoi=AREA)
    of_window = next(one for one in plan.plan.each if one.window == "cycle21")
    assert plan.lost == len(of_window.cells) - len(alone.cells)
    assert "no longer there" in update_text(plan) or not plan.lost
    updated("map.zarr", paths)
    do(paths, "one.zarr")
    assert files("map.zarr") == files("one.zarr")


@pytest.mark.dear("runs and updates of several cycles")
def test_pairs_that_footprints_missed_are_kept(paths: list[str]) -> None:
    """A catalog of footprints may lack a pair that the indexes find: the digests of both ways agree all the same."""

    def narrowed(catalog: Catalog) -> Catalog:
        from dataclasses import replace

        cell = max(catalog.cells, key=lambda cell: len(catalog.cells[cell]))
        cells = dict(catalog.cells) | {cell: catalog.cells[cell][1:]}
        provenance = {k: v for k, v in catalog.provenance.items() if k != "groups"}
        return replace(catalog, cells=cells, provenance=provenance)

    for store, some in (("map.zarr", of_cycles(paths, 20, 21)), ("one.zarr", paths)):
        maggjob.run(configured(), catalog=narrowed(catalog_of(some)), store=store, index=True, **RUN)
    maggjob.update("map.zarr", catalog=narrowed(catalog_of(paths)), index=True, **RUN)
    assert files("map.zarr") == files("one.zarr")
    with maggjob.open_result("one.zarr") as ds:
        assert int(ds["count"].sum()) == sum(by_cycle(paths).values())


@pytest.mark.dear("three runs")
def test_a_catalog_is_asked_again_for_local_granules(paths: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for path in of_cycles(paths, 20, 21):
        shutil.copy(path, folder)
    config = configured()
    maggjob.run(config, catalog=maggjob.make_catalog(folder, config, aoi=AREA), store="map.zarr", **RUN)
    for path in of_cycles(paths, 23):
        shutil.copy(path, folder)
    with pytest.raises(InputError, match=r"local granules in .*mine, not by a search with cycles: put new granules"):
        maggjob.update("map.zarr", cycles=(20, 23), **RUN)
    result = maggjob.update("map.zarr", **RUN)
    assert isinstance(result, maggjob.RunResult)
    maggjob.run(config, catalog=maggjob.make_catalog(folder, config, aoi=AREA), store="one.zarr", **RUN)
    assert files("map.zarr") == files("one.zarr")


@pytest.mark.dear("a run and two updates")
def test_an_update_with_a_damaged_granule_keeps_the_old_result_until_it_is_repaired(
    paths: list[str], tmp_path: Path
) -> None:
    from click.testing import CliRunner

    from maggjob.cli.commands import cli

    do(of_cycles(paths, 20, 21), "map.zarr")
    before = files("map.zarr")
    bad = Path(of_cycles(paths, 23)[0])
    broken = tmp_path / bad.name
    broken.write_bytes(bad.read_bytes())
    everything = [*(path for path in paths if path != str(bad)), str(broken)]
    catalog_of(everything).write("all.json")
    broken.write_bytes(bad.read_bytes()[:5000] + bytes(3000) + bad.read_bytes()[8000:])
    arguments = ["update", "map.zarr", "--catalog", "all.json", "--backend", "serial", "--no-index"]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 2, done.output
    assert "'maggjob update map.zarr' maps the failed cells again" in done.output
    assert files("map.zarr") == before
    found = maggjob.verify_result("map.zarr", deep=True)
    assert found.good
    assert any("unfinished" in str(check.note) for check in found.checks)
    with pytest.raises(InputError, match="maggjob update"):
        maggjob.retry("map.zarr")
    partly = CliRunner().invoke(cli, [*arguments, "--allow-partial"])
    assert partly.exit_code == 0, partly.output
    assert maggjob.open_result("map.zarr").cycle.values.tolist() == [20, 21, 22, 23]
    broken.write_bytes(bad.read_bytes())
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    do(everything, "one.zarr")
    assert files("map.zarr") == files("one.zarr")


# --- What is refused ---


def refused(store: str, error: type[MaggjobError], *parts: str, **options: Any) -> None:
    """An update that is refused touches nothing."""
    before = {**files(store), **files(f"{store}.run")}
    with pytest.raises(error) as caught:
        maggjob.update(store, **(RUN | options))
    for part in parts:
        assert part in str(caught.value), str(caught.value)
    assert {**files(store), **files(f"{store}.run")} == before


@pytest.mark.dear("whole runs")
def test_what_an_update_refuses(paths: list[str]) -> None:
    some = of_cycles(paths, 21, 23)
    do(some, "map.zarr")
    own = maggjob.load_config(configured()).digest
    other = maggjob.load_config("atl06.yaml").digest
    refused("map.zarr", ConfigError, own[:12], other[:12], config="atl06.yaml")
    refused("map.zarr", CatalogError, "cycle20", "cycle21", "output.first", catalog=catalog_of(paths))
    refused("map.zarr", CatalogError, "lacks", "--withdrawn", catalog=catalog_of(of_cycles(paths, 21)), withdrawn=False)
    grid = configured()
    grid["output"]["grid"] |= {"parent_order": 5}
    refused("map.zarr", CatalogError, "order 5", "order 6", catalog=maggjob.make_catalog(some, grid))
    refused("map.zarr", InputError, "cycles", catalog=catalog_of(some), cycles=(21, 24))
    refused("map.zarr", InputError, "local granules", cycles=(21, 24))
    with pytest.raises(InputError, match="no result at"):
        maggjob.update("nothing.zarr", catalog=catalog_of(some))


@pytest.mark.dear("a whole run")
def test_a_result_of_an_older_version_is_named(paths: list[str]) -> None:
    from hashlib import sha256

    from maggjob.output.manifest import SEAL
    from maggjob.storage.run_folder import MANIFEST

    do(paths, "map.zarr")
    folder = Folder("map.zarr.run")
    plain = json.loads(folder.get(MANIFEST))
    del plain["digest"]
    content = json.dumps(plain | {"format": 1}, separators=(",", ":")).encode()
    folder.put(MANIFEST, content[:-1] + SEAL + sha256(content).hexdigest().encode() + b'"}')
    refused("map.zarr", InputError, "format 1", "expected 2", catalog=catalog_of(paths))


@pytest.mark.dear("whole runs")
def test_of_two_updates_the_second_is_refused(paths: list[str]) -> None:
    do(of_cycles(paths, 20, 21), "map.zarr")
    before = files("map.zarr")
    lock = RunLock(Folder("map.zarr.run"))
    lock.acquire()
    try:
        with pytest.raises(ExistsError):
            maggjob.update("map.zarr", catalog=catalog_of(paths), **RUN)
    finally:
        lock.release()
    assert files("map.zarr") == before
    updated("map.zarr", paths)


# --- Interruptions ---


class Killed(BaseException):
    """The end of a client."""


def interrupted(monkeypatch: pytest.MonkeyPatch, store: str, paths: list[str], after: int) -> bool:
    """Whether an update was ended at one of its writes; nothing is tidied up after it, as after SIGKILL."""
    left = itertools.count(after, -1)
    whole = Folder.put

    def put(self: Folder, key: str, content: bytes) -> None:
        if next(left) <= 0:
            raise Killed
        whole(self, key, content)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "put", put)
        try:
            updated(store, paths)
        except Killed:
            return True
    return False


@pytest.mark.dear("an update for each of its writes")
def test_an_update_that_is_killed_leaves_the_old_state_or_the_new(
    paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    do(paths, "one.zarr")
    late = of_cycles(paths, 20)[0]
    do([path for path in of_cycles(paths, 20, 21) if path != late], "first.zarr")
    states = [files("first.zarr"), files("one.zarr")]
    ended = 0
    for after in itertools.chain(range(12), itertools.count(12, 7)):
        for name in ("map.zarr", "map.zarr.run"):
            shutil.rmtree(name, ignore_errors=True)
            shutil.copytree(name.replace("map", "first"), name)
        killed = interrupted(monkeypatch, "map.zarr", paths, after)
        ended += killed
        assert files("map.zarr") in states
        maggjob.open_result("map.zarr").close()
        if not killed:
            break
        for entry in Path("map.zarr.run").glob("lock-*"):
            entry.unlink()
        maggjob.update("map.zarr", catalog=catalog_of(paths), **RUN)
        assert files("map.zarr") == states[1]
        assert maggjob.verify_result("map.zarr", deep=True).good
    assert ended > 8


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with s3_server("ours") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_REGION", "us-west-2")
        yield "s3://ours/below"


def objects(store: str) -> dict[str, bytes]:
    folder = Folder(store)
    return {key: folder.get(key) for key in folder.keys()}  # noqa: SIM118


@pytest.mark.dear("a server, and the store opened at each write")
def test_in_a_bucket_new_cycles_are_new_objects_and_the_root_comes_last(
    paths: list[str], bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = f"{bucket}/map.zarr"
    do(of_cycles(paths, 20, 21), store)
    before = objects(store)
    written: list[str] = []
    whole = Folder.put

    def put(self: Folder, key: str, content: bytes) -> None:
        if self.url == store:
            written.append(key)
            # Until the metadata of the root is replaced, readers see the old result.
            with maggjob.open_result(store) as ds:
                assert ds.cycle.values.tolist() == [20, 21]
        whole(self, key, content)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "put", put)
        updated(store, paths)
    assert written[-1] == ROOT
    data = [key for key in written if not key.endswith("zarr.json") and key in before]
    # Coordinates of old cycles are written again with the same bytes.
    assert all(objects(store)[key] == before[key] for key in data)
    do(paths, "one.zarr")
    assert objects(store) == files("one.zarr")
    assert maggjob.verify_result(store, deep=True, recompute=2).good


@pytest.mark.dear("a server, and three runs")
def test_in_a_bucket_a_revision_says_that_the_store_is_being_updated(
    paths: list[str], bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = f"{bucket}/map.zarr"
    late = of_cycles(paths, 20)[0]
    do([path for path in paths if path != late], store)
    whole = Folder.put

    def put(self: Folder, key: str, content: bytes) -> None:
        if self.url == store and key.endswith("/12/zarr.json".lstrip("/")):
            raise Killed
        whole(self, key, content)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "put", put)
        with pytest.raises(Killed):
            updated(store, paths)
    with pytest.raises(StoreError, match="being updated"):
        maggjob.open_result(store)
    for key in Folder(f"{store}.run").keys():  # noqa: SIM118
        if key.startswith("lock-"):
            Folder(f"{store}.run").delete([key])
    updated(store, paths)
    do(paths, "one.zarr")
    assert objects(store) == files("one.zarr")


# --- Command line ---


@pytest.mark.dear("whole runs; the function behind them is in make test")
def test_the_commands(paths: list[str]) -> None:
    from click.testing import CliRunner

    from maggjob.cli.commands import cli

    do(of_cycles(paths, 20, 21), "map.zarr")
    catalog_of(paths).write("all.json")
    before = files("map.zarr")
    arguments = ["update", "map.zarr", "--catalog", "all.json", "--backend", "serial", "--indexes", "indexes"]
    dry = CliRunner().invoke(cli, [*arguments, "--dry-run"])
    assert dry.exit_code == 0
    assert "2 new (cycle22, cycle23), 2 stay as they are" in dry.stdout
    plain = json.loads(CliRunner().invoke(cli, [*arguments, "--dry-run", "--json"]).stdout)
    assert plain == update_dict(maggjob.plan_update("map.zarr", catalog="all.json"))
    assert files("map.zarr") == before
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    again = CliRunner().invoke(cli, arguments)
    assert (again.exit_code, again.stdout) == (0, "map.zarr: up to date; there is nothing to do\n")
    assert "done" in (status := CliRunner().invoke(cli, ["status", "map.zarr"]).stdout)
    planned = len(maggjob.plan_update("map.zarr", catalog="all.json").plan.units)
    assert f"{planned} of {planned} cells" in status
    told = CliRunner().invoke(cli, ["history", "map.zarr"]).stdout.splitlines()
    assert [line.split()[1] for line in told[1:]] == ["run", "update"]
    assert len(json.loads(CliRunner().invoke(cli, ["history", "map.zarr", "--json"]).stdout)) == 2
