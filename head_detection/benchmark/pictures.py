"""The pictures of a benchmark."""

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional

from head_detection.data.synthetic import lay_out, sample_person, sample_portrait
from head_detection.errors import BenchmarkError, PictureError
from head_detection.images.finding import PictureFile
from head_detection.images.reading import Picture, read_picture
from head_detection.pipeline.opening import open_pictures
from head_detection.pipeline.sources import Source

CROWD: Final = 150
"""People in a crowd; in a picture of 600x800, their heads measure 35 pixels."""
JPEG_QUALITY: Final = 90


@contextmanager
def pictures_to_measure(
    source: str | None, scene: str, size: tuple[int, int], limit: int
) -> Iterator[list[PictureFile]]:
    """Yield the files of a source, or JPEGs in a temporary folder, made from a sample picture.

    Args:
        source: as ``test`` takes it; None makes pictures.
        scene: one of ``SCENES``, for pictures that are made.
        size: (height, width) of pictures that are made.
        limit: largest number of files.

    Raises:
        SourceError: the source holds no pictures.
    """
    if source is not None:
        yield _files_of(open_pictures(source), limit)
        return
    with tempfile.TemporaryDirectory(prefix="head-detection-") as folder:
        make_pictures(Path(folder), SCENES[scene](size), limit)
        yield _files_of(open_pictures(folder), limit)


def _files_of(source: Source, limit: int) -> list[PictureFile]:
    return [item for item in islice(source, limit) if isinstance(item, PictureFile)]


def crowd(size: tuple[int, int], num_people: int = CROWD) -> Picture:
    """Return a picture of people in rows; the right and lower border cut some off.

    Args:
        size: (height, width) in pixels.
        num_people: that fit into it; fewer if a head would be smaller than a pixel.

    Example:
        >>> crowd((60, 80)).shape
        (60, 80, 3)
    """
    person = sample_person()
    height, width = size
    tall, broad = person.pixels.shape[:2]
    scale = math.sqrt(height * width / (num_people * tall * broad))
    head_size = max(1.0, scale * person.head_size)
    tile, _ = lay_out(person, head_size, rows=1, columns=1)
    rows, columns = -(-height // tile.shape[0]), -(-width // tile.shape[1])
    picture, _ = lay_out(person, head_size, rows=rows, columns=columns)
    return picture[:height, :width]


def portrait(size: tuple[int, int]) -> Picture:
    """Return the sample picture, half of which one head fills, resized to (height, width)."""
    height, width = size
    return np.asarray(Image.fromarray(sample_portrait().pixels).resize((width, height)))


SCENES: Final[dict[str, Callable[[tuple[int, int]], Picture]]] = {
    "crowd": crowd,
    "portrait": portrait,
}
"""What pictures that are made show."""


def make_pictures(folder: Path, picture: Picture, count: int) -> None:
    """Write JPEGs of a picture, shifted and every other one mirrored, so that they differ.

    Args:
        folder: an existing folder.
        picture: ``(H, W, 3)`` RGB.
        count: number of files.
    """
    width = picture.shape[1]
    for number in range(count):
        shifted = np.roll(picture, round(number * width / count), axis=1)
        pixels = shifted[:, ::-1] if number % 2 else shifted
        path = folder / f"{number:05d}.jpg"
        Image.fromarray(np.ascontiguousarray(pixels)).save(path, quality=JPEG_QUALITY)


def first_readable(files: Sequence[PictureFile], count: int) -> list[PictureFile]:
    """Return the first ``count`` files that can be read, or all of them if there are fewer.

    Raises:
        BenchmarkError: none can be read; it says why for the last.
    """
    found: list[PictureFile] = []
    reason = "there are no files"
    for file in files:
        try:
            read_picture(file.path)
        except PictureError as error:
            reason = str(error)
        else:
            found.append(file)
        if len(found) == count:
            break
    if not found:
        raise BenchmarkError(f"expected pictures, none can be read: {reason}")
    return found


def read_at_size(files: Sequence[PictureFile], size: tuple[int, int]) -> list[Tensor]:
    """Return ``(3, H, W)`` uint8 pictures resized to one size, so that all detectors work alike."""
    arrays = [torch.from_numpy(read_picture(file.path)).permute(2, 0, 1) for file in files]
    return [functional.resize(array, list(size), antialias=True) for array in arrays]
