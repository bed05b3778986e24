"""What all tests of faults share."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.faults.world import World, make_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Six granules, their segments counted independently, and the bytes of a calm run."""
    import os

    before = os.environ.get("MAGGJOB_CACHE")
    folder = tmp_path_factory.mktemp("world")
    os.environ["MAGGJOB_CACHE"] = str(folder / "cache")
    try:
        return make_world(folder)
    finally:
        del os.environ["MAGGJOB_CACHE"]
        if before is not None:
            os.environ["MAGGJOB_CACHE"] = before


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be patient with a store, but wait only milliseconds between attempts; for runs in this process."""
    quick = {"init_backoff": timedelta(milliseconds=1), "max_backoff": timedelta(milliseconds=2), "base": 2}
    for module in ("archive", "stores"):
        monkeypatch.setattr(f"maggjob.storage.{module}.RETRY", {"max_retries": 1, "backoff": quick})
    monkeypatch.setenv("MAGGJOB_PATIENCE", "1")
    monkeypatch.setattr("maggjob.storage.patience.FIRST_PAUSE", 0.001)
    monkeypatch.setattr("maggjob.storage.patience.LONGEST_PAUSE", 0.02)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Return where indexes go."""
    return tmp_path / "indexes"
