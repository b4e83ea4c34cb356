"""Every picture of some sets decoded once, and what is kept of each."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from head_detection.data.annotations import AnnotatedImage, AnnotatedSet
from head_detection.data.quality.fingerprint import make_thumbnail
from head_detection.errors import PictureError
from head_detection.images.reading import Picture, read_picture

_NUM_THREADS: Final = 4
_FULL_SCALE: Final = 255.0
Channels = tuple[float, float, float]


@dataclass(frozen=True)
class SurveyedPicture:
    """A labelled picture after a look at its pixels, about 5 kB.

    Attributes:
        set_name: the set that it is of.
        image: its labels.
        error: why it cannot be read; None if it can, and only then the others are known.
        image_size: ``(height, width)``.
        thumbnail: ``(64, 64)`` uint8 grey.
        mean: ``(3,)`` red, green, blue in [0, 1].
        mean_square: ``(3,)``.
        boxes_may_reach_outside: as its set has it.
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
    pool = ThreadPoolExecutor(_NUM_THREADS)
    try:
        found = pool.map(lambda pair: _survey(*pair), images)
        return list(
            tqdm(
                found, total=len(images), desc="reading", unit="picture", disable=not show_progress
            )
        )
    finally:  # Ctrl-C does not wait for the pictures that are left
        pool.shutdown(cancel_futures=True)


def pixel_statistics(pictures: Sequence[SurveyedPicture]) -> tuple[Channels, Channels] | None:
    """Return mean and standard deviation of all pixels, red, green, blue in [0, 1].

    None where no picture could be read.
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
