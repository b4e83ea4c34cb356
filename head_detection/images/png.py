"""Reads the chunks of a PNG file, some of which Pillow does not report."""

import struct
from collections.abc import Iterator
from typing import BinaryIO, Final

from PIL import Image, PngImagePlugin

MAX_TEXT_BYTES: Final = 64 << 20
"""Unpacked text or colour profile per file; Pillow stops at 1 MiB each, for fear of zip bombs."""
_SIGNATURE_BYTES: Final = 8
_HEADER: Final = struct.Struct(">I4s")
_SUM_BYTES: Final = 4
_EXIF: Final = b"eXIf"
_TEXT: Final = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_KEYWORDS: Final = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
"""Beginnings of texts that may hold an orientation."""


def chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield the kind and the length of each chunk, with the file positioned at its content.

    It stops at the first thing that is not a whole chunk header.
    """
    start = _SIGNATURE_BYTES
    while True:
        file.seek(start)
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return
        length, kind = _HEADER.unpack(header)
        yield kind, length
        start += _HEADER.size + length + _SUM_BYTES


def significant_bits(image: Image.Image) -> int:
    """Return the sBIT value of a picture that is not loaded, 0 if it has none.

    It is the number of bits that the samples had before they were scaled to those of the file.
    """
    file = _file_of(image)
    if file is None:
        return 0
    position = file.tell()
    try:
        for kind, length in chunks(file):
            if kind == b"sBIT":
                return max(file.read(min(length, 4)), default=0)
            if kind == b"IDAT":
                break
        return 0
    finally:
        file.seek(position)


def is_turned_late(image: Image.Image) -> bool:
    """Tell whether a picture that is not loaded may state its orientation after its pixels.

    Pillow reads that far only when it decodes.
    """
    file = _file_of(image)
    if file is None or getattr(image, "is_animated", False):
        return False
    position, is_late = file.tell(), False
    try:
        for kind, _ in chunks(file):
            is_late = is_late or kind == b"IDAT"
            if is_late and (kind == _EXIF or (kind in _TEXT and _may_turn(file))):
                return True
        return False
    finally:
        file.seek(position)


def allow_long_texts() -> None:
    """Let Pillow unpack up to ``MAX_TEXT_BYTES`` of text and colour profile, in this process."""
    PngImagePlugin.MAX_TEXT_CHUNK = max(PngImagePlugin.MAX_TEXT_CHUNK, MAX_TEXT_BYTES)
    PngImagePlugin.MAX_TEXT_MEMORY = max(PngImagePlugin.MAX_TEXT_MEMORY, MAX_TEXT_BYTES)


def _may_turn(file: BinaryIO) -> bool:
    return file.read(max(map(len, _KEYWORDS))).startswith(_KEYWORDS)


def _file_of(image: Image.Image) -> BinaryIO | None:
    """Return the open file of a PNG that is not loaded, otherwise None."""
    is_open = isinstance(image, PngImagePlugin.PngImageFile) and bool(image.tile)
    return getattr(image, "fp", None) if is_open else None
