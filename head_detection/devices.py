"""The device that a network runs on, and the precision that it computes in."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final, Literal, get_args

import torch
from torch import Tensor

from head_detection.errors import DeviceError

Precision = Literal["auto", "fp32", "bf16", "fp16"]
PRECISIONS: Final[tuple[str, ...]] = get_args(Precision)
CPU_DESCRIPTION: Final = Path("/proc/cpuinfo")  # only on Linux
_BF16_FLAGS: Final = {"avx512_bf16", "amx_bf16", "bf16"}
"""Flags of processors that multiply bfloat16 in hardware: x86, x86 with tiles (AMX), and Arm."""
_KEPT: Final[ContextVar[list[Tensor] | None]] = ContextVar("kept", default=None)


def find_device(name: str) -> torch.device:
    """Return the device; auto is the first CUDA device if there is one, else the CPU.

    Raises:
        DeviceError: no such device here.

    Example:
        >>> find_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"device: expected auto, cpu, cuda, cuda:N or mps; got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"device: {name} asked for, but torch {torch.__version__} sees "
            f"{torch.cuda.device_count()} CUDA devices here; use cpu or auto"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device: mps asked for, but this machine has none; use cpu or auto")
    return device


def find_precision(name: str, device: torch.device) -> str:
    """Return fp32, bf16 or fp16.

    Raises:
        DeviceError: no such precision, or fp16 on CPU, which is slower than fp32 there.
    """
    if name not in PRECISIONS:
        raise DeviceError(f"precision: expected {', '.join(PRECISIONS)}; got {name!r}")
    if name == "fp16" and device.type == "cpu":
        raise DeviceError("precision: fp16 needs a GPU; on cpu use auto, bf16 or fp32")
    if name != "auto":
        return name
    if device.type == "cpu":
        return "bf16" if cpu_multiplies_bf16() else "fp32"
    return "fp16" if device.type == "cuda" else "fp32"


def multiplies_bf16(device: torch.device) -> bool:
    """Tell whether the device multiplies bfloat16 in hardware, as far as is known."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and cpu_multiplies_bf16()


def cpu_multiplies_bf16() -> bool:
    """Tell whether the CPU multiplies bfloat16 in hardware; otherwise it is emulated, slowly."""
    capabilities = getattr(torch.cpu, "get_capabilities", None)  # torch 2.13 or so
    if capabilities is not None:
        return any(capabilities().get(flag, False) for flag in _BF16_FLAGS)
    try:
        described = CPU_DESCRIPTION.read_text(encoding="utf-8")
    except OSError:
        return False
    return not _BF16_FLAGS.isdisjoint(described.split())


def constant(
    values: tuple[Any, ...], device: torch.device, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return numbers as a tensor on a device, copied there once and cached; do not change it.

    The cache drops numbers that are not asked for again: see ``kept_constants``.

    Args:
        values: numbers, or tuples of them as deep as the tensor has dimensions.
        device: where the tensor is.
        dtype: its type.

    Example:
        >>> constant(((1, 2), (3, 4)), torch.device("cpu")).tolist()
        [[1.0, 2.0], [3.0, 4.0]]
    """
    numbers = _cached(values, device, dtype)
    kept = _KEPT.get()
    if kept is not None:
        kept.append(numbers)
    return numbers


@contextmanager
def kept_constants() -> Iterator[list[Tensor]]:
    """Collect the constants that a block of this thread uses.

    Work that is recorded by its addresses reads them again without asking for them, so whoever
    repeats it must hold them.

    Example:
        >>> with kept_constants() as kept:
        ...     _ = constant((3, 4), torch.device("cpu"))
        >>> [numbers.tolist() for numbers in kept]
        [[3.0, 4.0]]
    """
    kept: list[Tensor] = []
    token = _KEPT.set(kept)
    try:
        yield kept
    finally:
        _KEPT.reset(token)


@lru_cache(maxsize=1024)
def _cached(values: tuple[Any, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the tensor; it is there when this returns, whichever stream of a GPU reads it.

    Only the copy is waited for, on a stream of its own, not the GPU's other work.
    """
    # Never an inference tensor: training may use what was cached while detecting.
    with torch.inference_mode(mode=False):
        numbers = torch.tensor(values, dtype=dtype)
        if device.type != "cuda":
            return numbers.to(device)
        with torch.cuda.stream(_copying(device)):
            return numbers.to(device)


@cache
def _copying(device: torch.device) -> Any:
    return torch.cuda.Stream(device)
