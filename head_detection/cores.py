"""How many cores there are for this process; known without torch, which takes seconds to load."""

import os
from pathlib import Path
from typing import Final

CPU_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")
"""Of a container on Linux: microseconds of cores in a period, and the period (cgroup version 2)."""


def num_cores() -> int:
    """Return how many cores this process may use: fewer than the machine's in a container, say."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    try:
        quota, period = CPU_QUOTA.read_text(encoding="utf-8").split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or "max": no limit
        return cores
