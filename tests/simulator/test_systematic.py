"""What segments share: biases of passes and cycles, the error of the DEM, the orientation; read from files by h5py."""

import math
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, strategies as st
from pyproj import Geod

from maggjob.cli.commands import cli
from maggjob.errors import InputError
from maggjob.icesat2.orbit import BEAMS, Pass
from maggjob.simulator.scene import granule_name, simulate
from maggjob.simulator.systematic import cycle_bias, dem_error, orientation, pass_bias

STILL: dict[str, Any] = {"gaps": 0.0, "absent": 0.0}
MANY: dict[str, Any] = {"rgts": tuple(range(100, 1387, 107)), "regions": (11,), "cycles": (3, 4), "every": 8000} | STILL
ALL = {"h_li", "dem_h", "sc_orient"}
FILL = 3e38
"""Heights above this are fill values."""
FIRST_FLIP = datetime(2018, 12, 28)
"""The spacecraft turned to backward."""


def datasets(path: Path) -> dict[str, np.ndarray]:
    """Every dataset of a file."""
    found: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: found.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}) or None
        )
    return found


def added(plain: list[Path], other: list[Path], dataset: str) -> dict[tuple[int, int, int, str], np.ndarray]:
    """What an option adds to a dataset: by cycle, track, region and beam, a value of each segment but fill values."""
    found = {}
    assert [path.name for path in plain] == [path.name for path in other]
    for before, after in zip(plain, other, strict=True):
        rgt, cycle, region = int(before.name[21:25]), int(before.name[25:27]), int(before.name[27:29])
        with h5py.File(before) as x, h5py.File(after) as y:
            assert [beam for beam in x if beam in BEAMS] == [beam for beam in y if beam in BEAMS]
            for beam in set(BEAMS) & set(x):
                a, b = (file[f"{beam}/land_ice_segments/{dataset}"][:].astype(float) for file in (x, y))
                assert np.array_equal(a > FILL, b > FILL)
                found[cycle, rgt, region, beam] = (b - a)[a < FILL]
    return found


def shared(differences: dict[tuple[int, int, int, str], np.ndarray]) -> dict[tuple[int, int, int, str], float]:
    """The bias of each granule's beam, which all of its segments have but for the rounding of 32 bits."""
    for values in differences.values():
        assert np.ptp(values) < 2e-3
    return {where: math.fsum(values) / len(values) for where, values in differences.items()}


def within(values: np.ndarray, deviation: float) -> None:
    """Check that values are drawn from a normal distribution, by mean and variance to four standard errors."""
    n = len(values)
    assert abs(values.mean()) < 4 * deviation / math.sqrt(n)
    assert abs(np.mean(values**2) / deviation**2 - 1) < 4 * math.sqrt(2 / n)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return simulate(tmp_path_factory.mktemp("plain"), **MANY)


@pytest.mark.dear("many granules")
def test_passes_have_biases_of_their_own(plain: list[Path], tmp_path: Path) -> None:
    """Neither beams of one track, nor tracks of one cycle, nor cycles of one track have anything in common."""
    biases = shared(added(plain, simulate(tmp_path, pass_bias=2.0, **MANY), "h_li"))
    values = np.array([[[biases[cycle, rgt, 11, beam] for beam in BEAMS] for rgt in MANY["rgts"]] for cycle in (3, 4)])
    assert values.size == len(biases) > 140
    within(values.ravel(), 2.0)
    for axis in range(3):
        few = 4 / math.sqrt(values.size)
        assert abs(np.corrcoef(values.ravel(), np.roll(values, 1, axis).ravel())[0, 1]) < few * math.sqrt(2)
        within(values.mean(axis).ravel(), 2.0 / math.sqrt(values.shape[axis]))


def test_biases_are_normal_and_independent() -> None:
    """More of them than files are quick to write."""
    seeds, cycles = range(20), range(1, 100)
    of_passes = np.array([[pass_bias(seed, Pass(858, cycle, 11), 3, 0.03) for cycle in cycles] for seed in seeds])
    of_cycles = np.array([[cycle_bias(seed, cycle, 0.02) for cycle in cycles] for seed in seeds])
    for biases, deviation in ((of_passes, 0.03), (of_cycles, 0.02)):
        within(biases.ravel(), deviation)
        within(biases.mean(0), deviation / math.sqrt(len(seeds)))
        within(biases.mean(1), deviation / math.sqrt(len(cycles)))
    assert abs(np.corrcoef(of_passes.ravel(), of_cycles.ravel())[0, 1]) < 4 / math.sqrt(of_passes.size)


def test_regions_of_a_pass_share_its_bias(tmp_path: Path) -> None:
    options = {"rgts": (858,), "regions": (10, 11, 12), "every": 2000} | STILL
    plain = simulate(tmp_path / "plain", **options)
    biases = shared(added(plain, simulate(tmp_path / "biased", pass_bias=2.0, **options), "h_li"))
    assert {where[2] for where in biases} == {10, 11, 12}
    for beam in BEAMS:
        of_regions = [bias for where, bias in biases.items() if where[3] == beam]
        assert len(of_regions) == 3
        assert np.ptp(of_regions) < 1e-3


