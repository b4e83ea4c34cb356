"""What is remembered of a picture to know its copies by: a grey thumbnail and a 64-bit hash."""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from head_detection.images.reading import Picture

Hashes = npt.NDArray[np.uint64]

THUMBNAIL_SIDE: Final = 64
"""Pixels: 4 kB a picture, and a person who moves in a classroom is still seen."""
_HASH_WIDTH: Final = 9
_HASH_HEIGHT: Final = 8
_BLANK_CONTRAST: Final = 4.0
"""Grey levels; with less, a picture is one colour and noise."""


def make_thumbnail(picture: Picture) -> Picture:
    """Return the ``(64, 64)`` uint8 grey thumbnail of an ``(H, W, 3)`` uint8 RGB picture.

    The proportions are not kept, so that a copy with a trimmed edge still lines up.
    """
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    small = cv2.resize(picture, side, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)


def is_blank(thumbnail: Picture) -> bool:
    """Tell whether a picture is of one colour, as a camera without a signal gives it.

    Example:
        >>> is_blank(np.full((64, 64), 16, np.uint8))
        True
    """
    return float(thumbnail.std()) < _BLANK_CONTRAST


def difference_hash(grey: Picture) -> int:
    """Return a 64-bit hash that changes in a few bits only when a picture is saved anew.

    The picture is scaled to 9 x 8; each bit tells whether a pixel is darker than its right
    neighbour, row by row, the highest bit first.

    Args:
        grey: ``(H, W)`` uint8.

    Source:
        Neal Krawetz, "Kind of Like That", hackerfactor.com, 2013 (dHash).

    Example:
        >>> rising = np.tile(np.arange(9, dtype=np.uint8), (8, 1))
        >>> hex(difference_hash(rising)), difference_hash(rising[:, ::-1])
        ('0xffffffffffffffff', 0)
    """
    small = cv2.resize(grey, (_HASH_WIDTH, _HASH_HEIGHT), interpolation=cv2.INTER_AREA)
    bits = np.packbits(small[:, :-1] < small[:, 1:])
    return int.from_bytes(bits.tobytes(), "big")


def difference_hashes(thumbnails: Picture) -> Hashes:
    """Return ``(N,)`` uint64 hashes of ``(N, H, W)`` uint8 grey pictures."""
    return np.array([difference_hash(thumbnail) for thumbnail in thumbnails], np.uint64)
