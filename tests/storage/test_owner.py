"""Owners: what a killed process left is deleted, and nothing of a living one."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from maggjob.storage.owner import OWNER, Owner, is_gone, me, private_folder, start_of, sweep

HOLDS = """
import sys
from maggjob.storage.owner import private_folder
with private_folder() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give this process and its children a temporary folder of their own."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@contextmanager
def holder() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Start a process that keeps a private folder, and end it."""
    process = subprocess.Popen([sys.executable, "-c", HOLDS], stdin=-1, stdout=-1, text=True)
    try:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
    finally:
        process.kill()
        process.communicate()


def test_what_a_killed_process_left_is_deleted(tmp_path: Path) -> None:
    with holder() as (living, kept), holder() as (killed, left):
        (left / "credentials.json").write_text("a token")
        assert sweep() == 0
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait(60)
        assert sweep() == 1
        assert not left.exists()
        assert (kept / OWNER).exists()
        living.communicate("")
        assert not kept.exists()


def test_a_folder_without_its_note_is_deleted_by_its_name(tmp_path: Path) -> None:
    """A process may be killed before the note is written, or while the folder is deleted."""
    with holder() as (_, kept), holder() as (killed, left):
        (kept / OWNER).unlink()
        (left / OWNER).unlink()
        assert sweep() == 0
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait(60)
        (tmp_path / left.name.replace("maggjob-", "maggjob-0")).mkdir()
        assert sweep() == 1
        assert not left.exists()
        assert kept.exists()


def test_only_the_user_reads_a_private_folder() -> None:
    with private_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert Owner.from_json((folder / OWNER).read_bytes()).pid == os.getpid()
    assert not folder.exists()


def test_a_process_is_known_by_host_id_and_start() -> None:
    here = me()
    assert not is_gone(here)
    assert is_gone(replace(here, started=f"{here.started}1"))
    assert not is_gone(replace(here, host="elsewhere", started="0"))
    assert start_of(2**22 + 1) is None
    assert me().token != here.token


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"host": "a"}', '{"host": "a", "pid": "x"}'])
def test_a_folder_whose_owner_is_unknown_is_kept(tmp_path: Path, content: str) -> None:
    (tmp_path / "maggjob-mine").mkdir()
    (tmp_path / "maggjob-mine" / OWNER).write_text(content)
    assert sweep() == 0
    assert (tmp_path / "maggjob-mine" / OWNER).exists()
