"""Memory that was freed: kept for the next picture, and given back where it piles up."""

import ctypes
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

MAX_PILED_UP: Final = 1024**3
"""Bytes. What pictures of one size need comes back from what they freed; those of other sizes leave
holes that fit none: 300 pictures of 300 sizes left 4 GB of them."""
TUNABLES: Final = "GLIBC_TUNABLES"
_SMALL_BLOCKS_LISTED: Final = "glibc.malloc.tcache_count"
_TRIM_THRESHOLD: Final = -1
_MMAP_MAX: Final = -4
_ARENA_MAX: Final = -8
"""glibc's numbers for ``mallopt``, from its malloc.h."""
_NEVER: Final = 2**31 - 1
_RESIDENT: Final = 1
"""Field of Linux's ``statm``: pages in memory."""


def keep_freed_memory() -> bool:
    """Let glibc use freed memory again instead of giving it back to the system.

    The maps of a network are tens of megabytes, which glibc asks of the system anew for each
    picture; the system hands them out as zeroed pages, thousands of faults that cost a tenth of a
    small network's time. The process keeps what it needed at its peak, see ``FreedMemory``. All
    threads share it: what one freed, the next picture may need in another.

    Returns:
        Whether the C library took it: others than glibc have no such setting.
    """
    mallopt = getattr(_c_library(), "mallopt", None)
    if mallopt is None:
        return False
    settings = {_MMAP_MAX: 0, _TRIM_THRESHOLD: _NEVER, _ARENA_MAX: 1}
    return all(bool(mallopt(key, value)) for key, value in settings.items())


def with_fewer_holes(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for a process in which what it frees leaves fewer holes.

    Each thread lists small blocks that it freed, for itself; they hold apart the large ones beside
    them, where pictures of ever other sizes find no room: 160 took 1892 MiB at most, and 968
    without these lists. glibc reads so when a process starts, and cannot be told later.

    Args:
        environment: what it says of these lists stays, and of glibc's other settings.

    Example:
        >>> with_fewer_holes({"GLIBC_TUNABLES": "glibc.malloc.check=1"})
        {'GLIBC_TUNABLES': 'glibc.malloc.check=1:glibc.malloc.tcache_count=0'}
    """
    given = environment.get(TUNABLES, "")
    if _SMALL_BLOCKS_LISTED in given:
        return dict(environment)
    settings = ":".join(filter(None, (given, f"{_SMALL_BLOCKS_LISTED}=0")))
    return {**environment, TUNABLES: settings}


class FreedMemory:
    """Gives freed memory back to the system once much of it has piled up.

    Where the C library is not glibc, or the system not Linux, it does nothing.

    Args:
        most: bytes that may pile up.
    """

    def __init__(self, most: int = MAX_PILED_UP) -> None:
        self._most = most
        self._trim = getattr(_c_library(), "malloc_trim", None)
        self._used: int | None = None

    def tidy(self) -> None:
        """Look at what the process holds; call it between pictures."""
        if self._trim is None:
            return
        resident = _resident_bytes()
        if resident is None:
            self._trim = None
        elif self._used is None or resident < self._used:
            self._used = resident
        elif resident > self._used + self._most:
            self._trim(0)
            self._used = _resident_bytes()


def _c_library() -> Any:
    try:
        return ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows has none of this name
        return None


def _resident_bytes() -> int | None:
    try:
        fields = Path("/proc/self/statm").read_bytes().split()
    except OSError:
        return None
    return int(fields[_RESIDENT]) * os.sysconf("SC_PAGE_SIZE")
