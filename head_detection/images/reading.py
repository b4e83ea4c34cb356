"""Reads any picture file into one kind of array: RGB, 8 bits, upright."""

import ctypes
import io
import logging
import os
import stat
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import BinaryIO, Final

import cv2
import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image, ImageFile, UnidentifiedImageError

from head_detection.errors import PictureError, PictureSizeError
from head_detection.images.depth import DeepImage, Levels
from head_detection.images.finding import FORMATS, readable_formats
from head_detection.images.png import allow_long_texts, is_turned_late
from head_detection.images.reasons import (
    REMEDY,
    START_BYTES,
    describe_start,
    explaining,
    has_negative_width,
)

Picture = npt.NDArray[np.uint8]
PictureSource = Path | bytes | bytearray | memoryview | BinaryIO

MAX_PIXELS: Final = 178_956_970
"""Larger pictures are refused unread by default: Pillow's own limit, 512 MiB."""

_ORIENTATION_TAG: Final = 0x0112
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF orientation, what makes the picture upright; 5 to 8 swap its sides."""
_FIRST_ORIENTATION_ON_ITS_SIDE: Final = 5
_UPRIGHT: Final = 1
_SIZE_IN_HEADER: Final = frozenset(
    {"JPEG", "MPO", "PNG", "GIF", "BMP", "WEBP", "AVIF", "JPEG2000", "PPM", "TGA"}
)
"""Formats whose header has the size of the decoded picture, unlike that of an icon, for example."""

_AS_STORED: Final = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_ENDS: Final = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG": b"IEND\xaeB`\x82", b"GIF8": b"\x3b"}
"""First bytes of a JPEG, PNG and GIF, and the last bytes of a whole one."""
_HEADER_BYTES: Final = 12
_TAIL_BYTES: Final = 16
_RIFF_FRAME_BYTES: Final = 8

EnoughSize = Callable[[tuple[int, int]], tuple[int, int]]


@dataclass(frozen=True)
class ReducedPicture:
    """A picture, perhaps decoded small.

    Attributes:
        pixels: ``(height, width, 3)`` uint8 RGB, writable.
        image_size: (height, width) of the whole picture, upright.
        note: which range of more than 8 bits became black to white, if the file is ambiguous;
            whether it holds further pages or frames.
    """

    pixels: Picture
    image_size: tuple[int, int]
    note: str | None = None


def read_picture(source: PictureSource, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read a picture of any of ``FORMATS``, told by its content; safe to call from several threads.

    EXIF rotation is applied. Grey, palette and CMYK pictures are converted, more than 8 bits are
    scaled to 8 (``depth`` says how), transparent pixels become white, and an animation gives its
    first frame.

    Args:
        source: a file, its bytes, or an open binary file.
        max_pixels: larger pictures are refused by their header, before they are decoded.

    Returns:
        ``(height, width, 3)`` uint8 RGB, writable.

    Raises:
        PictureError: missing, empty, corrupt, truncated, too large, or not a picture.

    Example:
        >>> file = io.BytesIO()
        >>> Image.new("LA", (4, 2), (0, 0)).save(file, "PNG")
        >>> picture = read_picture(file.getvalue())
        >>> picture.shape, int(picture[0, 0, 0])
        ((2, 4, 3), 255)
    """
    return read_reduced(source, None, max_pixels).pixels


def read_reduced(
    source: PictureSource, enough: EnoughSize | None, max_pixels: int = MAX_PIXELS
) -> ReducedPicture:
    """Read a picture as ``read_picture`` does, but a JPEG no larger than needed, which is faster.

    The JPEG decoder gives a half, a quarter or an eighth of the sides with less work. OpenCV
    decodes plain WebP pictures, to the same pixels as Pillow.

    Args:
        source: a file, its bytes, or an open binary file.
        enough: returns the (height, width) that is enough for a picture of a given (height, width),
            upright; None reads all of it.
        max_pixels: as for ``read_picture``.

    Raises:
        PictureError: as ``read_picture``.
    """
    name = name_of(source)
    with explaining(name, max_pixels), open_picture(source, max_pixels) as image:
        if image.format == "WEBP" and (pixels := _decode_webp(source, image)) is not None:
            return ReducedPicture(pixels, (pixels.shape[0], pixels.shape[1]))
        if enough is None or image.format != "JPEG":
            return decode_picture(image, name, max_pixels)
        size = upright_size(image)
        height, width = enough(size)
        swaps = orientation_of(image) >= _FIRST_ORIENTATION_ON_ITS_SIDE
        image.draft(None, (height, width) if swaps else (width, height))
        return replace(decode_picture(image, name, max_pixels), image_size=size)


