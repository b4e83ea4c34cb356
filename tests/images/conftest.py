"""Picture files of more than 8 bits a channel, byte by byte: no library here writes them all."""

import struct
import zlib
from collections.abc import Callable, Sequence

import numpy as np
import pytest

Entry = tuple[int, int, Sequence[float]]
TYPES = {2: "s", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d"}
"""The TIFF 6.0 specification's numbers of types, and Python's letters for them."""


def png_chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


@pytest.fixture(scope="session")
def deep_png() -> Callable[..., bytes]:
    """A function from ``(H, W, channels)`` values, and chunks before or after, to a 16-bit PNG."""

    def make(values: np.ndarray, before: bytes = b"", after: bytes = b"") -> bytes:
        height, width, channels = values.shape
        kind = {1: 0, 3: 2, 2: 4, 4: 6}[channels]
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
        header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
        return (
            b"\x89PNG\r\n\x1a\n"
            + png_chunk(b"IHDR", header)
            + before
            + png_chunk(b"IDAT", zlib.compress(rows))
            + after
            + png_chunk(b"IEND", b"")
        )

    return make


@pytest.fixture(scope="session")
def tiff() -> Callable[..., bytes]:
    """A function from ``(H, W, channels)`` values to an uncompressed TIFF of their own type.

    ``kind`` is the photometric interpretation: 0 and 1 grey, 2 RGB, 5 CMYK; ``tags`` come besides.
    """

    def make(
        values: np.ndarray,
        kind: int = 1,
        order: str = "<",
        tags: Sequence[Entry] = (),
        bits: int = 0,
    ) -> bytes:
        height, width, channels = values.shape
        pixels = values.astype(values.dtype.newbyteorder(order)).tobytes()
        sample = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
        depths = [bits or 8 * values.itemsize] * channels
        extra = [(338, 3, [2])] if (kind, channels) in ((2, 4), (1, 2)) else []
        entries = [
            *[(256, 3, [width]), (257, 3, [height]), (258, 3, depths), (259, 3, [1])],
            *[(262, 3, [kind]), (273, 4, [8]), (277, 3, [channels]), (278, 3, [height])],
            *[(279, 4, [len(pixels)]), (339, 3, [sample] * channels), *extra, *tags],
        ]
        start = 8 + len(pixels) + 2 + 12 * len(entries) + 4
        table, far = struct.pack(f"{order}H", len(entries)), b""
        for tag, number, content in sorted(entries, key=lambda entry: entry[0]):
            packed = struct.pack(f"{order}{len(content)}{TYPES[number]}", *content)
            is_short = len(packed) <= 4
            place = (
                packed.ljust(4, b"\0") if is_short else struct.pack(f"{order}I", start + len(far))
            )
            far += b"" if is_short else packed + bytes(len(packed) % 2)
            table += struct.pack(f"{order}HHI", tag, number, len(content)) + place
        mark = b"II*\0" if order == "<" else b"MM\0*"
        return mark + struct.pack(f"{order}I", 8 + len(pixels)) + pixels + table + bytes(4) + far

    return make


@pytest.fixture(scope="session")
def chunk() -> Callable[[bytes, bytes], bytes]:
    """A function from kind and content to a chunk of PNG."""
    return png_chunk
