"""How much memory the process holds, and the most that it held for a while."""

import sys
from pathlib import Path
from typing import Final

import torch

STATUS: Final = Path("/proc/self/status")  # Linux alone has these two
REFERENCES: Final = Path("/proc/self/clear_refs")
_FORGET_PEAK: Final = "5"
_KIBIBYTE: Final = 1024


class MemoryWatch:
    """The memory of this process from here on.

    Args:
        device: a GPU's own memory is watched beside the process's.

    Attributes:
        is_from_here: whether ``peak`` is that from here on; elsewhere than on Linux it is that of
            the process since it began.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.is_from_here = _forget_peak()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def peak(self) -> int | None:
        """Return the most bytes resident; None where the system does not tell."""
        return _status("VmHWM") or _peak_of_the_process()

    def now(self) -> int | None:
        """Return the bytes resident now; None where the system does not tell."""
        return _status("VmRSS")

    def device_peak(self) -> int | None:
        """Return the most bytes that tensors held on the GPU; None without one."""
        if self._device.type != "cuda":
            return None
        return int(torch.cuda.max_memory_allocated(self._device))


def _forget_peak() -> bool:
    try:
        REFERENCES.write_text(_FORGET_PEAK, encoding="ascii")
    except OSError:
        return False
    return True


def _status(key: str) -> int | None:
    try:
        lines = STATUS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{key}:")]
    return int(found[0]) * _KIBIBYTE if found else None


def _peak_of_the_process() -> int | None:
    if sys.platform == "win32":
        return None
    import resource  # noqa: PLC0415 - Windows has none

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * _KIBIBYTE
