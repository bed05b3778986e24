"""How many workers fit: affinity, control groups of both versions, JupyterHub and Slurm."""

import math
import os
from collections.abc import Mapping

import pytest

from maggjob.backend.workers import WORKER_MEMORY, available_cores, available_memory, default_workers

GB = 2.0**30
NESTED = {
    "/proc/self/cgroup": "0::/system.slice/slurmstepd.scope/job_7/step_0\n",
    "/sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/cpu.max": "300000 100000\n",
    "/sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/step_0/cpu.max": "max 100000\n",
    "/sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/memory.max": f"{4 * 2**30}\n",
    "/sys/fs/cgroup/system.slice/memory.max": "max\n",
}
CONTAINER = {
    "/proc/self/cgroup": "0::/\n",
    "/sys/fs/cgroup/cpu.max": "250000 100000\n",
    "/sys/fs/cgroup/memory.max": f"{2 * 2**30}\n",
}
HIDDEN = {
    # The group's path is that of the host, but its folder is mounted as the root.
    "/proc/self/cgroup": "0::/../../kubepods/pod1\n",
    "/sys/fs/cgroup/cpu.max": "200000 100000\n",
    "/sys/fs/cgroup/memory.max": f"{3 * 2**30}\n",
}
VERSION_1 = {
    "/proc/self/cgroup": "11:memory:/docker/a1\n4:cpu,cpuacct:/docker/a1\n1:name=systemd:/x\n0::/x\n",
    "/sys/fs/cgroup/cpu,cpuacct/docker/a1/cpu.cfs_quota_us": "150000\n",
    "/sys/fs/cgroup/cpu,cpuacct/docker/a1/cpu.cfs_period_us": "50000\n",
    "/sys/fs/cgroup/memory/docker/a1/memory.limit_in_bytes": f"{5 * 2**30}\n",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
}
VERSION_1_UNLIMITED = {
    "/proc/self/cgroup": "4:cpu,cpuacct:/\n3:memory:/\n",
    "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
    "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
}


@pytest.mark.parametrize(
    ("environment", "files", "cores", "memory"),
    [
        ({}, {}, 8, 16 * GB),
        ({}, NESTED, 3, 4 * GB),
        ({}, CONTAINER, 2, 2 * GB),
        ({}, HIDDEN, 2, 3 * GB),
        ({}, VERSION_1, 3, 5 * GB),
        ({}, VERSION_1_UNLIMITED, 8, 16 * GB),
        ({"CPU_LIMIT": "4.0", "MEM_LIMIT": "8589934592"}, {}, 4, 8 * GB),
        ({"CPU_LIMIT": "0.5"}, {}, 1, 16 * GB),
        ({"CPU_LIMIT": "none", "MEM_LIMIT": ""}, {}, 8, 16 * GB),
        ({"CPU_GUARANTEE": "1", "MEM_GUARANTEE": "1"}, {}, 8, 16 * GB),
        ({"SLURM_CPUS_PER_TASK": "2", "SLURM_CPUS_ON_NODE": "6", "SLURM_MEM_PER_NODE": "4096"}, {}, 2, 4 * GB),
        ({"SLURM_CPUS_ON_NODE": "6", "SLURM_MEM_PER_CPU": "1G"}, {}, 6, 6 * GB),
        ({"SLURM_MEM_PER_CPU": "512"}, {}, 8, GB / 2),
        ({"SLURM_MEM_PER_NODE": "0"}, {}, 8, 16 * GB),
        ({"CPU_LIMIT": "2"}, NESTED, 2, 4 * GB),
        ({"CPU_LIMIT": "32", "MEM_LIMIT": "1e12"}, CONTAINER, 2, 2 * GB),
    ],
)
def test_the_smallest_limit_counts(
    environment: Mapping[str, str], files: Mapping[str, str], cores: int, memory: float
) -> None:
    assert available_cores(environment, 8, files.get) == cores
    assert available_memory(environment, 16 * GB, files.get) == memory


def test_workers_fit_in_cores_and_memory() -> None:
    cores = len(os.sched_getaffinity(0))
    assert default_workers({}, {}.get) <= cores
    assert default_workers({"MEM_LIMIT": str(WORKER_MEMORY)}, {}.get) == 1
    assert default_workers({"MEM_LIMIT": "1"}, {}.get) == 1
    assert default_workers({"CPU_LIMIT": "1"}, {}.get) == 1
    assert 1 <= default_workers() <= cores


def test_where_nothing_is_known_there_is_no_limit() -> None:
    assert available_memory({}, math.inf, {}.get) == math.inf
