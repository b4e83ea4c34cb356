"""Surveys data sets: decodes every picture once, and measures counts and sizes of heads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from head_detection.boxes import areas
from head_detection.data.annotations import AnnotatedImage, AnnotatedSet, in_threads
from head_detection.errors import PictureError
from head_detection.images.reading import Picture, read_picture
from head_detection.structures import FloatArray

IntArray = npt.NDArray[np.int64]
Channels = tuple[float, float, float]

THUMBNAIL_SIDE: Final = 64
"""Pixels: 4 kB a picture, and a person who moves in a classroom is still seen."""
_BLANK_CONTRAST: Final = 4.0
"""Grey levels; a picture with less contrast is one colour and noise."""
_FULL_SCALE: Final = 255.0
_QUANTILES: Final = {"min": 0.0, "p05": 0.05, "median": 0.5, "p95": 0.95, "max": 1.0}


@dataclass(frozen=True)
class SurveyedPicture:
    """A labelled picture with data from its pixels, about 5 kB.

    Attributes:
        set_name: the set that it is of.
        image: its labels.
        error: why it cannot be read; None if it can, otherwise the following are unknown.
        image_size: ``(height, width)``.
        thumbnail: ``(64, 64)`` uint8 grey.
        mean: ``(3,)`` red, green, blue in [0, 1].
        mean_square: ``(3,)``.
        boxes_may_reach_outside: as in its set.
    """

    set_name: str
    image: AnnotatedImage
    error: str | None = None
    image_size: tuple[int, int] = (0, 0)
    thumbnail: Picture | None = None
    mean: npt.NDArray[np.float64] | None = None
    mean_square: npt.NDArray[np.float64] | None = None
    boxes_may_reach_outside: bool = False


def survey_pictures(
    sets: Sequence[AnnotatedSet], *, show_progress: bool = False
) -> list[SurveyedPicture]:
    """Decode all pictures in threads, a few at a time, in the order of the sets.

    Args:
        sets: labelled pictures.
        show_progress: draw a bar on standard error.
    """
    images = [(group, image) for group in sets for image in group.images]
    return in_threads(lambda pair: _survey(*pair), images, "reading", show_progress=show_progress)


def pixel_statistics(pictures: Sequence[SurveyedPicture]) -> tuple[Channels, Channels] | None:
    """Return mean and standard deviation of all pixels, red, green, blue in [0, 1].

    None if no picture could be read.
    """
    total, total_square, num_pixels = np.zeros(3), np.zeros(3), 0
    for picture in pictures:
        if picture.mean is not None and picture.mean_square is not None:
            pixels = picture.image_size[0] * picture.image_size[1]
            total += picture.mean * pixels
            total_square += picture.mean_square * pixels
            num_pixels += pixels
    if not num_pixels:
        return None
    mean = total / num_pixels
    deviation = np.sqrt(np.maximum(total_square / num_pixels - mean**2, 0))
    return _channels(mean), _channels(deviation)


def make_thumbnail(picture: Picture) -> Picture:
    """Return the ``(64, 64)`` uint8 grey thumbnail of an ``(H, W, 3)`` uint8 RGB picture.

    The proportions are not kept, so that a copy with a trimmed edge still lines up.
    """
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    small = cv2.resize(picture, side, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)


def is_blank(thumbnail: Picture) -> bool:
    """Tell whether a picture has only one colour, as from a camera without a signal.

    Example:
        >>> is_blank(np.full((64, 64), 16, np.uint8))
        True
    """
    return float(thumbnail.std()) < _BLANK_CONTRAST


@dataclass(frozen=True)
class SetStatistics:
    """The numbers of a set.

    Attributes:
        name: of the set.
        heads_per_image: ``(N,)`` heads of each picture, without ignored ones.
        num_ignored: number of ignore regions.
        head_boxes: ``(M, 4)`` float32 xyxy of all heads with area, in original pixels.
    """

    name: str
    heads_per_image: IntArray
    num_ignored: int
    head_boxes: FloatArray

    @property
    def head_sizes(self) -> FloatArray:
        """Return ``(M,)`` square roots of area in original pixels."""
        return np.sqrt(areas(self.head_boxes))


def measure_set(annotated: AnnotatedSet) -> SetStatistics:
    """Count and measure the heads of a set as its labels state them."""
    heads = [image.truth.head_boxes for image in annotated.images]
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *heads])
    return SetStatistics(
        name=annotated.name,
        heads_per_image=np.array([len(boxes) for boxes in heads], np.int64),
        num_ignored=sum(int(image.truth.ignore.sum()) for image in annotated.images),
        head_boxes=boxes[areas(boxes) > 0],
    )


def join_statistics(name: str, parts: Sequence[SetStatistics]) -> SetStatistics:
    """Return the statistics of several sets together; at least one."""
    return SetStatistics(
        name=name,
        heads_per_image=np.concatenate([part.heads_per_image for part in parts]),
        num_ignored=sum(part.num_ignored for part in parts),
        head_boxes=np.concatenate([part.head_boxes for part in parts]),
    )


def spread(values: npt.NDArray[np.generic]) -> dict[str, float]:
    """Return quantiles and mean, empty for no values.

    Example:
        >>> spread(np.array([1, 2, 6]))["median"], spread(np.array([1, 2, 6]))["mean"]
        (2.0, 3.0)
    """
    if not len(values):
        return {}
    numbers = values.astype(np.float64)
    quantiles = {name: round(float(np.quantile(numbers, q)), 2) for name, q in _QUANTILES.items()}
    return quantiles | {"mean": round(float(numbers.mean()), 2)}


def _survey(group: AnnotatedSet, image: AnnotatedImage) -> SurveyedPicture:
    try:
        picture = read_picture(image.path)
    except PictureError as error:
        return SurveyedPicture(group.name, image, error=str(error))
    mean, deviation = (
        np.asarray(part, np.float64)[:, 0] / _FULL_SCALE for part in cv2.meanStdDev(picture)
    )
    height, width = picture.shape[:2]
    return SurveyedPicture(
        group.name,
        image,
        image_size=(height, width),
        thumbnail=make_thumbnail(picture),
        mean=mean,
        mean_square=deviation**2 + mean**2,
        boxes_may_reach_outside=group.boxes_may_reach_outside,
    )


def _channels(values: npt.NDArray[np.float64]) -> Channels:
    red, green, blue = (round(float(value), 4) for value in values)
    return red, green, blue
