"""How many workers this machine, or this share of one, can feed."""

import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

WORKER_MEMORY = 600 * 2**20  # bytes that a local worker may need: measured peak of a large cell, and room


def available_cores(environment: Mapping[str, str], cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that this process may use: the least of affinity, cgroup and CPU_LIMIT.

    ``os.cpu_count()`` counts those of the machine: 64 in a JupyterHub pod that has 4.
    """
    limits = [float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)]
    with suppress(OSError, ValueError):  # no cgroup version 2, or "max"
        quota, period = (cgroup / "cpu.max").read_text().split()
        limits.append(int(quota) / int(period))
    limit = _number(environment.get("CPU_LIMIT"))
    if limit:
        limits.append(limit)
    return max(1, math.floor(min(limits)))


def available_memory(environment: Mapping[str, str], cgroup: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes of memory that this process may use; infinite when nothing limits it."""
    limits = [math.inf]
    with suppress(AttributeError, ValueError, OSError):  # not a POSIX system
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(OSError, ValueError):  # no cgroup version 2, or "max"
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
    """Workers that fit in the cores and the memory that there are."""
    environment = os.environ if environment is None else environment
    memory = available_memory(environment, cgroup)
    fitting = available_cores(environment, cgroup)
    return max(1, fitting if math.isinf(memory) else min(fitting, int(memory // WORKER_MEMORY)))
