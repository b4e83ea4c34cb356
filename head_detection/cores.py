"""The number of cores for this process, found without torch, which takes seconds to load."""

import os
from pathlib import Path
from typing import Final

CPU_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")
"""A Linux container's limit (cgroup version 2): microseconds of CPU per period, and the period."""


def num_cores() -> int:
    """Return how many cores this process may use, which in a container may be fewer than exist."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    try:
        quota, period = CPU_QUOTA.read_text(encoding="utf-8").split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or "max": no limit
        return cores
