"""What a figure was measured on."""

import os
import platform
from typing import Any

import torch
import torchvision

from head_detection.devices import CPU_DESCRIPTION
from head_detection.training.run_folder import code_commit
from head_detection.version import __version__


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return processor, cores, threads, GPU, versions and commit; plain values for JSON.

    Args:
        device: what is measured on; a GPU beside it has no part in the figures.
    """
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "processor": _processor(),
        "cores": _cores(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "gpu": gpu,
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "head_detection": __version__,
        "commit": code_commit(),
    }


def _processor() -> str:
    try:
        lines = CPU_DESCRIPTION.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _cores() -> int:
    """Return the cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
