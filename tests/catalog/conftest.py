"""A granule, and a folder of it, for the tests of catalogs."""

import shutil
from pathlib import Path

import pytest

from maggjob.simulator.scene import simulate

ONE = "ATL06_20240101031203_08502211_006_01"
"""Name of the granule."""


@pytest.fixture(scope="module")
def granule(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a granule, alone in its folder; not to be changed."""
    folder = tmp_path_factory.mktemp("one")
    (path,) = simulate(folder, area=(-105.0, -76.0, -100.0, -75.0), every=100, most=1)
    return path.rename(folder / f"{ONE}.h5")


@pytest.fixture
def folder(granule: Path, tmp_path: Path) -> Path:
    """Return a folder with a copy of the granule."""
    (tmp_path / "data").mkdir()
    shutil.copy(granule, tmp_path / "data")
    return tmp_path / "data"
