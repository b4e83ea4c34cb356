"""Any picture file to one kind of array: RGB, 8 bits, the right way up."""

import io
import os
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from head_detection.errors import PictureError

Picture = npt.NDArray[np.uint8]
PictureSource = Path | bytes | bytearray | memoryview | BinaryIO

MAX_PIXELS: Final = 178_956_970
"""Larger pictures are refused unread unless more is asked for: Pillow's own limit, 512 MiB."""

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
"""EXIF orientation to what puts the picture upright; 5 to 8 swap its sides."""
_FIRST_ORIENTATION_ON_ITS_SIDE: Final = 5
_UPRIGHT: Final = 1
_FULL_SCALES: Final = (1.0, 255.0, 65535.0)

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
        image_size: (height, width) of the whole picture, the right way up.
    """

    pixels: Picture
    image_size: tuple[int, int]


def read_picture(source: PictureSource, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read a picture of any format that Pillow opens; safe to call from several threads.

    EXIF rotation is applied. Grey, palette, CMYK and 16-bit pictures are converted (16 bits are
    scaled to 8, not clipped), what is transparent becomes white, and an animation gives its first
    frame.

    Args:
        source: a file, its bytes, or an open binary file.
        max_pixels: larger pictures are refused by their header, before they are decoded.

    Returns:
        ``(height, width, 3)`` uint8 RGB, writable.

    Raises:
        PictureError: missing, empty, corrupt, truncated, too large, or no picture at all.

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
    """Read a picture as ``read_picture`` does; a JPEG no larger than needed, which is quicker.

    JPEG's decoder gives a half, a quarter or an eighth of the sides for less work.

    Args:
        source: a file, its bytes, or an open binary file.
        enough: tells the (height, width) that is enough of a picture of some (height, width), the
            right way up; None is all of it.
        max_pixels: as ``read_picture``.

    Raises:
        PictureError: as ``read_picture``.
    """
    name = name_of(source)
    with explaining(name, max_pixels), open_picture(source, max_pixels) as image:
        size = upright_size(image)
        if enough is not None and image.format == "JPEG":
            height, width = enough(size)
            swaps = orientation_of(image) >= _FIRST_ORIENTATION_ON_ITS_SIDE
            image.draft(None, (height, width) if swaps else (width, height))
        pixels = convert_picture(image, name, max_pixels)
    own = (pixels.shape[0], pixels.shape[1])
    return ReducedPicture(pixels, size if own < size else own)


def convert_picture(image: Image.Image, name: str, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode and convert one of Pillow's images, as ``read_picture`` does a file.

    Args:
        image: any mode, opened or made; it is not changed.
        name: what errors call it.
        max_pixels: larger pictures are refused.

    Returns:
        ``(height, width, 3)`` uint8 RGB, writable.

    Raises:
        PictureError: corrupt, truncated or too large.
    """
    with explaining(name, max_pixels):
        _check_size(image, name, max_pixels)
        image.load()
        orientation = orientation_of(image)
        rgb = image if _is_plain_rgb(image) else _convert(image, name)
        upright = rgb.transpose(_TURNS[orientation]) if orientation in _TURNS else rgb
        return np.array(upright)


