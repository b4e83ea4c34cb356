"""Packets that have zeros where their codec has none."""

from pathlib import Path

import numpy as np
import pytest
from clips import packets, write_clip

from head_detection.pipeline.lost_sectors import can_tell, is_zeroed

SOI, SOS, EOI = b"\xff\xd8", b"\xff\xda\x00\x03\x01", b"\xff\xd9"


def huffman(first_symbol: int, table: int = 0x10) -> bytes:
    """A table of one code of one bit."""
    return b"\xff\xc4\x00\x14" + bytes([table, 1]) + bytes(15) + bytes([first_symbol])


def test_where_units_are_told_apart_by_zeros_there_may_be_some() -> None:
    assert can_tell("h264", b"\x01\x64")
    assert not can_tell("h264", b"\x00\x00\x00\x01")
    assert can_tell("mjpeg", b"")
    assert not can_tell("mpeg4", b"\x01")


def test_sixteen_zeros_are_none_of_a_unit() -> None:
    assert not is_zeroed("h264", b"\x65" + bytes(15) + b"\x80")
    assert is_zeroed("h264", b"\x65" + bytes(16) + b"\x80")


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (b"", False),
        (bytes(40), True),
        (SOI + bytes(40), True),
        (SOI + SOS + b"\x11" * 40 + EOI, False),
        (SOI + SOS + b"\x11" * 40 + EOI + bytes(40), False),  # padded
        (SOI + SOS + b"\x11" * 40 + bytes(40), True),
        (SOI + SOS + b"\x11" + bytes(40) + b"\x11" + EOI, True),
        (SOI + b"\xff\xfe\x00\x2a" + bytes(40) + SOS + b"\x11" + EOI, False),  # a comment
        (SOI + huffman(0x00) + SOS + bytes(40) + EOI, False),  # a plain area
        (SOI + huffman(0x00) + SOS + bytes(40), True),
        (SOI + huffman(0x01) + SOS + bytes(40) + EOI, True),
        (SOI + huffman(0x00, table=0x00) + SOS + bytes(40) + EOI, True),  # of the first ones
        (SOI + b"\xff\xc4\xff\xff\x10" + b"\xff" * 40 + bytes(40), False),  # no length is believed
        (SOI + b"\xff\xc4\x00\x13\x10" + bytes(16) + SOS + bytes(40) + EOI, True),
    ],
)
def test_zeros_in_a_jpeg(packet: bytes, expected: bool) -> None:
    assert is_zeroed("mjpeg", packet) is expected


@pytest.mark.parametrize("tables", ["default", "optimal"])
def test_a_black_picture_is_none(tmp_path: Path, tables: str) -> None:
    black = [np.zeros((720, 1280, 3), np.uint8)] * 2
    path = write_clip(tmp_path / "a.avi", black, options={"huffman": tables})
    (packet, _) = packets(path, "video")
    assert (bytes(16) in packet) is (tables == "optimal")
    assert not is_zeroed("mjpeg", packet)
    assert is_zeroed("mjpeg", packet[: len(packet) // 2] + bytes(len(packet) // 2))
