"""Records, and pictures that exist by name alone."""

from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from head_detection.data.annotations import AnnotatedImage, AnnotatedSet, LabelClass, build_truth
from head_detection.errors import PictureError
from head_detection.results.record import Failure, Origin, Outcome, Record
from head_detection.results.sink import Sink
from head_detection.structures import Detections

ORIGIN = Origin({"weights": "a.safetensors"}, 0.4)


@pytest.fixture
def record() -> Callable[..., Record]:
    """Make a record of heads, all scored 0.5, in a grey picture of 100 x 50."""

    def make(
        boxes: Sequence[Sequence[float]] = ((10, 5, 30, 45),),
        file: str = "a.png",
        index: int = 0,
        ids: Sequence[int] | None = None,
        **more: Any,
    ) -> Record:
        scores = [0.5] * len(boxes)
        detections = Detections.from_arrays(np.array(boxes).reshape(-1, 4), scores, (50, 100), ids)
        pixels = np.full((50, 100, 3), 128, np.uint8)
        is_picture = "seconds" not in more
        return Record(
            index,
            file,
            detections,
            **{"path": Path(file) if is_picture else None, "pixels": pixels, **more},
        )

    return make


@pytest.fixture
def frames(record: Callable[..., Record]) -> list[Record]:
    """Frames 0 and 2 of a video: two heads of which one is followed, then none."""
    boxes = [(10, 5, 30, 45), (0, 0, 2, 2)]
    return [
        record(boxes, "a.mp4", 0, ids=[7, -1], seconds=0.0, source="a"),
        record([], "a.mp4", 2, ids=[], seconds=2 / 3, source="a"),
    ]


@pytest.fixture(scope="session")
def failure() -> Callable[..., Failure]:
    """Make a failure."""

    def make(file: str = "c.png", reason: str = "the file is empty", index: int = 0) -> Failure:
        return Failure(index, file, reason, PictureError(f"{file}: {reason}"))

    return make


@pytest.fixture(scope="session")
def put() -> Callable[..., None]:
    """A function that gives outcomes to a sink of a kind, in a folder, and closes it."""

    def write(kind: Callable[..., Sink], folder: Path, outcomes: Iterable[Outcome]) -> None:
        sink = kind(folder, ORIGIN)
        for outcome in outcomes:
            if isinstance(outcome, Record):
                sink.write(outcome)
            else:
                sink.fail(outcome)
        sink.close()

    return write


@pytest.fixture(scope="session")
def labelled() -> Callable[..., AnnotatedSet]:
    """A function from file names to a set of pictures, without files and without heads.

    ``ids`` are those of its labels, one a picture; ``classes`` say by number what else there is.
    """

    def label(
        *names: str,
        size: tuple[int, int] | None = (100, 200),
        ids: Sequence[int | str] = (),
        classes: Sequence[LabelClass] = (),
    ) -> AnnotatedSet:
        images = [
            AnnotatedImage(Path("none", name), name, build_truth([]), size, label_id)
            for name, label_id in zip_longest(names, ids)
        ]
        return AnnotatedSet("set", tuple(images), classes=tuple(classes))

    return label


@pytest.fixture(scope="session")
def lefts() -> Callable[[tuple[Detections, ...]], list[list[float]]]:
    """A function from detections to the left edges of each picture's."""

    def take(found: tuple[Detections, ...]) -> list[list[float]]:
        return [detections.boxes[:, 0].tolist() for detections in found]

    return take