def read_picture_size(source: PictureSource, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return ``(height, width)`` as ``read_picture`` would give it, from the header (but for TIFF).

    Raises:
        PictureError: as ``read_picture``, as far as a header shows it.
    """
    name = name_of(source)
    with explaining(name, max_pixels), open_picture(source, max_pixels) as image:
        if image.format == "TIFF" and orientation_of(image) != _UPRIGHT:
            # Pillow turns TIFF itself: its size before decoding depends on Pillow's version.
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


@contextmanager
def explaining(name: str, max_pixels: int) -> Iterator[None]:
    """Turn whatever a decoder raises into a ``PictureError`` of one line."""
    try:
        yield
    except PictureError:
        raise
    except Exception as error:  # decoders fail in every way there is
        raise _explain(error, name, max_pixels) from error


def check_picture(path: Path) -> tuple[int, int]:
    """Make sure that a picture can be read and return its ``(height, width)``.

    The header is read, and the end of JPEG, PNG, GIF and WebP files is looked at. Only a file that
    does not end as it should, or of another format, is decoded. Damage in the middle of a file that
    ends well is not found.

    Raises:
        PictureError: missing, empty, truncated, too large, or no picture.

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
        height, width = read_picture(path).shape[:2]
        return height, width
    return image_size


@cache
def _ignore_pillow_warnings() -> None:
    """Silence what Pillow says of large pictures and odd metadata, from the first picture on.

    The limit here answers the first, the second does no harm, and ``catch_warnings`` around each
    picture would not be safe in threads.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return ``(height, width)`` the right way up, from the header."""
    width, height = image.size
    on_its_side = orientation_of(image) >= _FIRST_ORIENTATION_ON_ITS_SIDE
    return (width, height) if on_its_side else (height, width)


def name_of(source: PictureSource) -> str:
    """Return what errors call a picture."""
    name = str(source) if isinstance(source, Path) else getattr(source, "name", None)
    return name if isinstance(name, str) else "picture"


def _open(source: PictureSource, max_pixels: int) -> Image.Image:
    _ignore_pillow_warnings()
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > 2 * Image.MAX_IMAGE_PIXELS:
        # It refuses twice of it. The limit of the process only rises: threads may ask for others.
        Image.MAX_IMAGE_PIXELS = -(-max_pixels // 2)
    if isinstance(source, Path):
        status = source.stat()  # once: it may go away meanwhile
        if not stat.S_ISREG(status.st_mode):
            raise PictureError(f"{source}: expected a picture file; this is none")
        if status.st_size == 0:
            raise PictureError(f"{source}: the file is empty")
        return Image.open(source)
    content = source if isinstance(source, bytes | bytearray | memoryview) else source.read()
    if len(content) == 0:
        raise PictureError(f"{name_of(source)}: the file is empty")
    return Image.open(io.BytesIO(content))


def _check_size(image: Image.Image, name: str, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise PictureError(
            f"{name}: {width}x{height} pixels; at most {max_pixels:,} pixels are read; "
            "make it smaller, or allow more pixels"
        )
    if width == 0 or height == 0:
        raise PictureError(f"{name}: the picture has no pixels")


def orientation_of(image: Image.Image) -> int:
    """Return EXIF's number of how the picture is stored, 1 to 8; 1 is upright."""
    try:
        # Pillow's PNG reader decodes the whole picture in its own getexif().
        value = Image.Image.getexif(image).get(_ORIENTATION_TAG, _UPRIGHT)
    except Exception:  # noqa: BLE001 - a broken EXIF block does not make the picture unreadable
        return _UPRIGHT
    return value if isinstance(value, int) and value in _TURNS else _UPRIGHT


def _is_plain_rgb(image: Image.Image) -> bool:
    return image.mode == "RGB" and "transparency" not in image.info


def _convert(image: Image.Image, name: str) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_to_8_bits(np.asarray(image), name)).convert("RGB")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        rgba = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _to_8_bits(values: npt.NDArray[np.generic], name: str) -> Picture:
    """Scale grey integers of 16 bits, or floats in [0, 1], [0, 255] or [0, 65535], to 8 bits."""
    if not np.issubdtype(values.dtype, np.floating):
        scale = _FULL_SCALES[-1]
    else:
        values = np.nan_to_num(values.astype(np.float64))
        scale = next((s for s in _FULL_SCALES if values.max(initial=0) <= s), 0.0)
    if scale == 0.0 or values.max(initial=0) > scale:
        raise PictureError(f"{name}: pixels above 65535; expected 8 or 16 bits a channel")
    grey = np.clip(values.astype(np.float64) * (255.0 / scale), 0.0, 255.0)
    return np.rint(grey).astype(np.uint8)


def _ends_well(file: BinaryIO) -> bool:
    header = file.read(_HEADER_BYTES)
    num_bytes = file.seek(0, os.SEEK_END)
    if header[:4] == b"RIFF" and header[8:12] == b"WEBP":
        stated = int.from_bytes(header[4:8], "little") + _RIFF_FRAME_BYTES
        return num_bytes >= stated
    file.seek(max(0, num_bytes - _TAIL_BYTES), os.SEEK_SET)
    tail = file.read().rstrip(b"\x00")
    return any(header.startswith(start) and tail.endswith(end) for start, end in _ENDS.items())


def _explain(error: Exception, name: str, max_pixels: int) -> PictureError:
    if isinstance(error, UnidentifiedImageError):
        return PictureError(f"{name}: not a picture in any known format")
    if isinstance(error, Image.DecompressionBombError):
        return PictureError(f"{name}: too many pixels; at most {max_pixels:,} are read")
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return PictureError(f"{name}: no such file")
    if isinstance(error, PermissionError):
        return PictureError(f"{name}: no permission to read the file")
    if isinstance(error, OSError) and error.strerror:  # the system's, not a decoder's
        return PictureError(f"{name}: {error.strerror}")
    reason = " ".join(str(error).split()) or type(error).__name__
    return PictureError(f"{name}: corrupt or truncated picture ({reason})")
