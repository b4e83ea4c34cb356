"""Detects heads in a video's frames with the detector that all requests share."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final

from head_detection.errors import PictureError
from head_detection.inference.batching import PictureResult
from head_detection.inference.loading import IsReady, LoadedPicture
from head_detection.pipeline.sources import Item
from head_detection.serving.batcher import Batcher
from head_detection.serving.metrics import Metrics
from head_detection.serving.problems import ServiceError

CHECK_SECONDS: Final = 0.2
"""Interval between checks whether the answer is still wanted."""
WAITING_BYTES: Final = 128 * 1024**2
"""Limit of the pixels of one video's waiting frames; a larger frame waits alone."""


@dataclass
class _Waiting:
    """A frame that waits for its detections; closing ``held`` takes it out of the queue."""

    picture: LoadedPicture
    future: "Future[PictureResult] | None"
    held: ExitStack


class FrameDetector:
    """Finds the heads in one video's frames, in turn with the pictures of other requests.

    No more of its frames wait for the network than fit into a batch. So a new picture waits for at
    most that many frames, however long the video is.

    Args:
        batcher: owns the detector.
        metrics: counts frames and heads.
        score_threshold: lowest score of heads that count; not below the detector's lowest score.
        num_waiting: most frames that wait at once.
        check: called for each frame and while waiting for one; what it raises ends the work.

    Attributes:
        score_threshold: as given.
        lowest_score: heads down to this score are available.
    """

    def __init__(
        self,
        batcher: Batcher,
        metrics: Metrics,
        score_threshold: float,
        num_waiting: int,
        check: Callable[[], None],
    ) -> None:
        self.score_threshold, self.lowest_score = score_threshold, batcher.detector.lowest_score
        self._batcher, self._metrics = batcher, metrics
        self._num_waiting, self._check = num_waiting, check

    def stream(
        self,
        images: Iterable[Item],
        batch_size: int | None = None,  # noqa: ARG002 - the service has its own
        *,
        keep_pixels: bool = False,
        score_threshold: float | None = None,
        is_ready: IsReady | None = None,  # noqa: ARG002 - a file's frames are always ready
    ) -> Generator[PictureResult]:
        """Yield a result per item, in order; a frame on which the detector fails has an error."""
        threshold = self.score_threshold if score_threshold is None else score_threshold
        waiting: deque[_Waiting] = deque()
        try:
            for image in images:
                self._check()
                waiting.append(self._begin(self._load(image, keep_pixels=keep_pixels)))
                while self._is_full(waiting):
                    yield self._finish(waiting.popleft(), threshold, keep_pixels=keep_pixels)
            while waiting:
                yield self._finish(waiting.popleft(), threshold, keep_pixels=keep_pixels)
        finally:
            for each in waiting:
                each.held.close()

    def _is_full(self, waiting: "deque[_Waiting]") -> bool:
        num_bytes = sum(each.picture.num_bytes for each in waiting)
        return len(waiting) >= self._num_waiting or num_bytes > WAITING_BYTES

    def _load(self, image: Item, *, keep_pixels: bool) -> LoadedPicture:
        return self._batcher.detector.load(image, keep_pixels=keep_pixels)

    def _begin(self, picture: LoadedPicture) -> _Waiting:
        held = ExitStack()
        if picture.error is not None:
            return _Waiting(picture, None, held)
        return _Waiting(picture, held.enter_context(self._batcher.waiting_for(picture)), held)

    def _finish(self, waiting: _Waiting, threshold: float, *, keep_pixels: bool) -> PictureResult:
        picture, future = waiting.picture, waiting.future
        with waiting.held:
            if future is None:
                return PictureResult(picture.image, None, picture.error, None)
            while not wait([future], CHECK_SECONDS).done:
                self._check()
            try:
                result = future.result()
            except ServiceError as error:
                failed = PictureError(f"{picture.name}: {error.text}")
                return PictureResult(picture.image, None, failed, None)
        if result.detections is None:
            return result
        self._metrics.frames.inc()
        found = result.detections.above(threshold)
        self._metrics.heads.inc(len(found.above(max(threshold, self.score_threshold))))
        return replace(result, detections=found, pixels=picture.pixels if keep_pixels else None)
