"""Frames in order, as a caller of ``detector.track`` has them: videos, frames, arrays or files."""

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import Final

import numpy as np

from head_detection.errors import PictureError
from head_detection.images.finding import PictureFile, is_video_name
from head_detection.images.reading import Picture, read_picture
from head_detection.inference.loading import check_array, is_single
from head_detection.pipeline.addresses import is_url, shown_url
from head_detection.pipeline.sources import Item
from head_detection.structures import Frame

logger = logging.getLogger(__name__)

FRAMES: Final = "frames"
"""What pictures in a row are called together."""


def check_source(source: object, fps: object) -> None:
    """Refuse what is no source, and a rate that is none.

    Raises:
        TypeError: of another type, or a single picture.
        ValueError: a rate that is not above 0.
    """
    is_one = not isinstance(source, str | Path) and is_single(source)
    if is_one or not isinstance(source, str | Path | int | Iterable):
        one = ": a single picture has no order; write detector(picture)" if is_one else ""
        raise TypeError(
            "source: expected a path, an address, the number of a camera, or frames in order; got "
            f"{type(source).__name__}{one}"
        )
    if fps is None:
        return
    if isinstance(fps, bool) or not isinstance(fps, Real):
        raise TypeError(f"fps: expected a number, frames a second; got {fps!r:.40}")
    if not 0 < float(fps) < math.inf:
        raise ValueError(f"fps: expected frames a second, above 0; got {fps}")


def timed(items: Iterable[Item | Picture | str | Path], fps: float | None) -> Iterator[Frame]:
    """Yield frames that have a time: their own, or by their number.

    What cannot be read is left out, and logged where that is known already.

    Raises:
        PictureError: an array that is no picture.
        ValueError: one that has no time, without a rate.
        TypeError: something else.
    """
    for index, item in enumerate(items):
        _check_item(item, f"source[{index}]")
        if isinstance(item, Frame) and item.seconds is not None:
            yield item
            continue
        if isinstance(item, PictureFile) and item.problem is not None:
            logger.warning("%s: %s", item.name, item.problem)  # of a video too, behind its frames
            continue
        if fps is None:
            raise ValueError("expected fps, frames a second: these pictures have no times")
        seconds = index / fps
        if isinstance(item, Frame):
            yield replace(item, index=index, seconds=seconds)
        else:
            pixels = item if isinstance(item, np.ndarray) else _read_item(item)
            yield Frame(FRAMES, index, seconds, pixels)


def _check_item(item: object, position: str) -> None:
    """Refuse what no frame comes of: the caller has it wrong, no file is damaged.

    Raises:
        PictureError: an array that is no picture.
        TypeError: a video in place of a picture, or something else.
    """
    if isinstance(item, str | Path) and (is_video_name(str(item)) or is_url(str(item))):
        raise TypeError(
            f"{position}: expected a frame, an RGB array or a picture's file; got a video or a "
            f"stream, {shown_url(str(item))!r}: write detector.track(path), for each its own"
        )
    if not isinstance(item, Frame | PictureFile | str | Path | np.ndarray):
        kind = type(item).__name__
        raise TypeError(
            f"{position}: expected a frame, an RGB array or a picture's file; got {kind}"
        )
    pixels = item.pixels if isinstance(item, Frame) else item
    if isinstance(pixels, np.ndarray):
        check_array(pixels, position)


def _read_item(item: PictureFile | str | Path) -> Picture | None:
    try:
        return read_picture(item.path if isinstance(item, PictureFile) else Path(item))
    except PictureError as error:
        logger.warning("%s", error)
        return None
