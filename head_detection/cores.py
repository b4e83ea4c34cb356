"""The cores of this process: how many, and how threads wait for each other, all without torch."""

import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

CPU_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")
"""A Linux container's limit (cgroup version 2): microseconds of CPU per period, and the period."""

WAIT_POLICY: Final = "OMP_WAIT_POLICY"
"""The environment variable that tells whether OpenMP's threads spin or sleep while they wait."""
SPINS: Final = ("GOMP_SPINCOUNT", "1000")
"""Turns of GNU's OpenMP before a waiting thread sleeps, 15 to 60 microseconds. A detection is
hundreds of short parallel loops: if threads slept at once, waking them would take longer than most
loops; if they spun for longer, two processes on the same cores would take turns in spinning."""


def num_cores() -> int:
    """Return how many cores this process may use, which in a container may be fewer than exist."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    try:
        quota, period = CPU_QUOTA.read_text(encoding="utf-8").split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or "max": no limit
        return cores


def set_wait_policy(environment: MutableMapping[str, str]) -> None:
    """Let OpenMP's threads sleep soon after they have nothing to do, unless a policy is set.

    Threads that spin take cores from those that decode pictures, and from other processes.

    Args:
        environment: of a process that has not loaded torch, because OpenMP reads it only then.

    Example:
        >>> environment = {}
        >>> set_wait_policy(environment)
        >>> environment
        {'OMP_WAIT_POLICY': 'PASSIVE', 'GOMP_SPINCOUNT': '1000'}
    """
    if WAIT_POLICY not in environment:
        environment[WAIT_POLICY] = "PASSIVE"
        environment.setdefault(*SPINS)
