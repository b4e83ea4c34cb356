"""Reads a picture that is too large to be decoded whole, as rows from the top down.

This is what each format holds in memory besides the requested rows, and the peak memory of a
process that reads 30,000 x 20,000 pixels (1.7 GiB as RGB, 2.2 GiB as Pillow holds them) in bands of
1,000 rows:

- PNG of 8 bits, not interlaced: a few rows, 0.7 GiB. Rows are unpacked in order and given to Pillow
  as small PNGs that begin with the row above.
- TIFF of 8 or 16 bits: a strip, or a row of tiles, 0.5 GiB.
- JPEG in colour: 1.5 bytes per pixel, 1.5 GiB. The luma is decoded whole, and the chroma at half
  the sides, as most files store it. For a progressive JPEG, libjpeg needs 3 more bytes per pixel,
  2.6 GiB.
- All others, and pictures that EXIF rotates: the whole picture.
"""

import struct
import zlib
from collections import deque
from collections.abc import Generator, Iterator
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import cv2
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from head_detection.errors import PictureError
from head_detection.images.depth import NUM_VALUES, DeepImage, Levels
from head_detection.images.reading import (
    MAX_PIXELS,
    Picture,
    convert_picture,
    open_picture,
    orientation_of,
    read_picture_size,
)
from head_detection.images.reasons import explaining

_BLOCK_ROWS: Final = 256
_BYTES_AT_ONCE: Final = 1 << 20
_PNG_TYPES: Final = {"L": (0, 1), "RGB": (2, 3), "P": (3, 1), "LA": (4, 2), "RGBA": (6, 4)}
"""By Pillow's mode: PNG's colour type and bytes per pixel, at 8 bits per channel."""
_TIFF_COMPRESSIONS: Final = {1, 5, 7, 8, 32773, 32946}
"""None, LZW, JPEG, Deflate (twice) and PackBits: each strip or tile can be decoded alone."""
_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PLANES, _SAMPLE_FORMAT = 256, 257, 258, 259, 284, 339
_STRIP_OFFSETS, _STRIP_ROWS, _STRIP_BYTES = 273, 278, 279
_TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_BYTES = 322, 323, 324, 325
_COPIED_TAGS: Final = (_BITS, _COMPRESSION, 262, 266, 277, _PLANES, 317, 320, 338, 339, 347, 530)
"""Other tags that define how a strip's bytes become pixels, by their numbers in TIFF 6.0."""


class Bands:
    """The rows of one picture, upright, from the top down.

    Args:
        path: the file.
        max_pixels: larger pictures are refused by their header.

    Attributes:
        image_size: (height, width).

    Raises:
        PictureError: missing, empty, too large, or not a picture.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile(suffix=".png") as file:
        ...     Image.new("RGB", (3, 9)).save(file, "PNG")
        ...     file.flush()
        ...     with Bands(Path(file.name)) as bands:
        ...         bands.read(0, 4).shape, bands.read(2, 9).shape
        ((4, 3, 3), (7, 3, 3))
    """

    def __init__(self, path: Path, max_pixels: int = MAX_PIXELS) -> None:
        self._name, self._max_pixels = str(path), max_pixels
        self.image_size = read_picture_size(path, max_pixels)
        with explaining(self._name, max_pixels), open_picture(path, max_pixels) as image:
            self._blocks = _blocks_of(path, image, max_pixels)
        self._held: deque[tuple[int, Picture]] = deque()  # decoded blocks: first row, pixels
        self._top = self._end = 0

    def read(self, top: int, bottom: int) -> Picture:
        """Return rows, ``(bottom - top, width, 3)`` uint8 RGB.

        Args:
            top: the first row, not above that of an earlier call, since earlier rows are dropped.
            bottom: the row after the last; at most the height.

        Raises:
            PictureError: corrupt or truncated.
            ValueError: rows outside the picture, or above those of an earlier call.
        """
        if not self._top <= top <= bottom <= self.image_size[0]:
            raise ValueError(
                f"expected {self._top} <= top <= bottom <= {self.image_size[0]}; "
                f"got {top} and {bottom}"
            )
        self._top = top
        while self._held and self._held[0][0] + len(self._held[0][1]) <= top:
            self._held.popleft()
        with explaining(self._name, self._max_pixels):
            while self._end < bottom:
                block = next(self._blocks, None)
                if block is None:
                    raise PictureError(f"{self._name}: corrupt or truncated picture (rows missing)")
                if self._end + len(block) > top:
                    self._held.append((self._end, block))
                self._end += len(block)
        rows: Picture = np.empty((bottom - top, self.image_size[1], 3), np.uint8)
        for start, block in self._held:
            first, last = max(start, top), min(start + len(block), bottom)
            if first < last:
                rows[first - top : last - top] = block[first - start : last - start]
        return rows

    def close(self) -> None:
        """Close the file and drop what is decoded."""
        self._blocks.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


