"""Why a picture cannot be read, in words for the user."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from PIL import Image

from head_detection.errors import PictureError, PictureSizeError
from head_detection.images.finding import spellings_of
from head_detection.images.png import MAX_TEXT_BYTES

_NOT_READ: Final = {
    b"%!PS": "PostScript (EPS)",
    b"\xc5\xd0\xd3\xc6": "PostScript (EPS)",
    b"%PDF": "PDF",
    b"SIMPLE  =": "FITS",
    b"<svg": "SVG",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
}
"""First bytes of formats that are not read, for a helpful message."""
_HEIC_BRANDS: Final = (b"heic", b"heix", b"hevc", b"mif1", b"msf1")
_WINDOWS_HEADER: Final = 40
"""Bytes of a BMP's second header from Windows 3 on, in which width and height are signed."""
REMEDY: Final = "make it smaller, or allow more with --max-pixels (in Python: max_pixels)"
_ADDRESS: Final = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
"""With one slash, because ``Path`` shortens two; one letter is a drive of Windows."""
_OTHER_SPELLING: Final = "; there is one whose accents are composed otherwise (NFC and NFD)"


START_BYTES: Final = 26
"""Bytes to look at in a file that is not read: up to a BMP's width and height."""


@contextmanager
def explaining(name: str, max_pixels: int) -> Iterator[None]:
    """Turn whatever a decoder raises into a ``PictureError`` of one line."""
    try:
        yield
    except PictureError:
        raise
    except Exception as error:  # decoders raise all kinds of exceptions
        raise _explain(error, name, max_pixels) from error


def describe_start(start: bytes) -> str:
    """Return why a file is none of ``FORMATS``, by its first bytes.

    Example:
        >>> describe_start(b"%!PS-Adobe-3.0 EPSF-3.0")
        'PostScript (EPS) is not read; make it a JPEG or PNG'
    """
    kind = next((kind for first, kind in _NOT_READ.items() if start.startswith(first)), None)
    if start[4:8] == b"ftyp" and start[8:12] in _HEIC_BRANDS:
        kind = "HEIC"
    if kind is not None:
        return f"{kind} is not read; make it a JPEG or PNG"
    if has_negative_width(start):
        return "a BMP whose header is damaged: its width is below 0"
    if start.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "a TIFF that is damaged, or holds its pixels in a way that is not read"
    return "not a picture in any known format"


def is_address(text: str) -> bool:
    """Tell an address of the web or of a camera from a path, also one that ``Path`` shortened.

    Example:
        >>> is_address("rtsp://cam/1"), is_address("http:/host/a.jpg"), is_address("C:/a.jpg")
        (True, True, False)
    """
    return _ADDRESS.match(text) is not None


def has_negative_width(start: bytes) -> bool:
    """Tell whether a file begins as a BMP of negative width, which Pillow reads as 4 billion.

    Example:
        >>> has_negative_width(b"BM" + bytes(12) + bytes([40, 0, 0, 0]) + bytes([255] * 4))
        True
    """
    is_bmp = start.startswith(b"BM") and int.from_bytes(start[14:18], "little") >= _WINDOWS_HEADER
    return is_bmp and int.from_bytes(start[18:22], "little", signed=True) < 0


def _explain(error: Exception, name: str, max_pixels: int) -> PictureError:
    kind = PictureSizeError if isinstance(error, Image.DecompressionBombError) else PictureError
    return kind(f"{name}: {_reason(error, name, max_pixels)}")


def _missing(name: str) -> str:
    if os.path.islink(name):  # noqa: PTH114 - Path's own raises for a long name
        return "a link to a file that is not there"
    if is_address(name):
        return (
            "expected a file; got an address: download the picture, or make the address the whole "
            "source (--source, in Python detector.track)"
        )
    is_there = any(map(os.path.lexists, spellings_of(name)))
    return f"no such file{_OTHER_SPELLING if is_there else ''}"


def _reason(error: Exception, name: str, max_pixels: int) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    match error:
        case Image.DecompressionBombError():
            reason = f"too many pixels; at most {max_pixels:,} are read; {REMEDY}"
        case FileNotFoundError() | NotADirectoryError():
            reason = _missing(name)
        case PermissionError():
            reason = "no permission to read the file"
        case MemoryError():
            reason = "not enough memory to decode it"
        case OSError() if error.strerror and error.errno != errno.EINVAL:  # the system's own
            reason = error.strerror
        case _ if "MAX_TEXT" in text:  # Pillow's words
            reason = f"more than {MAX_TEXT_BYTES >> 20} MiB of text or colour profile; cut it out"
        case _:
            reason = f"corrupt or truncated picture ({text})"
    return reason
