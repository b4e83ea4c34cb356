"""A detector without a network: ``from fake_stream import FakeDetector``, in tests and scripts."""

from collections.abc import Generator, Iterable
from dataclasses import dataclass

from head_detection.inference.batching import PictureResult
from head_detection.inference.loading import IsReady
from head_detection.pipeline.sources import Item


@dataclass(frozen=True)
class Asked:
    """What a stream was asked for."""

    batch_size: int | None
    keep_pixels: bool
    score_threshold: float | None
    is_ready: IsReady | None


class FakeDetector:
    """Has ``HeadDetector.stream``; what comes of the items is ``results_of``.

    Attributes:
        asked: what its streams were asked for.
        is_closed: whether the last of them has ended, or was left.
    """

    score_threshold = 0.5

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.is_closed = False

    def stream(
        self,
        images: Iterable[Item],
        batch_size: int | None = None,
        *,
        keep_pixels: bool = False,
        score_threshold: float | None = None,
        is_ready: IsReady | None = None,
    ) -> Generator[PictureResult]:
        """Note what is asked for, and yield what comes of the items."""
        asked = Asked(batch_size, keep_pixels, score_threshold, is_ready)
        self.asked.append(asked)
        try:
            yield from self.results_of(images, asked)
        finally:
            self.is_closed = True

    def results_of(self, images: Iterable[Item], asked: Asked) -> Iterable[PictureResult]:
        """Return a result an item, in order."""
        raise NotImplementedError
