"""The pictures that a benchmark goes through."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import torch
from matplotlib import cbook
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional

from head_detection.errors import BenchmarkError, PictureError
from head_detection.images.finding import PictureFile
from head_detection.images.reading import read_picture
from head_detection.pipeline.opening import open_source
from head_detection.pipeline.sources import Source

SAMPLE: Final = "grace_hopper.jpg"
"""Comes with matplotlib; public domain."""
JPEG_QUALITY: Final = 90


@contextmanager
def pictures_to_measure(
    source: str | None, size: tuple[int, int], limit: int
) -> Iterator[list[PictureFile]]:
    """Give the files of a source, or a temporary folder of JPEGs of a sample picture.

    Args:
        source: as ``test --source``; None makes pictures.
        size: (height, width) of pictures that are made.
        limit: files at most.

    Raises:
        SourceError: no pictures there.
    """
    if source is not None:
        yield _files_of(open_source(source), limit)
        return
    with tempfile.TemporaryDirectory(prefix="head-detection-") as folder:
        make_pictures(Path(folder), size, limit)
        yield _files_of(open_source(folder), limit)


def _files_of(source: Source, limit: int) -> list[PictureFile]:
    return [item for item in islice(source, limit) if isinstance(item, PictureFile)]


def make_pictures(folder: Path, size: tuple[int, int], count: int) -> None:
    """Write JPEGs of the sample picture, shifted and every other one mirrored, so that they differ.

    Args:
        folder: exists.
        size: (height, width) in pixels.
        count: how many.
    """
    height, width = size
    path = Path(cbook.get_sample_data(SAMPLE, asfileobj=False))
    sample = Image.fromarray(read_picture(path)).resize((width, height))
    pixels = np.asarray(sample)
    for number in range(count):
        shifted = np.roll(pixels, round(number * width / count), axis=1)
        picture = shifted[:, ::-1] if number % 2 else shifted
        path = folder / f"{number:05d}.jpg"
        Image.fromarray(np.ascontiguousarray(picture)).save(path, quality=JPEG_QUALITY)


def first_readable(files: Sequence[PictureFile], count: int) -> list[PictureFile]:
    """Return the first so many files that can be read, or all that there are.

    Raises:
        BenchmarkError: there is none; it tells of the first.
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
    """Return ``(3, H, W)`` uint8 pictures brought to one size: the same work for all."""
    arrays = [torch.from_numpy(read_picture(file.path)).permute(2, 0, 1) for file in files]
    return [functional.resize(array, list(size), antialias=True) for array in arrays]
