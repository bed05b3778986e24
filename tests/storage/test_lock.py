"""The lock of a run's folder: one holder at a time, and one heir of a holder that has ended."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from maggjob.errors import ExistsError, StoppedError
from maggjob.storage import lock
from maggjob.storage.folder import Folder
from maggjob.storage.lock import RunLock, locked
from maggjob.storage.owner import me
from tests.servers import s3_server


@pytest.fixture(params=["here", pytest.param("s3", marks=pytest.mark.dear("as locally, through moto's server"))])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    """Return the folder of a run, here and in a bucket."""
    if request.param == "here":
        yield Folder(str(tmp_path / "map.zarr.run"), create=True)
        return
    with s3_server("mine") as endpoint:
        for name, value in (("ENDPOINT_URL", endpoint), ("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "x")):
            monkeypatch.setenv(f"AWS_{name}", value)
        yield Folder("s3://mine/map.zarr.run")


def gone() -> bytes:
    """Return an owner that has ended."""
    return replace(me(), started="1").to_json()


def test_a_second_run_is_refused_at_once(folder: Folder) -> None:
    with locked(folder):
        with pytest.raises(ExistsError, match="another run is at work"), locked(folder):
            pass
        assert [key for key in folder.keys() if key.startswith("lock-")] == ["lock-000001.json"]  # noqa: SIM118
    assert folder.keys() == []
    with locked(folder) as again:
        assert again.taken_from is None


def test_the_lock_of_a_process_that_has_ended_is_taken_over(folder: Folder) -> None:
    folder.put("lock-000001.json", gone())
    with locked(folder) as mine:
        assert mine.taken_from is not None
        assert mine.taken_from.started == "1"
        mine.check()
        with pytest.raises(ExistsError), locked(folder):
            pass
    assert folder.keys() == []


def test_a_holder_elsewhere_is_waited_for_until_it_is_silent(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.put("lock-000001.json", replace(me(), host="elsewhere").to_json())
    with pytest.raises(ExistsError, match="of elsewhere"), locked(folder):
        pass
    monkeypatch.setattr(lock, "STALE", -1.0)
    with locked(folder):
        monkeypatch.setattr(lock, "STALE", 300.0)
        with pytest.raises(ExistsError), locked(folder):
            pass


def test_who_lost_the_lock_publishes_nothing(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    with locked(folder) as first:
        first.check()
        folder.put("lock-000002.json", me().to_json())
        with pytest.raises(StoppedError, match="publishes nothing"):
            first.check()


@pytest.mark.parametrize("stale", [False, True])
def test_of_many_that_try_at_once_one_succeeds(folder: Folder, stale: bool) -> None:
    if stale:
        folder.put("lock-000003.json", gone())
    together, held = threading.Barrier(8), []

    def attempt(number: int) -> bool:
        mine = RunLock(folder)
        together.wait()
        try:
            mine.acquire()
        except ExistsError:
            return False
        held.append(mine)
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(attempt, range(8)))
    assert sum(won) <= 1
    for one in held:
        one.check()
        one.release()
    with locked(folder):
        pass


def test_a_killed_holder_is_followed_at_once(tmp_path: Path) -> None:
    url = str(tmp_path / "map.zarr.run")
    code = (
        "import sys; from maggjob.storage.folder import Folder; from maggjob.storage.lock import RunLock\n"
        f"RunLock(Folder({url!r}, create=True)).acquire(); print('held', flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(ExistsError), locked(Folder(url)):
        pass
    process.kill()
    process.communicate()
    with locked(Folder(url)) as mine:
        assert mine.taken_from is not None
        assert mine.taken_from.pid == process.pid
