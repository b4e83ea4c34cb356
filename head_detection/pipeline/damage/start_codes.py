"""H.264 and HEVC without a container: units after start codes."""

import re
from typing import Final

FORMATS: Final = frozenset({"h264", "hevc"})
"""FFmpeg's names of them."""
ZEROS_INSIDE: Final = re.compile(rb"\0{16}\0*[^\0\1]")
"""Three zeros never follow each other inside a unit; between two there are any number, and a
one."""

START: Final = b"\0\0\1"
WHOLE: Final = {"h264": (0x1F, 0, frozenset({5})), "hevc": (0x3F, 1, frozenset({19, 20}))}
"""By codec: the bits of a unit's first byte that tell its kind, how far they are shifted, and the
kinds of pictures that need no earlier one, and neither do those after them (IDR)."""


def begins_whole(packet: bytes, codec: str) -> bool:
    r"""Tell whether a stream that begins with this packet lacks no picture that others need.

    Args:
        packet: units after start codes.
        codec: FFmpeg's name, one of ``FORMATS``.

    Source:
        ITU-T H.264, table 7-1; H.265, table 7-1: kinds of units.

    Example:
        >>> begins_whole(b"\0\0\1\x67ab\0\0\1\x65ab", "h264"), begins_whole(b"\0\0\1\x41ab", "h264")
        (True, False)
    """
    mask, shift, kinds = WHOLE[codec]
    units = packet.split(START)[1:]
    return any(unit[0] >> shift & mask in kinds for unit in units if unit)


def is_damaged(packet: bytes) -> bool:
    r"""Tell whether a part was overwritten with zeros, as by lost sectors.

    Example:
        >>> unit, zeros = b"\0\0\1\x65\x88", bytes(16)
        >>> is_damaged(unit + zeros + unit), is_damaged(unit + zeros + b"\x88")
        (False, True)
    """
    return ZEROS_INSIDE.search(packet) is not None
