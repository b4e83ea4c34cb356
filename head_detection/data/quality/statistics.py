"""Figures of a set of labelled pictures: how many heads, and how large."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from head_detection.data.annotations import AnnotatedSet

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
_QUANTILES = {"min": 0.0, "p05": 0.05, "median": 0.5, "p95": 0.95, "max": 1.0}


@dataclass(frozen=True)
class SetStatistics:
    """What a set holds.

    Attributes:
        name: of the set.
        heads_per_image: ``(N,)`` heads of each picture, without ignored ones.
        num_ignored: regions to ignore.
        head_boxes: ``(M, 4)`` float32 xyxy of all heads with area, in original pixels.
    """

    name: str
    heads_per_image: IntArray
    num_ignored: int
    head_boxes: FloatArray

    @property
    def head_sizes(self) -> FloatArray:
        """Return ``(M,)`` square roots of area in original pixels."""
        sizes: FloatArray = np.sqrt(
            np.prod(self.head_boxes[:, 2:] - self.head_boxes[:, :2], axis=1)
        )
        return sizes


def measure_set(annotated: AnnotatedSet) -> SetStatistics:
    """Count and measure the heads of a set as its labels state them."""
    heads = [image.truth.head_boxes for image in annotated.images]
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *heads])
    return SetStatistics(
        name=annotated.name,
        heads_per_image=np.array([len(boxes) for boxes in heads], np.int64),
        num_ignored=sum(int(image.truth.ignore.sum()) for image in annotated.images),
        head_boxes=boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)],
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
