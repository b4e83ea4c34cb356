"""H.264 and HEVC without a container: units behind start codes."""

import re
from typing import Final

FORMATS: Final = frozenset({"h264", "hevc"})
"""FFmpeg's names of them."""
ZEROS_INSIDE: Final = re.compile(rb"\0{16}\0*[^\0\1]")
"""Of zeros three follow each other inside no unit; between two are any number, and a one."""


def is_damaged(packet: bytes) -> bool:
    r"""Tell whether zeros were written over a part, as lost sectors are.

    Example:
        >>> unit, zeros = b"\0\0\1\x65\x88", bytes(16)
        >>> is_damaged(unit + zeros + unit), is_damaged(unit + zeros + b"\x88")
        (False, True)
    """
    return ZEROS_INSIDE.search(packet) is not None