@pytest.mark.dear("granules of many tracks")
def test_a_cycle_has_one_bias(plain: list[Path], tmp_path: Path) -> None:
    biases = shared(added(plain, simulate(tmp_path, cycle_bias=3.0, **MANY), "h_li"))
    of_cycles = [[bias for where, bias in biases.items() if where[0] == cycle] for cycle in (3, 4)]
    for values in of_cycles:
        assert len(values) > 70
        assert np.ptp(values) < 1e-3
    assert abs(of_cycles[0][0] - of_cycles[1][0]) > 1e-2


def test_the_error_of_the_dem_is_the_same_in_every_cycle(tmp_path: Path) -> None:
    options = {"rgts": (858,), "regions": (11,), "every": 25, "cycles": (20, 21)} | STILL
    plain = simulate(tmp_path / "plain", **options)
    errors = added(plain, simulate(tmp_path / "wrong", dem_error=3.0, **options), "dem/dem_h")
    for beam in BEAMS:
        error = errors[20, 858, 11, beam]
        assert len(error) > 2000
        assert np.abs(error - errors[21, 858, 11, beam]).max() < 1e-3
        assert abs(np.sqrt(np.mean(error**2)) / 3.0 - 1) < 0.15
        # Segments are 500 m apart.
        assert np.corrcoef(error[1:], error[:-1])[0, 1] > 0.98
        assert abs(np.corrcoef(error[40:], error[:-40])[0, 1]) < 0.3


@pytest.mark.parametrize("far", [0.5e3, 5e3, 8e3, 20e3])
def test_the_error_of_the_dem_is_smooth(far: float) -> None:
    """The correlation is exp(-1) at 5 km, in any direction."""
    rng = np.random.default_rng(1)
    latitude, longitude, azimuth = rng.uniform(-88, -60, 50), rng.uniform(-180, 180, 50), rng.uniform(0, 360, 50)
    beside = Geod(a=6371e3, b=6371e3).fwd(longitude, latitude, azimuth, np.full(50, far))
    errors = np.array([dem_error(latitude, longitude, seed, 1.0) for seed in range(100)])
    others = np.array([dem_error(beside[1], beside[0], seed, 1.0) for seed in range(100)])
    within(errors.ravel(), 1.0)
    assert abs(np.mean(errors * others) - math.exp(-((far / 5e3) ** 2))) < 0.06


@given(st.integers(0, 2**40), st.floats(0.01, 100.0))
def test_the_error_of_the_dem_belongs_to_the_place(seed: int, deviation: float) -> None:
    """It does not depend on the other places, nor on how a longitude is written; and its size is that asked for."""
    rng = np.random.default_rng(seed)
    latitude, longitude = np.degrees(np.arcsin(rng.uniform(-1, 1, 2000))), rng.uniform(-180, 180, 2000)
    error = dem_error(latitude, longitude, seed, deviation)
    assert np.array_equal(dem_error(latitude[7:12], longitude[7:12], seed, deviation), error[7:12])
    assert np.allclose(dem_error(latitude, longitude + 360.0, seed, deviation), error, atol=1e-6 * deviation)
    assert abs(np.sqrt(np.mean(error**2)) / deviation - 1) < 0.15
    assert np.allclose(dem_error(latitude, longitude, seed, 2 * deviation), 2 * error)
    assert not np.allclose(dem_error(latitude, longitude, seed + 1, deviation), error)


@pytest.mark.dear("granules of six scenes")
@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({"pass_bias": 0.5}, {"h_li"}),
        ({"cycle_bias": 0.5}, {"h_li"}),
        ({"dem_error": 0.5}, {"dem_h"}),
        ({"flips": True}, {"sc_orient"}),
        ({"pass_bias": 0.0, "cycle_bias": 0.0, "dem_error": 0.0, "flips": False}, set()),
        ({"pass_bias": 1, "cycle_bias": 1, "dem_error": 1, "flips": True, "everything": True}, ALL),
    ],
)
def test_nothing_else_changes(tmp_path: Path, options: dict[str, Any], changed: set[str]) -> None:
    scene = {"rgts": (858,), "regions": (11,), "cycles": (20,), "every": 500}
    scene["everything"] = options.get("everything", False)
    (before,), (after,) = simulate(tmp_path / "before", **scene), simulate(tmp_path / "after", **(scene | options))
    if not changed:
        assert before.read_bytes() == after.read_bytes()
    x, y = datasets(before), datasets(after)
    assert x.keys() == y.keys()
    different = {name for name in x if x[name].tobytes() != y[name].tobytes()}
    assert {name.rsplit("/", 1)[-1] for name in different} == changed


def test_biases_and_the_error_add_up(tmp_path: Path) -> None:
    """All at once are the sum of each alone."""
    scene = {"rgts": (858,), "regions": (11,), "every": 2000} | STILL
    plain = simulate(tmp_path / "plain", **scene)
    one, other, both = (
        added(plain, simulate(tmp_path / str(i), **scene, **options), "h_li")
        for i, options in enumerate(({"pass_bias": 1.0}, {"cycle_bias": 1.0}, {"pass_bias": 1.0, "cycle_bias": 1.0}))
    )
    for where, values in both.items():
        assert np.allclose(values, one[where] + other[where], atol=2e-3)
        assert abs(one[where].mean() - other[where].mean()) > 1e-2


