"""ASF, the container of WMV: packets of one size, which hold parts of numbered frames."""

from itertools import pairwise
from pathlib import Path
from typing import Final

from head_detection.pipeline.damage.parts import Parts

FORMAT: Final = "asf"
"""FFmpeg's name of it."""
PROPERTIES: Final = bytes.fromhex("A1DCAB8C47A9CF118EE400C00C205365")
"""The kind of the object that holds the size of all packets."""
SIZE_BEHIND: Final = 92
"""Where the size is in it."""
HEADER_BYTES: Final = 1 << 16
"""Bytes in which it is looked for; it comes early."""
DATA: Final = bytes.fromhex("3626B2758E66CF11A6D900AA0062CE6C")
DATA_HEADER: Final = 50
"""The kind of the object that holds the packets, and its bytes before the first."""
INDICES: Final = frozenset(
    {
        bytes.fromhex("90080033B1E5CF1189F400A0C90349CB"),
        bytes.fromhex("D329E2D6DA35D111903400A0C90349BE"),
        bytes.fromhex("F803B1FEAD12644C840F2A1D2F7AD48C"),
        bytes.fromhex("D03FB73C4A0C0348953DEDF7B6228F0C"),
    }
)
"""Kinds of objects that may follow the packets."""
LENGTHS: Final = (0, 1, 2, 4)
"""Bytes of a number, by two bits of a packet's flags."""
CORRECTED: Final = 0x80
"""The bit of a packet's first byte that says that bytes for error correction follow."""
SEND_TIME: Final = 6


class PacketError(ValueError):
    """The content is not a packet."""


def begin(content: bytes) -> int:
    """Return where the first packet of a file begins."""
    return content.find(DATA) + DATA_HEADER


class Packets:
    """The packets of a file.

    Args:
        path: the file.
        stream: number of the video track.

    Attributes:
        size: of each packet, in bytes; 0 if the header does not tell.

    Source:
        Microsoft, Advanced Systems Format Specification 1.2, 3.2 and 5.2.
    """

    def __init__(self, path: Path, stream: int) -> None:
        self._stream = stream
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
        place = header.find(PROPERTIES) + SIZE_BEHIND
        told = header[place : place + 4] if place >= SIZE_BEHIND else b""
        self.size = int.from_bytes(told, "little")

    def follow(self, content: bytes, place: int, _size: int) -> Parts:
        """Go from packet to packet up to the first that is not one.

        Or to one that begins with a frame whose number does not follow the one before.

        Args:
            content: of a file.
            place: of a packet in it.
        """
        places: list[int] = []
        last: int | None = None
        begins_with = content[place]
        while place < len(content):
            if content[place : place + 16] in INDICES:
                place += max(24, int.from_bytes(content[place + 16 : place + 24], "little"))
                continue
            if content[place] != begins_with:
                break
            packet = content[place : place + self.size]
            if len(packet) == self.size:
                try:
                    numbers = _numbers_in(packet, self._stream)
                except PacketError:
                    break
                seen = numbers if last is None else [last, *numbers]
                if any((after - before) % 256 > 1 for before, after in pairwise(seen)):
                    break
                last = seen[-1] if seen else None
            places.append(place)
            place += self.size
        return Parts(places, place)


def _numbers_in(packet: bytes, stream: int) -> list[int]:
    """Return the numbers of a stream's frames of which a packet holds parts, in order."""
    reader = _Reader(packet)
    if packet[0] & CORRECTED:
        reader.skip(1 + (packet[0] & 0xF))
    flags, lengths = reader.number(1), reader.number(1)
    for shift in (5, 1, 3):  # its length, a number that is not used, and its padding
        reader.number(LENGTHS[flags >> shift & 3])
    reader.skip(SEND_TIME)
    count, length_bytes = 1, 0
    if flags & 1:
        several = reader.number(1)
        count, length_bytes = several & 0x3F, LENGTHS[several >> 6]
    numbers = []
    for _ in range(count):
        of_stream = reader.number(1) & 0x7F
        number = reader.number(LENGTHS[lengths >> 4 & 3])
        reader.number(LENGTHS[lengths >> 2 & 3])
        reader.skip(reader.number(LENGTHS[lengths & 3]))
        if length_bytes:
            reader.skip(reader.number(length_bytes))
        if of_stream == 0:
            raise PacketError
        if of_stream == stream:
            numbers.append(number)
    return numbers


class _Reader:
    def __init__(self, packet: bytes) -> None:
        self._packet, self._place = packet, 0

    def skip(self, length: int) -> None:
        self._place += length
        if self._place > len(self._packet):
            raise PacketError

    def number(self, length: int) -> int:
        place = self._place
        self.skip(length)
        return int.from_bytes(self._packet[place : place + length], "little")
