"""Is a picture file whole? Decided by its end where that is enough, by decoding it otherwise."""

import os
from pathlib import Path
from typing import BinaryIO, Final

from head_detection.errors import PictureError
from head_detection.images.reading import read_picture, read_picture_size

_ENDS: Final = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG": b"IEND\xaeB`\x82", b"GIF8": b"\x3b"}
"""First bytes of a JPEG, PNG and GIF, and the last bytes of a whole one."""
_HEADER_BYTES: Final = 12
_TAIL_BYTES: Final = 16
_RIFF_FRAME_BYTES: Final = 8


def check_picture(path: Path) -> tuple[int, int]:
    """Make sure that a picture can be read and return its ``(height, width)``.

    The header is read, and the end of JPEG, PNG, GIF and WebP files is looked at. Only a file that
    does not end as it should, or of another format, is decoded. Damage in the middle of a file that
    ends well is not found.

    Raises:
        PictureError: missing, empty, truncated, too large, or no picture.

    Example:
        >>> import tempfile
        >>> from PIL import Image
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


def _ends_well(file: BinaryIO) -> bool:
    header = file.read(_HEADER_BYTES)
    num_bytes = file.seek(0, os.SEEK_END)
    if header[:4] == b"RIFF" and header[8:12] == b"WEBP":
        stated = int.from_bytes(header[4:8], "little") + _RIFF_FRAME_BYTES
        return num_bytes >= stated
    file.seek(max(0, num_bytes - _TAIL_BYTES), os.SEEK_SET)
    tail = file.read().rstrip(b"\x00")
    return any(header.startswith(start) and tail.endswith(end) for start, end in _ENDS.items())