def convert_picture(
    image: Image.Image, name: str, max_pixels: int = MAX_PIXELS, levels: Levels | None = None
) -> Picture:
    """Return the pixels of ``decode_picture``, with its arguments and errors."""
    return decode_picture(image, name, max_pixels, levels).pixels


def decode_picture(
    image: Image.Image, name: str, max_pixels: int = MAX_PIXELS, levels: Levels | None = None
) -> ReducedPicture:
    """Decode and convert a Pillow image, as ``read_picture`` does a file.

    Args:
        image: any mode, from a file or made in memory; it is not changed.
        name: its name in errors.
        max_pixels: larger pictures are refused.
        levels: which values of more than 8 bits become black and white; None chooses by this image.

    Returns:
        The pixels and their size.

    Raises:
        PictureError: corrupt, truncated, too large, or of a format that is not decoded here.
    """
    with explaining(name, max_pixels):
        _check_format(image, name)
        _check_size(image, name, max_pixels)
        deep, note = DeepImage.of(image), _note_of_more(image)
        image.load()
        orientation = orientation_of(image)
        if deep is not None:
            values = deep.values()
            if levels is None:
                levels, own_note = deep.choose_levels(values, name)
                note = "; ".join(filter(None, (note, own_note))) or None
            image = deep.to_8_bits(values, levels)
        rgb = image if _is_plain_rgb(image) else _convert(image)
        upright = rgb.transpose(_TURNS[orientation]) if orientation in _TURNS else rgb
        pixels = np.array(upright)
        return ReducedPicture(pixels, (pixels.shape[0], pixels.shape[1]), note)


