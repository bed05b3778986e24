"""Fixtures that many tests use."""

import atexit
import ctypes
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Lithops copies itself into the temporary folder when a process first uses it, under the feet of any other process
# that does: each process of the tests has a folder of its own. Lithops looks at it when it is imported.
os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix="maggjob-tests-")
atexit.register(shutil.rmtree, tempfile.tempdir, ignore_errors=True)

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

# Examples of a property: few in `make test`, more in `make test-all`. No example has a deadline: machines are busy.
settings.register_profile("quick", deadline=None, max_examples=20)
settings.register_profile("thorough", deadline=None, max_examples=150)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
PINE_ISLAND = (
    "processed_ATL06_20190222031203_08500210_001_01.h5",
    "processed_ATL06_20190222155404_08580211_001_01.h5",
    "processed_ATL06_20190222155947_08580212_001_01.h5",
)
UNSET = (
    "REQUESTS_CA_BUNDLE CURL_CA_BUNDLE SSL_CERT_FILE "
    "EARTHDATA_TOKEN EARTHDATA_USERNAME EARTHDATA_PASSWORD AWS_ENDPOINT_URL AWS_ENDPOINT_URL_S3 AWS_REGION "
    "AWS_DEFAULT_REGION AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE AWS_DEFAULT_PROFILE "
    "LITHOPS_CONFIG LITHOPS_CONFIG_FILE CPU_LIMIT MEM_LIMIT"
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the cases in `make test` that a mark ``dear(why, keep=(...))`` names by their ids."""
    for item in items:
        mark = item.get_closest_marker("dear")
        keep = mark.kwargs.get("keep", ()) if mark else ()
        if keep and isinstance(item, pytest.Function) and item.callspec.id in keep:
            item.own_markers.remove(mark)


def pytest_collection_finish() -> None:
    """Spare the collector of garbage what was imported and collected: it takes 6 % of the time of the tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real data; the tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"no real data: {SHARED} is not here (it is no part of the project)")
    return SHARED


@pytest.fixture(scope="session")
def real_granules(shared: Path) -> list[Path]:
    """Every real granule."""
    return sorted((shared / "atl06").glob("*.h5"))


@pytest.fixture(scope="session")
def pine_island(shared: Path) -> list[Path]:
    """Three real granules over Pine Island Glacier, which share cells."""
    return [shared / "atl06" / name for name in PINE_ISLAND]


@pytest.fixture(scope="session")
def sector(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Six simulated granules over the Amundsen Sea sector, alone in their folder; not to be changed."""
    from maggjob.simulator.scene import simulate

    folder = tmp_path_factory.mktemp("sector") / "granules"
    return simulate(folder, area=(-106.0, -76.0, -102.0, -75.0), every=20, most=6)


@pytest.fixture(scope="module", autouse=True)
def freed_memory_is_given_back() -> Iterator[None]:
    """Keep a process of the tests below 1 GB: glibc keeps what is freed, 200 MB after the tests of coverage."""
    yield
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the developer's credentials, endpoints or working directory."""
    # Set first, so that what the code under test sets is undone, too.
    for name in UNSET.split():
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "no-profile-of-aws"))
    # What fails is not asked for again, unless a test is about that.
    monkeypatch.setenv("MAGGJOB_PATIENCE", "0")
    monkeypatch.setenv("MAGGJOB_CACHE", str(tmp_path / "cache-of-maggjob"))
    monkeypatch.chdir(tmp_path)
