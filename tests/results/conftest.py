"""Records, and pictures that exist by name alone."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from head_detection.data.annotations import AnnotatedImage, AnnotatedSet, build_truth
from head_detection.results.record import Record
from head_detection.structures import Detections


@pytest.fixture
def record() -> Callable[..., Record]:
    """Make a record of heads in a grey picture of 100 x 50."""

    def make(
        boxes: Sequence[Sequence[float]] = ((10, 5, 30, 45),),
        name: str = "a.png",
        number: int = 1,
        path: Path = Path("a.png"),
    ) -> Record:
        scores = [0.5] * len(boxes)
        detections = Detections.from_arrays(np.array(boxes).reshape(-1, 4), scores, (50, 100))
        return Record(number, name, path, detections, np.full((50, 100, 3), 128, np.uint8))

    return make


@pytest.fixture(scope="session")
def labelled() -> Callable[..., AnnotatedSet]:
    """A function from file names to a set of pictures, without files and without heads."""

    def label(*names: str, size: tuple[int, int] | None = (100, 200)) -> AnnotatedSet:
        images = [AnnotatedImage(Path("none", name), name, build_truth([]), size) for name in names]
        return AnnotatedSet("set", tuple(images))

    return label


@pytest.fixture(scope="session")
def lefts() -> Callable[[tuple[Detections, ...]], list[list[float]]]:
    """A function from detections to the left edges of each picture's."""

    def take(found: tuple[Detections, ...]) -> list[list[float]]:
        return [detections.boxes[:, 0].tolist() for detections in found]

    return take