def read_picture_size(source: PictureSource, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return the ``(height, width)`` that ``read_picture`` would give, mostly from the header.

    Raises:
        PictureError: as ``read_picture``, as far as the header shows it.
    """
    name = name_of(source)
    with explaining(name, max_pixels), open_picture(source, max_pixels) as image:
        # Pillow rotates a TIFF itself: the size before decoding depends on Pillow's version.
        is_plain_tiff = image.format == "TIFF" and orientation_of(image) == _UPRIGHT
        if image.format not in _SIZE_IN_HEADER and not is_plain_tiff:
            image.load()
        return upright_size(image)


def open_picture(source: PictureSource, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open a picture without decoding it; use it within ``explaining``.

    Raises:
        PictureError: missing, empty or too large.
    """
    image = _open(source, max_pixels)
    try:
        _check_size(image, name_of(source), max_pixels)
    except PictureError:
        image.close()
        raise
    return image


def check_picture(path: Path) -> tuple[int, int]:
    """Check that a picture can be read and return its ``(height, width)``.

    Only the header is read, and the end of JPEG, PNG, GIF and WebP files. A file that does not end
    as it should, or has another format, is decoded. Damage in the middle of a file with a proper
    end is not found.

    Raises:
        PictureError: missing, empty, truncated, too large, or not a picture.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile(suffix=".png") as file:
        ...     Image.new("L", (4, 2)).save(file, "PNG")
        ...     file.flush()
        ...     check_picture(Path(file.name))
        (2, 4)
    """
    image_size = read_picture_size(path)
    try:
        with path.open("rb") as file:
            ends_well = _ends_well(file)
    except OSError as error:
        raise PictureError(f"{path}: {error.strerror}") from error
    if not ends_well:
        return read_reduced(path, None).image_size
    return image_size


@cache
def _silence_decoders() -> None:
    """Silence Pillow's warnings of large pictures and odd metadata, from the first picture on.

    Large pictures have our own limit, odd metadata does no harm, and ``catch_warnings`` around each
    picture would not be thread-safe. Pillow also logs what is wrong with a TIFF, and its own
    libtiff writes it to standard error: the exception is enough.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    package = Path(PIL.__file__).parent
    for library in (
        *package.parent.glob("pillow.libs/libtiff*"),
        *package.glob(".dylibs/libtiff*"),
    ):
        ctypes.CDLL(str(library)).TIFFSetErrorHandler(None)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return ``(height, width)`` upright; for a rotated TIFF, only once it is decoded."""
    width, height = image.size
    on_its_side = orientation_of(image) >= _FIRST_ORIENTATION_ON_ITS_SIDE
    return (width, height) if on_its_side else (height, width)


def name_of(source: PictureSource) -> str:
    """Return the name of a picture in errors."""
    name = str(source) if isinstance(source, Path) else getattr(source, "name", None)
    return name if isinstance(name, str) else "picture"


def _open(source: PictureSource, max_pixels: int) -> Image.Image:
    _silence_decoders()
    allow_long_texts()
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > 2 * Image.MAX_IMAGE_PIXELS:
        # Pillow refuses twice its limit, which we only raise, since threads may ask for others.
        Image.MAX_IMAGE_PIXELS = -(-max_pixels // 2)
    if isinstance(source, Path):
        status = source.stat()  # once: it may be removed meanwhile
        if not stat.S_ISREG(status.st_mode):
            raise PictureError(f"{source}: expected a picture file; this is none")
        if status.st_size == 0:
            raise PictureError(f"{source}: the file is empty")
        return _identify(source, str(source))
    content = source if isinstance(source, bytes | bytearray | memoryview) else source.read()
    if len(content) == 0:
        raise PictureError(f"{name_of(source)}: the file is empty")
    return _identify(io.BytesIO(content), name_of(source))


def _identify(source: Path | BinaryIO, name: str) -> Image.Image:
    """Open a picture of one of ``FORMATS`` by its content, whatever its extension."""
    try:
        return Image.open(source, formats=readable_formats())
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        if isinstance(source, Path):
            with source.open("rb") as file:
                start = file.read(START_BYTES)
        else:
            source.seek(0)
            start = source.read(START_BYTES)
        if isinstance(error, Image.DecompressionBombError) and not has_negative_width(start):
            raise
        raise PictureError(f"{name}: {describe_start(start)}") from error


def _check_format(image: Image.Image, name: str) -> None:
    """Refuse an image that a caller opened with a decoder that may start other programs."""
    is_open = isinstance(image, ImageFile.StubImageFile) or bool(getattr(image, "tile", None))
    if is_open and image.format is not None and image.format not in FORMATS:
        raise PictureError(f"{name}: {image.format} is not read; make it a JPEG or PNG")


def _check_size(image: Image.Image, name: str, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise PictureSizeError(
            f"{name}: {width}x{height} pixels; at most {max_pixels:,} pixels are read; {REMEDY}"
        )
    if width == 0 or height == 0:
        raise PictureError(f"{name}: the picture has no pixels")


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation of the stored picture, 1 to 8; 1 is upright.

    A PNG that states it after its pixels is decoded to find it.
    """
    if is_turned_late(image):
        image.load()
    try:
        # Pillow's PNG reader decodes the whole picture in its own getexif().
        value = Image.Image.getexif(image).get(_ORIENTATION_TAG, _UPRIGHT)
        return int(value) if value in _TURNS else _UPRIGHT
    except Exception:  # noqa: BLE001 - a broken EXIF block does not make the picture unreadable
        return _UPRIGHT


def _decode_webp(source: PictureSource, image: Image.Image) -> Picture | None:
    """Decode a plain WebP with OpenCV; None leaves it to Pillow, also to say why it cannot be read.

    Both use libwebp. Pillow, however, decodes to a canvas with transparency and copies it four
    times, mostly while other threads of Python wait: 0.5 ms for a picture of 608x800.

    Args:
        source: an open file is left to Pillow.
        image: the same, opened.
    """
    is_whole = not getattr(image, "is_animated", False) and orientation_of(image) == _UPRIGHT
    if not is_whole or not _is_plain_rgb(image):
        return None
    match source:
        case Path():
            content = source.read_bytes()
        case bytes() | bytearray() | memoryview():
            content = bytes(source)
        case _:
            return None
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), _AS_STORED)
    except cv2.error:  # larger than OpenCV reads
        return None
    is_it = pixels is not None and pixels.shape == (image.height, image.width, 3)
    return np.asarray(pixels, np.uint8) if is_it else None


def _note_of_more(image: Image.Image) -> str | None:
    """Say that a file holds more pictures than the one that is read.

    Not for an MPO: a phone shows only its first picture, which was computed from the others.
    """
    try:
        has_more = image.format != "MPO" and getattr(image, "is_animated", False)
    except Exception:  # noqa: BLE001 - the second may be damaged and the first whole
        return None
    return "the first of several pages or frames alone was read" if has_more else None


def _is_plain_rgb(image: Image.Image) -> bool:
    return image.mode == "RGB" and "transparency" not in image.info


def _convert(image: Image.Image) -> Image.Image:
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        rgba = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _ends_well(file: BinaryIO) -> bool:
    header = file.read(_HEADER_BYTES)
    num_bytes = file.seek(0, os.SEEK_END)
    if header[:4] == b"RIFF" and header[8:12] == b"WEBP":
        stated = int.from_bytes(header[4:8], "little") + _RIFF_FRAME_BYTES
        return num_bytes >= stated
    file.seek(max(0, num_bytes - _TAIL_BYTES), os.SEEK_SET)
    tail = file.read().rstrip(b"\x00")
    return any(header.startswith(start) and tail.endswith(end) for start, end in _ENDS.items())