def _blocks_of(path: Path, image: Image.Image, max_pixels: int) -> Generator[Picture]:
    """Choose how to read a picture that is open but not decoded."""
    if orientation_of(image) == 1 and not getattr(image, "is_animated", False):
        if isinstance(image, PngImageFile) and image.tile and not image.info.get("interlace"):
            rawmode = image.tile[0].args
            if rawmode in _PNG_TYPES:
                return _png_blocks(path, image.size, str(rawmode))
        if isinstance(image, TiffImageFile) and _stands_alone(image.tag_v2):
            return _tiff_blocks(path, image.tag_v2, DeepImage.of(image))
        if image.format == "JPEG" and image.mode == "RGB" and image.info.get("adobe_transform", 1):
            return _jpeg_blocks(path, max_pixels)
    return _whole_blocks(path, max_pixels)


def _whole_blocks(path: Path, max_pixels: int) -> Generator[Picture]:
    with open_picture(path, max_pixels) as image:
        if image.mode != "RGB" or orientation_of(image) != 1:
            yield convert_picture(image, str(path), max_pixels)
            return
        image.load()
        for top, bottom in _spans(image.height):
            strip = image.crop((0, top, image.width, bottom))
            yield convert_picture(strip, str(path))


def _jpeg_blocks(path: Path, max_pixels: int) -> Generator[Picture]:
    with open_picture(path, max_pixels) as image:
        width, height = image.size
        image.draft("YCbCr", (-(-width // 2), -(-height // 2)))
        image.load()
        chroma = np.empty((image.height, image.width, 2), np.uint8)
        for top, bottom in _spans(image.height):
            strip = image.crop((0, top, image.width, bottom))
            chroma[top:bottom] = np.asarray(strip)[:, :, 1:]
    scale = height / len(chroma)
    with open_picture(path, max_pixels) as image:
        image.draft("L", image.size)
        image.load()
        for top, bottom in _spans(height):
            luma = image.crop((0, top, width, bottom))
            colors = _stretch(chroma, (top, bottom), width) if scale > 1 else chroma[top:bottom]
            parts = [Image.fromarray(np.ascontiguousarray(colors[:, :, k])) for k in (0, 1)]
            yield np.array(Image.merge("YCbCr", [luma, *parts]).convert("RGB"))


def _stretch(chroma: Picture, rows: tuple[int, int], width: int) -> Picture:
    """Return the chroma of some rows at the full size of the picture, interpolated."""
    top, bottom = rows
    first, last = max(0, top // 2 - 1), min(len(chroma), -(-bottom // 2) + 1)
    part = chroma[first:last]
    size = (2 * part.shape[1], 2 * len(part))
    large = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    return large[top - 2 * first : bottom - 2 * first, :width]


def _png_blocks(path: Path, size: tuple[int, int], rawmode: str) -> Generator[Picture]:
    width, height = size
    kind, num_channels = _PNG_TYPES[rawmode]
    row_bytes = 1 + width * num_channels
    above = b""
    with path.open("rb") as file:
        colors, packed = _png_parts(file)
        lines = _unpacked(packed, row_bytes * _BLOCK_ROWS)
        for top, bottom in _spans(height):
            content = next(lines, b"")
            if len(content) < row_bytes * (bottom - top):
                raise OSError("image file is truncated")
            header = struct.pack(">IIBBBBB", width, bottom - top + bool(above), 8, kind, 0, 0, 0)
            rows = zlib.compress(above + content[: row_bytes * (bottom - top)], level=0)
            small = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + colors
            content = small + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")
            image = Image.open(BytesIO(content), formats=["PNG"])
            pixels = convert_picture(image, str(path))
            yield pixels[bool(above) :]
            last = image.crop((0, image.height - 1, width, image.height))
            above = b"\0" + last.tobytes()  # a row that is not predicted from another


def _png_parts(file: BinaryIO) -> tuple[bytes, Iterator[bytes]]:
    """Return the chunks that define the colours, and an iterator over the packed rows."""
    file.seek(8)
    colors = b""
    while True:
        length, kind = struct.unpack(">I4s", file.read(8))
        if kind == b"IDAT":
            return colors, _png_data(file, length)
        content = file.read(length)
        file.seek(4, 1)
        if kind in (b"PLTE", b"tRNS"):
            colors += _chunk(kind, content)


def _png_data(file: BinaryIO, length: int) -> Iterator[bytes]:
    kind = b"IDAT"
    while kind == b"IDAT":
        while length > 0 and (part := file.read(min(length, _BYTES_AT_ONCE))):
            length -= len(part)
            yield part
        file.seek(4, 1)  # skip the checksum: zlib checks its own after the last row
        header = file.read(8)
        if len(header) < 8:  # noqa: PLR2004 - the file ends here
            return
        length, kind = struct.unpack(">I4s", header)


def _unpacked(parts: Iterator[bytes], num_bytes: int) -> Iterator[bytes]:
    """Yield ``num_bytes`` unpacked bytes at a time; the last part may be shorter."""
    unpack, ready = zlib.decompressobj(), bytearray()
    for part in parts:
        left = part
        while left:
            ready += unpack.decompress(left, max(1, num_bytes - len(ready)))
            left = unpack.unconsumed_tail
            if len(ready) >= num_bytes:
                yield bytes(ready)
                ready.clear()
    ready += unpack.flush()
    yield bytes(ready)


def _chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def _stands_alone(tags: ImageFileDirectory_v2) -> bool:
    """Tell whether each strip or tile of a TIFF can be decoded without the others."""
    samples, bits = tags.get(_SAMPLE_FORMAT, (1,)), tags.get(_BITS, (1,))
    return (
        tags.get(_COMPRESSION, 1) in _TIFF_COMPRESSIONS
        and tags.get(_PLANES, 1) == 1
        and set(samples) == {1}
        and set(bits) in ({8}, {16})
        and (_STRIP_OFFSETS in tags or _TILE_OFFSETS in tags)
    )


def _tiff_blocks(
    path: Path, tags: ImageFileDirectory_v2, deep: DeepImage | None
) -> Generator[Picture]:
    levels = None if deep is None else _measure(path, tags, deep)
    for parts, num_rows in _tiff_parts(path, tags):
        pixels = [convert_picture(part, str(path), levels=levels) for part in parts]
        yield np.concatenate(pixels, axis=1)[:num_rows, : tags[_WIDTH]]


def _measure(path: Path, tags: ImageFileDirectory_v2, deep: DeepImage) -> Levels:
    """Return the levels of black and white of a 16-bit picture, the same for all its parts."""
    counts, values = np.zeros(NUM_VALUES, np.int64), np.zeros((0, 0), np.uint16)
    for parts, num_rows in _tiff_parts(path, tags):
        for number, part in enumerate(parts):
            opened = DeepImage(part)
            part.load()
            values = opened.values()[:num_rows, : tags[_WIDTH] - number * part.width]
            counts += opened.count(values)
    return deep.choose_levels(values, str(path), counts)[0]


def _tiff_parts(path: Path, tags: ImageFileDirectory_v2) -> Iterator[tuple[list[Image.Image], int]]:
    """Yield each strip, or each row of tiles from left to right, and its number of valid rows."""
    width, height = tags[_WIDTH], tags[_LENGTH]
    is_tiled = _TILE_OFFSETS in tags
    part_width = tags[_TILE_WIDTH] if is_tiled else width
    part_height = tags[_TILE_LENGTH] if is_tiled else min(tags.get(_STRIP_ROWS, height), height)
    offsets = tags[_TILE_OFFSETS if is_tiled else _STRIP_OFFSETS]
    lengths = tags[_TILE_BYTES if is_tiled else _STRIP_BYTES]
    num_across = -(-width // part_width)
    with path.open("rb") as file:
        for number, top in enumerate(range(0, height, part_height)):
            num_rows = min(part_height, height - top)
            size = (part_width, part_height if is_tiled else num_rows)
            parts: list[Image.Image] = []
            for index in range(number * num_across, (number + 1) * num_across):
                file.seek(offsets[index])
                small = _small_tiff(tags, size, file.read(lengths[index]))
                parts.append(Image.open(small, formats=["TIFF"]))
            yield parts, num_rows


def _small_tiff(tags: ImageFileDirectory_v2, size: tuple[int, int], content: bytes) -> BytesIO:
    """Return a TIFF of one strip that holds the bytes of a strip or tile of another file."""
    small = ImageFileDirectory_v2(prefix=tags.prefix)
    for tag in _COPIED_TAGS:
        if tag in tags:
            small.tagtype[tag] = tags.tagtype[tag]
            small[tag] = tags[tag]
    small[_WIDTH], small[_LENGTH] = size
    small[_STRIP_ROWS], small[_STRIP_OFFSETS], small[_STRIP_BYTES] = size[1], 0, len(content)
    file = BytesIO()
    small.save(file)  # it writes the offset so that the strip begins where the tags end
    file.write(content)
    file.seek(0)
    return file


def _spans(height: int) -> Iterator[tuple[int, int]]:
    """Yield the first row of each block and the row after its last."""
    for top in range(0, height, _BLOCK_ROWS):
        yield top, min(top + _BLOCK_ROWS, height)
