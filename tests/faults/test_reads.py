"""Rows 1 to 11 and 26 of the fault matrix: what an archive may do to a read. The ledger is exact in each case."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import maggjob
from maggjob.errors import ConfigError
from maggjob.pipeline.result import RunResult
from tests.faults.proxy import DAMAGE, EXPIRED, REFUSALS, TEMPORARY, Proxy
from tests.faults.world import World, judge
from tests.servers import server, status

DEAR = pytest.mark.dear("runs with indexes: the same reads but for fewer ranges")
pytestmark = pytest.mark.usefixtures("hurried")


def run(world: World, proxy: Proxy, **options: Any) -> RunResult:
    """Map the granules as a proxy serves them."""
    with server(proxy) as there:
        given_ = {"backend": "serial", "index": False, "store": "map.zarr", "overwrite": True, "restart": True}
        result = maggjob.run("atl06.yaml", catalog=world.at(there.url()), **given_ | options)
    assert isinstance(result, RunResult)
    return result


@pytest.mark.dear("a whole run per kind of fault", keep=("503-False",))
@pytest.mark.parametrize("index", [False, pytest.param(True, marks=DEAR)])
@pytest.mark.parametrize("kind", TEMPORARY)
def test_a_fault_that_passes_costs_nothing(world: World, kind: str, index: bool) -> None:
    proxy = Proxy.of(world.paths)
    for key in proxy.files:
        proxy.fail_sometimes(key, {kind: 4})
    result = run(world, proxy, index=index, indexes="indexes")
    judge(world, result).check()
    assert result.complete
    assert proxy.injected == 4 * len(world.paths)


@pytest.mark.dear("a whole run per kind of refusal", keep=("denied-auth-False",))
@pytest.mark.parametrize("index", [False, pytest.param(True, marks=DEAR)])
@pytest.mark.parametrize(("kind", "reason"), [("gone", "missing"), ("denied", "auth"), ("expired", "auth")])
def test_a_refusal_is_counted_and_never_an_empty_cell(world: World, kind: str, reason: str, index: bool) -> None:
    proxy = Proxy.of(world.paths)
    bad = world.paths[1]
    proxy.always[f"/{bad.name}"] = REFUSALS[kind]
    result = run(world, proxy, index=index, indexes="indexes")
    judge(world, result, {bad.stem}).check()
    assert result.tally.granules["failed"] == 1
    assert set(result.tally.errors) == {reason}
    assert result.tally.cells["empty"] == 0


@pytest.mark.dear("a whole run per answer", keep=("403",))
@pytest.mark.parametrize("code", [400, 403])
def test_credentials_that_expire_are_read_again_once(world: World, code: int) -> None:
    proxy = Proxy.of(world.paths)
    for number, key in enumerate(proxy.files):
        proxy.script[key] = [*[lambda r: r.serve(proxy.files[r.key])] * number, status(code, EXPIRED)]
    judge(world, run(world, proxy)).check()


@pytest.mark.dear("a whole run")
def test_an_archive_that_throttles_for_ever_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGGJOB_PATIENCE", "0.05")
    proxy = Proxy.of(world.paths)
    bad = world.paths[0]
    proxy.always[f"/{bad.name}"] = status(503)
    result = run(world, proxy)
    judge(world, result, {bad.stem}).check()
    assert set(result.tally.errors) == {"throttled"}
    # Tried once more at the end of the run, as it may have passed.
    assert {report.attempts for report in result.reports if report.state != "complete"} == {2}


@pytest.mark.dear("a whole run per kind of damage", keep=("a flipped bit-reasons3-False",))
@pytest.mark.parametrize("index", [False, pytest.param(True, marks=DEAR)])
@pytest.mark.parametrize(
    ("kind", "reasons"),
    [
        ("truncated", {"truncated"}),
        ("empty", {"truncated"}),
        ("a page", {"truncated", "not_hdf5"}),
        ("a flipped bit", {"corrupt"}),
    ],
)
def test_damage_is_named_and_none_of_the_granule_used(world: World, kind: str, reasons: set[str], index: bool) -> None:
    proxy = Proxy.of(world.paths)
    bad = world.paths[2]
    proxy.files[f"/{bad.name}"] = DAMAGE[kind](proxy.files[f"/{bad.name}"], random.Random(1))
    result = run(world, proxy, index=index, indexes="indexes")
    judge(world, result, {bad.stem}).check()
    assert result.tally.granules["failed"] == 1
    assert set(result.tally.errors) <= reasons | {"missing"}
    assert not result.complete


def changed(world: World, folder: Path, edit: Callable[[h5py.File], object]) -> World:
    """Return a world of copies of the granules, one of which is edited."""
    import shutil

    folder.mkdir()
    paths = tuple(Path(shutil.copy(path, folder)) for path in world.paths)
    with h5py.File(paths[0], "r+") as file:
        edit(file)
    return World(paths)


def each_beam(edit: Callable[[Any], object]) -> Callable[[h5py.File], object]:
    """Return an edit of every beam."""
    return lambda file: [edit(file[f"{b}/land_ice_segments"]) for b in file if b.startswith("gt")]


def put(name: str, *values: float) -> Callable[[h5py.File], object]:
    """Return an edit that puts values at the beginning of a dataset of every beam."""

    def edit(group: h5py.Group) -> None:
        data = group[name][:]
        data[: 3 * len(values)] = np.repeat(np.array(values), 3)[: len(data)]
        group[name][...] = data

    return each_beam(edit)


@pytest.mark.dear("4 CPU-seconds; its neighbours cover the same lines")
@pytest.mark.parametrize(
    "edit",
    [
        put("h_li", np.nan, 3.4028235e38, -np.inf),
        put("h_li_sigma", 0.0, -1.0, np.nan, 3.4028235e38),
        put("latitude", np.nan, 95.0, -91.0, 3.4e38),
        put("longitude", np.nan, 3.4e38, -721.0),
        put("atl06_quality_summary", 1, 0),
        lambda file: [file.pop(beam) for beam in ("gt1l", "gt3r")],
    ],
    ids=["fills", "sigmas", "latitudes", "longitudes", "quality", "absent beams"],
)
def test_odd_values_are_masked_and_counted(world: World, tmp_path: Path, edit: Any) -> None:
    other = changed(world, tmp_path / "edited", edit)
    result = run(other, Proxy.of(other.paths))
    judge(other, result).check()
    assert result.complete


@pytest.mark.dear("a whole run; test_cells has one, too")
def test_a_missing_dataset_fails_its_granule(world: World, tmp_path: Path) -> None:
    other = changed(world, tmp_path / "edited", lambda file: file.pop("gt2l/land_ice_segments/h_li"))
    result = run(other, Proxy.of(other.paths))
    judge(world, result, {other.paths[0].stem}).check()
    assert set(result.tally.errors) == {"missing_dataset"}


@pytest.mark.dear("a whole run")
def test_packed_heights_are_refused_by_name(world: World, tmp_path: Path) -> None:
    def packed(group: h5py.Group) -> None:
        group["h_li"].attrs["scale_factor"] = 0.1

    other = changed(world, tmp_path / "edited", each_beam(packed))
    result = run(other, Proxy.of(other.paths))
    judge(other, result, {other.paths[0].stem}).check()
    assert set(result.tally.errors) == {"unsupported"}


def test_if_all_fail_nothing_is_published(world: World) -> None:
    proxy = Proxy.of(world.paths)
    proxy.always = dict.fromkeys(proxy.files, status(404))
    result = run(world, proxy)
    judge(world, result, {path.stem for path in world.paths}).check()
    assert not result.published
    assert not Path("map.zarr").exists()


KINDS = st.one_of(
    st.tuples(st.sampled_from(sorted(TEMPORARY)), st.integers(1, 5)),
    st.tuples(st.sampled_from(sorted(DAMAGE)), st.just(0)),
    st.tuples(st.sampled_from(sorted(REFUSALS)), st.just(0)),
)


@pytest.mark.dear("many runs")
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(faults=st.dictionaries(st.integers(0, 5), KINDS, max_size=5), index=st.booleans(), seed=st.integers(0, 99))
def test_any_mix_of_faults_is_accounted_for(
    world: World, faults: dict[int, tuple[str, int]], index: bool, seed: int
) -> None:
    """Nothing is lost that could be read, nothing is wrong, and the run ends."""
    proxy, broken = Proxy.of(world.paths), set()
    for number, (kind, times) in faults.items():
        key = f"/{world.paths[number].name}"
        if kind in TEMPORARY:
            proxy.fail_sometimes(key, {kind: times})
            continue
        broken.add(world.paths[number].stem)
        if kind in REFUSALS:
            proxy.always[key] = REFUSALS[kind]
        else:
            proxy.files[key] = DAMAGE[kind](proxy.files[key], random.Random(seed))
    result = run(world, proxy, index=index, indexes=f"indexes{seed}")
    judge(world, result, broken).check()
    failed = {granule.id for report in result.reports for granule in report.granules if granule.state == "failed"}
    assert failed == broken


def test_a_configuration_that_fits_no_granule_is_no_loss_of_all(world: World) -> None:
    config = maggjob.load_config("atl06.yaml").model_dump(mode="json", exclude_unset=True)
    config["data_source"]["variables"]["h_li"] = "/{group}/land_ice_segments/h_lii"
    proxy = Proxy.of(world.paths)
    with server(proxy) as there, pytest.raises(ConfigError, match="no granule has"):
        maggjob.run(config, catalog=world.at(there.url()), store="map.zarr", backend="serial", index=False)
    assert not Path("map.zarr").exists()
