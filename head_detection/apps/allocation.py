"""The C library's memory, kept for the next picture."""

import ctypes
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_MAX: Final = -4
"""glibc's numbers for ``mallopt``, from its malloc.h."""
_NEVER: Final = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let glibc use freed memory again instead of giving it back to the system.

    The maps of a network are tens of megabytes, which glibc asks of the system anew for each
    picture; the system hands them out as zeroed pages, thousands of faults that cost a tenth of a
    small network's time. The process keeps what it needed at its peak.

    Returns:
        Whether the C library took it: others than glibc have no such setting.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS, musl, Windows
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))
