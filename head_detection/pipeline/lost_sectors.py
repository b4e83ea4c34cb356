"""Finds packets overwritten with zeros, as by lost sectors, which decoders show as grey."""

import struct
from typing import Final

ZEROS: Final = bytes(16)
"""More than any intact packet has."""
UNITS_WITH_LENGTHS: Final = frozenset({"h264", "hevc"})
"""Three zero bytes never follow each other inside a unit of H.264 and HEVC (H.264, 7.4.1); with the
length before the next unit, there are at most four."""
MOTION_JPEG: Final = "mjpeg"
TABLES, SCAN, END = b"\xff\xc4", b"\xff\xda", b"\xff\xd9"
"""JPEG's markers: Huffman tables, the picture's bits, and its end (ITU-T T.81, B.1.1.3)."""
SEGMENT: Final = struct.Struct(">2sH")
"""A marker, and the length of its segment, including the two bytes of the length."""
AC: Final = 1
"""The class of tables for all coefficients but the first."""
END_OF_BLOCK: Final = 0


def can_tell(codec: str, extradata: bytes) -> bool:
    """Tell whether zeros in a codec's packets can be found: not if start codes divide its units."""
    has_lengths = codec in UNITS_WITH_LENGTHS and extradata[:1] == b"\x01"
    return has_lengths or codec == MOTION_JPEG


def is_zeroed(codec: str, packet: bytes) -> bool:
    """Tell whether a packet has zeros where the codec never has any.

    Args:
        codec: one for which ``can_tell`` is true.
        packet: the whole packet.
    """
    if ZEROS not in packet:
        return False
    return codec != MOTION_JPEG or _is_zeroed_jpeg(packet)


def _is_zeroed_jpeg(packet: bytes) -> bool:
    """Tell whether a JPEG has zeros at its beginning, or among the picture's bits.

    Zero bits repeat one coefficient again and again, which no picture does, unless its tables use
    them for the end of a block: then they are a plain area, provided that the end marker is there.
    """
    place, may_be_plain = len(b"\xff\xd8"), False
    if packet.startswith(ZEROS[:place]):
        return True
    while place + SEGMENT.size <= len(packet):
        mark, length = SEGMENT.unpack_from(packet, place)
        if mark[:1] != SCAN[:1]:
            return bool(mark == ZEROS[: len(mark)])
        segment = packet[place + SEGMENT.size : place + len(mark) + length]
        place += len(mark) + length
        if mark == TABLES:
            may_be_plain |= _has_zero_for_end(segment)
        elif mark == SCAN:
            break
    zeros, end = packet.find(ZEROS, place), packet.find(END, place)
    if zeros < 0 or 0 <= end < zeros:  # after the end there may be some
        return False
    return end < 0 or not may_be_plain


def _has_zero_for_end(tables: bytes) -> bool:
    """Tell whether a table's first code, all zeros, means that the rest of a block is zero.

    Source:
        ITU-T T.81, B.2.4.2: class and number, how many codes there are of each of 16 lengths, and
        what each stands for, the shortest first.
    """
    while len(tables) > 1 + 16:
        symbols = tables[1 + 16 : 1 + 16 + sum(tables[1 : 1 + 16])]
        if tables[0] >> 4 == AC and symbols[:1] == bytes([END_OF_BLOCK]):
            return True
        tables = tables[1 + 16 + len(symbols) :]
        if not symbols:
            break
    return False
