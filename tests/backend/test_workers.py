"""How many workers fit: affinity, cgroup and the limits of a JupyterHub."""

import math
import os
from pathlib import Path

import pytest

from maggjob.backend.workers import WORKER_MEMORY, available_cores, available_memory, default_workers

GIB = 2**30


@pytest.fixture(autouse=True)
def large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 64 cores and 256 GiB, so that only the limits under test bind."""
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 256 * GIB // 4096}
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)


def cgroup(folder: Path, cpu: str | None = None, memory: str | None = None) -> Path:
    """A folder like that of a cgroup, version 2."""
    for name, text in (("cpu.max", cpu), ("memory.max", memory)):
        if text is not None:
            (folder / name).write_text(text + "\n")
    return folder


def test_nothing_limits_the_cores_but_affinity(tmp_path: Path) -> None:
    assert available_cores({}, tmp_path) == 64


def test_affinity_comes_before_the_cores_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert available_cores({}, tmp_path) == 2


def test_without_affinity_the_cores_of_the_machine_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert available_cores({}, tmp_path) == 12
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cores({}, tmp_path) == 1


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("400000 100000", 4), ("150000 100000", 1), ("50000 100000", 1), ("max 100000", 64), ("9900000 100000", 64)],
)
def test_the_quota_of_a_cgroup_limits_the_cores(tmp_path: Path, quota: str, cores: int) -> None:
    assert available_cores({}, cgroup(tmp_path, cpu=quota)) == cores


@pytest.mark.parametrize("quota", ["", "max", "1 2 3", "a b"])
def test_a_quota_of_another_form_is_no_limit(tmp_path: Path, quota: str) -> None:
    assert available_cores({}, cgroup(tmp_path, cpu=quota)) == 64


@pytest.mark.parametrize(("limit", "cores"), [("4", 4), ("4.0", 4), ("2.5", 2), ("0.5", 1), ("100", 64), ("inf", 64)])
def test_cpu_limit_limits_the_cores(tmp_path: Path, limit: str, cores: int) -> None:
    assert available_cores({"CPU_LIMIT": limit}, tmp_path) == cores


@pytest.mark.parametrize("limit", ["", "0", "lots", "4 cores", "nan"])
def test_a_cpu_limit_that_is_no_number_is_no_limit(tmp_path: Path, limit: str) -> None:
    assert available_cores({"CPU_LIMIT": limit}, tmp_path) == 64


def test_the_least_limit_of_cores_counts(tmp_path: Path) -> None:
    folder = cgroup(tmp_path, cpu="300000 100000")
    assert available_cores({"CPU_LIMIT": "5"}, folder) == 3
    assert available_cores({"CPU_LIMIT": "2"}, folder) == 2


def test_nothing_limits_the_memory_but_the_machine(tmp_path: Path) -> None:
    assert available_memory({}, tmp_path) == 256 * GIB


@pytest.mark.parametrize(("limit", "memory"), [(str(3 * GIB), 3 * GIB), ("max", 256 * GIB), (str(2**60), 256 * GIB)])
def test_a_cgroup_limits_the_memory(tmp_path: Path, limit: str, memory: int) -> None:
    assert available_memory({}, cgroup(tmp_path, memory=limit)) == memory


@pytest.mark.parametrize(
    ("limit", "memory"), [(str(GIB), GIB), ("1e9", 1e9), ("", 256 * GIB), ("16G", 256 * GIB), ("nan", 256 * GIB)]
)
def test_mem_limit_limits_the_memory(tmp_path: Path, limit: str, memory: float) -> None:
    assert available_memory({"MEM_LIMIT": limit}, tmp_path) == memory


def test_the_least_limit_of_memory_counts(tmp_path: Path) -> None:
    folder = cgroup(tmp_path, memory=str(2 * GIB))
    assert available_memory({"MEM_LIMIT": str(3 * GIB)}, folder) == 2 * GIB
    assert available_memory({"MEM_LIMIT": str(GIB)}, folder) == GIB


def test_without_any_limit_memory_is_infinite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sysconf")
    assert available_memory({}, tmp_path) == math.inf
    assert default_workers({}, tmp_path) == 64


@pytest.mark.parametrize(
    ("cores", "memory", "workers"),
    [
        (4, 100 * GIB, 4),
        (64, 3 * WORKER_MEMORY, 3),
        (64, 4 * WORKER_MEMORY - 1, 3),
        (64, 10, 1),
        (1, 100 * GIB, 1),
    ],
)
def test_workers_fit_in_cores_and_memory(tmp_path: Path, cores: int, memory: int, workers: int) -> None:
    assert default_workers({}, cgroup(tmp_path, f"{cores}00000 100000", str(memory))) == workers


def test_workers_heed_the_limits_of_a_hub(tmp_path: Path) -> None:
    assert default_workers({"CPU_LIMIT": "4.0", "MEM_LIMIT": str(8 * GIB)}, tmp_path) == 4
    assert default_workers({"CPU_LIMIT": "16", "MEM_LIMIT": str(2 * GIB)}, tmp_path) == 3


def test_the_environment_is_that_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPU_LIMIT", "2")
    assert default_workers(cgroup=tmp_path) == 2