# --- Orientation ---


@pytest.mark.parametrize(
    ("rgt", "cycle", "region", "value"), [(235, 1, 2, 1), (627, 5, 3, 1), (878, 20, 2, 0), (882, 20, 13, 0)]
)
def test_the_orientation_is_that_of_real_granules(rgt: int, cycle: int, region: int, value: int) -> None:
    """ATL06_20181014001049_02350102, ..20191106230008_06270503, ..20230816161508_08782002 and ..234629_08822013."""
    assert orientation(Pass(rgt, cycle, region)) == value


def test_files_tell_the_orientation(tmp_path: Path) -> None:
    """The second flip after the first, on 2020-05-13, lies in track 732 of cycle 7, in region 8."""
    flip = FIRST_FLIP + timedelta(days=2 * 251)
    found = {}
    scene = {"rgts": (731, 732, 733), "regions": (7, 8, 9), "cycles": (7,), "every": 4000} | STILL
    for path in simulate(tmp_path, flips=True, **scene):
        with h5py.File(path) as file:
            value = int(file["orbit_info/sc_orient"][0])
            first, last = (
                datetime(2018, 1, 1) + timedelta(seconds=float(file[f"ancillary_data/{end}_delta_time"][0]))
                for end in ("start", "end")
            )
        found[path.name[21:29]] = value
        # Whether a pass is over, or has not begun.
        assert value == (1 if last < flip else 0 if first > flip else 2), path.name
    assert found["07320708"] == 2
    assert sorted(found.values()) == [0] * 4 + [1] * 4 + [2]


def test_the_orientation_follows_the_date() -> None:
    """In every region of some tracks of 40 cycles, by the times in names."""
    values = []
    for cycle, rgt, region in product(range(1, 41), range(1, 1388, 63), range(1, 15)):
        start = datetime.strptime(granule_name(Pass(rgt, cycle, region))[6:20], "%Y%m%d%H%M%S")
        value = orientation(Pass(rgt, cycle, region))
        halves = (start - FIRST_FLIP) / timedelta(days=251)
        if value == 2:
            # A granule takes less than half an hour.
            assert -(halves % -1) * 251 < 0.5 / 24
        elif abs(halves - round(halves)) * 251 * 86400 > 1:
            assert value == (0 if math.floor(halves) % 2 == 0 else 1)
        values.append(value)
    assert 0.4 < values.count(0) / len(values) < 0.6
    assert values.count(2) < len(values) / 1000


def test_every_flip_is_in_transition() -> None:
    """Of all passes of two cycles, one contains the flip; the orientation before it is not that after it."""
    values = [orientation(Pass(r, c, g)) for c, r, g in product((3, 4), range(1, 1388), range(1, 15))]
    (at,) = [i for i, value in enumerate(values) if value == 2]
    assert set(values[:at]) == {0}
    assert set(values[at + 1 :]) == {1}


@pytest.mark.dear("a year of orbits")
def test_without_flips_the_spacecraft_flies_forward(plain: list[Path]) -> None:
    for path in plain:
        with h5py.File(path) as file:
            assert file["orbit_info/sc_orient"][:].tolist() == [1]


# --- Wrong and right options ---


@pytest.mark.parametrize("name", ["pass_bias", "cycle_bias", "dem_error"])
@pytest.mark.parametrize("value", [-0.01, math.nan, math.inf])
def test_an_error_is_a_standard_deviation(tmp_path: Path, name: str, value: float) -> None:
    with pytest.raises(InputError, match=rf"{name} {value} is not a standard deviation in metres; give"):
        simulate(tmp_path / "granules", rgts=(858,), **{name: value})
    assert not (tmp_path / "granules").exists()
    option = f"--{name.replace('_', '-')}={value}"
    done = CliRunner().invoke(cli, ["simulate", str(tmp_path / "granules"), option])
    assert isinstance(done.exception, InputError)
    assert not (tmp_path / "granules").exists()


def test_the_command_takes_what_the_function_takes(tmp_path: Path) -> None:
    given = ["--cycle", "7", "--rgt", "858", "--region", "11", "--every", "1000", "--seed", "5"]
    given += ["--pass-bias", "0.03", "--cycle-bias", "0.02", "--dem-error", "1.5", "--flips"]
    done = CliRunner().invoke(cli, ["simulate", str(tmp_path / "typed"), *given])
    assert done.exit_code == 0, done.output
    (path,) = simulate(
        tmp_path / "called",
        cycles=(7,),
        rgts=(858,),
        regions=(11,),
        every=1000,
        seed=5,
        pass_bias=0.03,
        cycle_bias=0.02,
        dem_error=1.5,
        flips=True,
    )
    assert (tmp_path / "typed" / path.name).read_bytes() == path.read_bytes()
