"""MPEG program streams: packs and packets, each after a start code."""

from typing import Final

from head_detection.pipeline.damage.parts import Parts

FORMAT: Final = "mpeg"
"""FFmpeg's name of it."""
START: Final = b"\0\0\1"
PACK, END, FIRST_PACKET = 0xBA, 0xB9, 0xBB
"""The bytes after a start code; those of packets are higher than a pack's."""
PADDING: Final = 64
"""Zeros that may follow a packet: a Video CD fills its sectors with 20."""
PACKET: Final = 6
"""Bytes before the content of a packet; the last two are its length."""
MPEG_1_PACK, MPEG_2_PACK = 12, 14
"""Bytes of a pack's header; in MPEG-2, up to seven more follow."""


def follow(content: bytes, place: int, _size: int) -> Parts:
    """Go from packet to packet up to the first that is not one.

    Args:
        content: of a file.
        place: of a packet in it.

    Source:
        ITU-T H.222.0, 2.5.3: pack and packet; ISO 11172-1, 2.4.3: those of MPEG-1.
    """
    places: list[int] = []
    end = place
    while True:
        begin = content.find(START, end, end + PADDING + PACKET)
        code = content[begin + len(START)] if 0 <= begin < len(content) - PACKET else 0
        if code < END or any(content[end:begin]):
            return Parts(places, end)
        places.append(begin)
        end = begin + _length(content[begin : begin + MPEG_2_PACK], code)


def _length(header: bytes, code: int) -> int:
    """Return the length of a part, by its first bytes."""
    if code == END:
        return len(START) + 1
    if code > PACK:
        return PACKET + int.from_bytes(header[4:PACKET], "big")
    is_second = header[4] >> 6 == 1
    return MPEG_2_PACK + (header[-1] & 7) if is_second else MPEG_1_PACK
