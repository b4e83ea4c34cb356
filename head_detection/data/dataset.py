"""Labelled pictures as the network's input."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from head_detection.boxes import areas, clipped
from head_detection.config import AugmentationConfig
from head_detection.data.annotations import AnnotatedImage, AnnotatedSet
from head_detection.data.augmentation import augment
from head_detection.images.reading import Picture, read_picture
from head_detection.structures import GroundTruth

Arrays = tuple[Picture, GroundTruth, int]
"""``(3, H, W)`` uint8 RGB, its ground truth, its index."""


@dataclass(frozen=True)
class Sample:
    """One picture for training or validation.

    Attributes:
        image: ``(3, H, W)`` uint8 RGB.
        target: ``boxes`` ``(N, 4)`` float32 xyxy in its pixels, ``labels`` ``(N,)`` int64 ones,
            ``ignore_boxes`` ``(M, 4)`` float32, ``image_id`` int64 scalar: the index in the data
            set. A picture without heads has N = 0.
    """

    image: Tensor
    target: dict[str, Tensor]


class HeadDataset:
    """The pictures of several sets, one after the other.

    Args:
        sets: labelled pictures.
        augmentation: random changes; None returns whole pictures in their original pixels.
    """

    def __init__(
        self, sets: Sequence[AnnotatedSet], augmentation: AugmentationConfig | None
    ) -> None:
        self.images: tuple[AnnotatedImage, ...] = tuple(i for group in sets for i in group.images)
        self.set_sizes: tuple[int, ...] = tuple(len(group.images) for group in sets)
        self._augmentation = augmentation

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.images)

    def load(self, index: int, generator_seed: int) -> Sample:
        """Read and augment a picture; the same index and seed give the same sample.

        Boxes are clipped to the picture, and those without area are left out (``find_problems``
        lists them).

        Raises:
            PictureError: the file cannot be read.
        """
        return to_sample(*self.load_arrays(index, generator_seed))

    def load_arrays(self, index: int, generator_seed: int) -> Arrays:
        """Do the work of ``load`` without tensors, so that a process can send the result."""
        annotated = self.images[index]
        picture = read_picture(annotated.path)
        truth = _clip(annotated.truth, picture)
        if self._augmentation is not None:
            generator = np.random.default_rng(generator_seed)
            picture, truth = augment(picture, truth, self._augmentation, generator)
        return np.ascontiguousarray(picture.transpose(2, 0, 1)), truth, index


def to_sample(planes: Picture, truth: GroundTruth, index: int) -> Sample:
    """Convert the result of ``load_arrays`` to tensors that share the picture's memory."""
    heads = torch.from_numpy(truth.head_boxes)
    return Sample(
        image=torch.from_numpy(planes),
        target={
            "boxes": heads,
            "labels": torch.ones(len(heads), dtype=torch.int64),
            "ignore_boxes": torch.from_numpy(truth.ignore_boxes),
            "image_id": torch.tensor(index, dtype=torch.int64),
        },
    )


def _clip(truth: GroundTruth, picture: Picture) -> GroundTruth:
    height, width = picture.shape[:2]
    boxes = clipped(truth.boxes, (height, width))
    keep = areas(boxes) > 0
    return GroundTruth(boxes[keep], truth.ignore[keep])
