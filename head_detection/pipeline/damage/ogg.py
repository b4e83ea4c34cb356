"""Ogg: pages, each with a checksum."""

import zlib
from typing import Final

from head_detection.pipeline.damage.parts import Parts

FORMAT: Final = "ogg"
"""FFmpeg's name of it."""
BEGIN: Final = b"OggS"
HEADER: Final = 27
"""Bytes before the sizes of what a page holds; the last of them is the number of sizes."""
CHECKSUM: Final = slice(22, 26)
MIRRORED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def follow(content: bytes, place: int, _size: int) -> Parts:
    """Go from page to page up to the first that is not one, or is damaged.

    Args:
        content: of a file.
        place: of a page in it.

    Source:
        RFC 3533, section 6.
    """
    places: list[int] = []
    end = place
    while end + HEADER <= len(content):
        sizes = content[end + HEADER : end + HEADER + content[end + HEADER - 1]]
        length = HEADER + len(sizes) + sum(sizes)
        page = content[end : end + length]
        if not page.startswith(BEGIN) or (len(page) == length and not _is_whole(page)):
            break
        places.append(end)
        end += length
    return Parts(places, end)


def _is_whole(page: bytes) -> bool:
    """Tell whether a page has the checksum that it states: CRC-32 with reversed bits."""
    told = int.from_bytes(page[CHECKSUM], "little")
    without = page[: CHECKSUM.start] + bytes(4) + page[CHECKSUM.stop :]
    ones = 0xFFFFFFFF  # which zlib starts and ends with
    mirrored = zlib.crc32(without.translate(MIRRORED), ones) ^ ones
    return int(f"{mirrored:032b}"[::-1], 2) == told
