"""Recognises video files by how they begin, whatever most of them are called."""

from contextlib import suppress
from pathlib import Path
from typing import Final

MOTION_JPEG_EXTENSIONS: Final = frozenset({".mjpeg", ".mjpg"})
"""Extensions of videos of JPEGs, one after the other, without a container."""
MOVIE_BOXES: Final = (b"ftyp", b"moov", b"mdat", b"wide", b"free")
"""First box of an MP4 or QuickTime file (ISO/IEC 14496-12)."""
OTHER_BRANDS: Final = (
    *(b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis"),
    *(b"M4A ", b"M4B "),
)
"""Brands of such files that hold pictures or sound."""
VIDEO_STARTS: Final = (
    b"\x1aE\xdf\xa3", b"\0\0\x01\xba", b"\0\0\x01\xb3", b"FLV\x01", b"0&\xb2u\x8ef\xcf\x11",
)  # fmt: skip
"""Matroska and WebM, MPEG-2, FLV, Windows Media."""
AVI: Final = b"AVI "
TRANSPORT: Final = b"G"
TRANSPORT_BYTES: Final = 188
"""Length of a packet of an MPEG transport stream; each begins with ``TRANSPORT`` (ISO/IEC
13818-1)."""
JPEG: Final = b"\xff\xd8\xff"
"""How each picture of a Motion-JPEG stream begins, and any JPEG file."""
ENOUGH_BYTES: Final = TRANSPORT_BYTES + 1
"""To recognise all of them."""


def begins_as_video(data: bytes) -> bool:
    """Tell whether a file that is no picture begins as a video does.

    Example:
        >>> begins_as_video(bytes(4) + b"ftypisom"), begins_as_video(bytes(4) + b"ftypheic")
        (True, False)
    """
    is_box = data[4:8] in MOVIE_BOXES and data[8:12] not in OTHER_BRANDS
    is_transport = data[: 2 * TRANSPORT_BYTES : TRANSPORT_BYTES] == 2 * TRANSPORT
    return is_box or is_transport or data.startswith(VIDEO_STARTS) or data[8:12] == AVI


def is_motion_jpeg(path: Path) -> bool:
    """Tell whether a file is a stream of JPEGs without a container, which only its name tells.

    A picture's file may hold several JPEGs too: those of a camera with two lenses, or a photo with
    a film behind it.
    """
    if path.suffix.lower().rstrip() not in MOTION_JPEG_EXTENSIONS:
        return False
    with suppress(OSError):  # reported when it is read
        if path.is_file():
            with path.open("rb") as file:
                return file.read(len(JPEG)) == JPEG
    return False
