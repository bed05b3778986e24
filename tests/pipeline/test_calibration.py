"""Are the errors of rates true to their name? Biases per pass are planted, and rates compared with the planted ones."""

from pathlib import Path

import numpy as np
import pytest

import maggjob
from maggjob.grid.centers import centers
from maggjob.simulator.surface import Change, planted_rate, years

CYCLES = tuple(range(15, 22))
MOTIONS = (Change(), Change(-75.3, -103.6, rate=2.0, radius=60e3))


@pytest.fixture(scope="module")
def granules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibration") / "granules"
    scene = {"cycles": CYCLES, "area": (-104.2, -75.55, -102.6, -75.15), "every": 8, "seed": 5}
    maggjob.simulate(folder, **scene, pass_bias=0.05, dem_error=0.1, flips=True, planted=MOTIONS)
    return folder


@pytest.mark.dear("seven cycles of granules")
@pytest.mark.parametrize(
    ("name", "most", "too_small"), [("atl06_trend.yaml", 0.04, 1.5), ("atl06_trend_dem.yaml", 0.06, 0.95)]
)
def test_errors_by_pass_are_honest_and_formal_ones_are_not(
    granules: Path, name: str, most: float, too_small: float
) -> None:
    catalog = maggjob.make_catalog(granules, name)
    result = maggjob.run(name, catalog=catalog, store="dh.zarr", backend="serial", index=True, indexes="indexes")
    assert isinstance(result, maggjob.RunResult)
    spans = [report.time for report in result.reports if report.time is not None]
    seconds = np.linspace(min(first for first, _ in spans), max(last for _, last in spans), 100)
    with maggjob.open_result("dh.zarr") as ds:
        latitude, longitude = centers(ds.cell_ids.values.astype(np.int64), 12, "authalic")
        planted = planted_rate(latitude, longitude, MOTIONS, years(seconds))
        good = np.isfinite(ds.dh_dt.values) & (ds.cycles.values >= 5)
        off = (ds.dh_dt.values - planted)[good]
        honest, formal = off / ds.dh_dt_error.values[good], off / ds.dh_dt_formal_error.values[good]
    assert good.sum() > 300
    assert np.sqrt((off**2).mean()) < most
    # Thin granules: with all segments, the noise of sampling is a third of this.
    assert 0.86 < np.mean(np.abs(honest) < 2) < 0.98
    assert abs(np.median(honest)) < 0.25
    # In so thin granules the white noise of the DEM hides the bias of passes from the second configuration.
    assert np.sqrt((formal**2).mean()) > too_small * np.sqrt((honest**2).mean())
