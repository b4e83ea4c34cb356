"""Frames in order for ``detector.track``: from videos, frames, arrays or picture files."""

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
"""The name of a sequence of pictures as a source."""


def check_source(source: object, fps: object) -> None:
    """Refuse an invalid source or frame rate.

    Raises:
        TypeError: another type, or a single picture.
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
    """Yield frames with a time: their own, or by their number and the rate.

    A picture that cannot be read is logged, and is left out or has no pixels.

    Raises:
        PictureError: an array that is not a picture.
        ValueError: a picture without a time, and no rate.
        TypeError: something else.
    """
    for index, item in enumerate(items):
        _check_item(item, f"source[{index}]")
        if isinstance(item, Frame) and item.seconds is not None:
            yield item
            continue
        if isinstance(item, PictureFile) and item.problem is not None:
            logger.warning("%s: %s", item.name, item.problem)  # of a video too, after its frames
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
    """Refuse what cannot give a frame: a mistake of the caller, not a damaged file.

    Raises:
        PictureError: an array that is not a picture.
        TypeError: a video instead of a picture, or something else.
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
