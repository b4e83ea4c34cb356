"""Matroska and WebM: elements, each with a kind, a size and content."""

from typing import Final

from head_detection.pipeline.damage.parts import Parts

FORMAT: Final = "matroska,webm"
"""FFmpeg's name of it."""
BLOCKS: Final = (0xA3, 0xA1)
"""Kinds that hold a frame: SimpleBlock, and Block in a BlockGroup."""
MASTERS: Final = frozenset({0x1F43B675, 0xA0})
"""Kinds that hold blocks: Cluster and BlockGroup."""
LARGEST_NUMBER: Final = 8
"""Largest size of a number in bytes."""
OTHERS: Final = frozenset(
    {
        *(0xE7, 0xA7, 0xAB, 0x5854, 0xAF),  # of a cluster: its time, its place
        *(0x75A1, 0x9B, 0xFA, 0xFB, 0xFD, 0xA2, 0xA4, 0x75A2, 0x8E, 0xC8),  # of a group
        *(0xEC, 0xBF),  # anywhere: void and checksum
        *(0x1C53BB6B, 0x1254C367, 0x1941A469, 0x1043A770, 0x114D9B74, 0x1549A966, 0x1654AE6B),
    }
)


def follow(content: bytes, place: int, size: int) -> Parts:
    """Go from element to element up to the first that is not one.

    Args:
        content: of a file.
        place: in it, of the track number with which a block begins.
        size: of the packet, used if no element is found that begins before it.

    Source:
        RFC 8794, section 4 and 5: numbers and kinds; RFC 9559, section 5.1: the elements.
    """
    places = [place]
    end = _end_of_block(content, place) or place + 4 + size
    while end < len(content):
        begin = end
        kind, end = _number(content, begin, keeps_marker=True)
        if kind not in MASTERS and kind not in OTHERS and kind not in BLOCKS:
            return Parts(places, begin)
        size, end = _number(content, end)
        if kind in BLOCKS:
            places.append(end)
        if kind not in MASTERS:
            end += size
    return Parts(places, end)


def _end_of_block(content: bytes, place: int) -> int | None:
    """Return where a block ends, by the size before its content."""
    for length in range(1, min(LARGEST_NUMBER, place - 1) + 1):
        size, end = _number(content, place - length)
        if end == place and content[place - length - 1] in BLOCKS and size:
            return place + size
    return None


def _number(content: bytes, place: int, *, keeps_marker: bool = False) -> tuple[int, int]:
    """Return a number of EBML, and where it ends; a kind is a number that keeps its marker."""
    first = content[place] if place < len(content) else 0
    length = 9 - first.bit_length()
    value = int.from_bytes(content[place : place + length], "big")
    if not keeps_marker:
        value &= (1 << 7 * length) - 1
    return value, place + length
