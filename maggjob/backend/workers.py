"""Number of workers for which this machine, or the share of it that we may use, has cores and memory.

A share is limited in many ways: by affinity, by a JupyterHub, by Slurm, and by the control groups (version 1 or 2) of a
container, a service or a batch system, each of which may lie in others. The smallest limit counts.
"""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

# Memory that a local worker may need: the measured peak of a large cell, plus a margin.
WORKER_MEMORY = 600 * 2**20  # bytes
UNITS = {"": 2**20, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
"""Units of Slurm's memory; without one it is in MB."""
CPU, MEMORY = "cpu", "memory"
"""Controllers of control groups."""

Read = Callable[[str], str | None]
"""Function that returns the text of a file; None if it cannot be read."""


def read_text(path: str) -> str | None:
    """Return the text of a file; None if it cannot be read."""
    try:
        return Path(path).read_text(encoding="ascii", errors="replace")
    except OSError:
        return None


def available_cores(environment: Mapping[str, str], affinity: int, read: Read = read_text) -> int:
    """Return the number of cores that this process may use.

    ``os.cpu_count()`` counts all cores of the machine: 64 in a JupyterHub pod that may use 4.

    Parameters
    ----------
    environment : mapping
        Environment variables.
    affinity : int
        Number of cores on which the process may run.
    read : callable
        Reads a file.
    """
    limits = [float(affinity)]
    for name in ("CPU_LIMIT", "SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        limits += _positive(environment.get(name))
    for folder in _groups(CPU, read):
        quota, period = [*(read(f"{folder}/cpu.max") or "max").split(), "100000"][:2]
        if quota == "max":
            quota = read(f"{folder}/cpu.cfs_quota_us") or ""
            period = read(f"{folder}/cpu.cfs_period_us") or ""
        limits += [q / p for q, p in zip(_positive(quota), _positive(period), strict=False)]
    return max(1, math.floor(min(limits) + 1e-9))


def available_memory(environment: Mapping[str, str], installed: float, read: Read = read_text) -> float:
    """Return the bytes of memory that this process may use.

    Parameters
    ----------
    environment : mapping
        Environment variables.
    installed : float
        Bytes of memory of the machine; infinite if unknown.
    read : callable
        Reads a file.
    """
    limits = [installed, *_positive(environment.get("MEM_LIMIT"))]
    limits += _slurm(environment.get("SLURM_MEM_PER_NODE"))
    cores = _positive(environment.get("SLURM_CPUS_ON_NODE") or environment.get("SLURM_CPUS_PER_TASK"))
    limits += [each * (cores[0] if cores else 1.0) for each in _slurm(environment.get("SLURM_MEM_PER_CPU"))]
    for folder in _groups(MEMORY, read):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limits += _positive(read(f"{folder}/{name}"))
    return min(limits)


def _groups(controller: str, read: Read) -> Iterator[str]:
    """Yield the folders of the control groups of this process, from its own to the root."""
    for line in (read("/proc/self/cgroup") or "0::/").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        # In a container the group's own folder is often mounted as the root.
        for root in (
            (f"/sys/fs/cgroup/{controllers}", f"/sys/fs/cgroup/{controller}")
            if controllers
            else (
                "/sys/fs/cgroup",
                "/sys/fs/cgroup/unified",
            )
        ):
            parts = [part for part in path.split("/") if part not in ("", "..")]
            yield from ("/".join([root, *parts[:length]]) for length in range(len(parts), -1, -1))


def _positive(text: str | None) -> list[float]:
    """Return a positive number as a list; an empty one for anything else, such as "max" or -1 for no limit."""
    try:
        number = float(text) if text else 0.0
    except ValueError:
        return []
    return [number] if 0 < number < math.inf else []


def _slurm(text: str | None) -> list[float]:
    """Return Slurm's memory in bytes as a list; an empty one if it is not limited."""
    unit = (text or "")[-1:].upper()
    number = text if unit.isdigit() else (text or "")[:-1]
    return [amount * UNITS.get(unit if unit in UNITS else "", 2**20) for amount in _positive(number)]


def default_workers(environment: Mapping[str, str] | None = None, read: Read = read_text) -> int:
    """Return the number of workers that fit in the available cores and memory.

    Parameters
    ----------
    environment : mapping, optional
        By default that of this process.
    read : callable
        Reads a file.
    """
    environment = os.environ if environment is None else environment
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = available_memory(environment, _installed(), read)
    fitting = available_cores(environment, affinity, read)
    return max(1, fitting if math.isinf(memory) else min(fitting, int(memory // WORKER_MEMORY)))


def _installed() -> float:
    """Return the bytes of memory of this machine; infinite if unknown."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        # Not a POSIX system.
        return math.inf


def memory_per_worker(workers: int) -> float:
    """Return the bytes of memory that each of some local workers may take; infinite if unknown.

    Parameters
    ----------
    workers : int
        Number of workers at once.
    """
    return available_memory(os.environ, _installed()) / max(1, workers)
