"""Encodes pictures as JPEG, PNG or WebP."""

from typing import Final

import cv2

from head_detection.errors import PictureError
from head_detection.images.reading import Picture

LARGEST_SIDES: Final = {".jpg": 65_500, ".jpeg": 65_500, ".png": 1_000_000, ".webp": 16_383}
"""Longest side in pixels, by the suffix: what libjpeg (``JPEG_MAX_DIMENSION``), libpng
(``PNG_USER_WIDTH_MAX``) and libwebp (``WEBP_MAX_DIMENSION``) write. JPEG itself allows 65,535."""
DEFAULT_QUALITY: Final = 95
"""OpenCV's own of a JPEG."""


def encode_picture(pixels: Picture, suffix: str, jpeg_quality: int = DEFAULT_QUALITY) -> bytes:
    """Return the bytes of a picture file.

    Args:
        pixels: ``(H, W, 3)`` uint8 RGB.
        suffix: a key of ``LARGEST_SIDES``.
        jpeg_quality: 1 to 100; other formats are written without loss.

    Raises:
        PictureError: the picture has a longer side than the format allows.
    """
    height, width = pixels.shape[:2]
    largest = LARGEST_SIDES[suffix]
    if max(height, width) > largest:  # OpenCV would write of it to standard error, and go on
        raise PictureError(
            f"expected sides of at most {largest:,} pixels to write {suffix}; got {width}x{height}"
        )
    options = [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality] if suffix in (".jpg", ".jpeg") else []
    return bytes(cv2.imencode(suffix, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)[1])
