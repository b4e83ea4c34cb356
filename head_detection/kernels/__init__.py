"""Kernels for a GPU in Triton, where PyTorch's operators take many launches or passes.

Each computes what operators of PyTorch compute, and those are used wherever it cannot run. The
modules beside this one import Triton, so they are imported only where ``can_run`` says so.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

logger = logging.getLogger(__name__)

_off: list[bool] = []


def can_run(device: torch.device) -> bool:
    """Tell whether the kernels run on a device, and compute there what PyTorch computes.

    Triton comes with PyTorch for CUDA on Linux, and needs a C compiler. The first call on a machine
    compiles the kernels, which takes seconds; Triton keeps them for later processes.
    """
    if device.type != "cuda" or _off or torch.version.hip or not torch.cuda.is_available():
        return False
    return _is_right(device)


@contextmanager
def switched_off() -> Iterator[None]:
    """Run a block without the kernels, in all threads.

    Networks that were fused and graphs that were recorded before keep theirs.
    """
    _off.append(True)
    try:
        yield
    finally:
        _off.pop()


@cache
def _is_right(device: torch.device) -> bool:
    try:
        from head_detection.kernels.check import find_fault  # noqa: PLC0415 - imports Triton
    except ImportError as error:  # PyTorch comes without Triton, as on Windows
        logger.info("%s: own kernels are not used: %s", device, error)
        return False
    try:
        fault = find_fault(device)
    except Exception as error:  # noqa: BLE001 - of Triton, the compiler or the driver, of any type
        lines = str(error).strip().splitlines() or [""]
        fault = f"{type(error).__name__}: {lines[0]}"
    if fault is not None:
        logger.warning("%s: own kernels are not used, which is slower: %s", device, fault)
    return fault is None
