"""Pictures of rates and of windows: what they show, by their pixels and their titles."""

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

import maggjob
from maggjob.show.cell_result import read_result
from maggjob.show.map_text import default_variables
from maggjob.show.maps import draw_map
from maggjob.show.rates import draw_rates

AREA = (-104.5, -75.6, -103.2, -75.2)


@pytest.fixture(scope="module")
def granules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rates") / "granules"
    maggjob.simulate(folder, cycles=(18, 20, 21), area=AREA, every=120, most=4)
    return folder


def run(granules: Path, name: str, **grid: int) -> str:
    plain = maggjob.load_config(name).model_dump(mode="json", exclude_none=True)
    plain["output"]["grid"] |= grid
    maggjob.run(plain, catalog=maggjob.make_catalog(granules, plain), store="map.zarr", backend="serial")
    return "map.zarr"


@pytest.mark.dear("pictures; the small demonstration draws one")
def test_rates_beside_those_that_are_expected(granules: Path) -> None:
    store = run(granules, "atl06_trend_dem.yaml", child_order=9)
    with maggjob.open_result(store) as ds:
        found, error = ds.dh_dt.values, ds.dh_dt_error.values
    there = np.isfinite(found)
    assert there.sum() > 5

    def exact(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
        return np.where(there, found, 0.0)

    path, share = draw_rates(store, "rates.png", exact)
    assert share == 1.0
    assert len(np.unique(matplotlib.image.imread(path).reshape(-1, 4), axis=0)) > 50
    off = np.where(np.arange(len(found)) % 2, 3.0, 1.0)
    _, share = draw_rates(store, "rates.png", lambda *_: np.nan_to_num(found - off * error))
    assert share == pytest.approx(np.mean(np.arange(len(found))[there] % 2 == 0))


@pytest.mark.dear("a picture")
def test_a_map_shows_the_last_cycle_with_granules(granules: Path) -> None:
    store = run(granules, "atl06_cycles.yaml")
    result = read_result(store)
    assert result.times is not None
    latest = result.times.latest
    assert result.times.labels[latest] == "21"
    with maggjob.open_result(store) as ds:
        np.testing.assert_array_equal(result.values("dh", latest), ds.dh.sel(cycle=21).values)
        assert [span and span[0] for span in result.times.spans] == [
            None if np.isnat(start) else str(start)[:10] for start in ds.time_start.values
        ]
    assert default_variables(result) == ("dh", "dh_error")
    assert "cycle 21 of " in draw_map(store, "map.svg").read_text()
    assert read_result(maggjob.open_result(store)).times == result.times
    assert draw_map(store, "map.png").stat().st_size > 5000
