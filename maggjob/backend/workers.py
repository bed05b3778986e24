"""Number of workers for which this machine, or the share of it that we may use, has cores and memory."""

import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

# Memory that a local worker may need: the measured peak of a large cell, plus a margin.
WORKER_MEMORY = 600 * 2**20  # bytes


def available_cores(environment: Mapping[str, str], cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the number of cores that this process may use: the least of affinity, cgroup and CPU_LIMIT.

    ``os.cpu_count()`` counts all cores of the machine: 64 in a JupyterHub pod that may use 4.

    Parameters
    ----------
    environment : mapping
        Environment variables.
    cgroup : Path
        Where cgroup version 2 is mounted.
    """
    limits = [float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)]
    # Skipped without cgroup version 2, and if the value is "max".
    with suppress(OSError, ValueError):
        quota, period = (cgroup / "cpu.max").read_text().split()
        limits.append(int(quota) / int(period))
    limit = _number(environment.get("CPU_LIMIT"))
    if limit:
        limits.append(limit)
    return max(1, math.floor(min(limits)))


def available_memory(environment: Mapping[str, str], cgroup: Path = Path("/sys/fs/cgroup")) -> float:
    """Return the bytes of memory that this process may use: the least of machine, cgroup and MEM_LIMIT.

    Parameters
    ----------
    environment : mapping
        Environment variables.
    cgroup : Path
        Where cgroup version 2 is mounted.

    Returns
    -------
    float
        Bytes; infinite if no limit is known.
    """
    limits = [math.inf]
    # Skipped if the system is not a POSIX one.
    with suppress(AttributeError, ValueError, OSError):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    # Skipped without cgroup version 2, and if the value is "max".
    with suppress(OSError, ValueError):
        limits.append(float((cgroup / "memory.max").read_text()))
    limit = _number(environment.get("MEM_LIMIT"))
    if limit:
        limits.append(limit)
    return min(limits)


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def default_workers(environment: Mapping[str, str] | None = None, cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the number of workers that fit in the available cores and memory.

    Parameters
    ----------
    environment : mapping, optional
        By default that of this process.
    cgroup : Path
        Where cgroup version 2 is mounted.
    """
    environment = os.environ if environment is None else environment
    memory = available_memory(environment, cgroup)
    fitting = available_cores(environment, cgroup)
    return max(1, fitting if math.isinf(memory) else min(fitting, int(memory // WORKER_MEMORY)))
