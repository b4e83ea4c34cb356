"""Runs one video through the pipeline: detection, tracking, and counting at lines and zones."""

import errno
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ContextDecorator, closing
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Final

from head_detection.config import TRACKERS, TrackingConfig
from head_detection.errors import (
    FrameSizeError,
    HeadDetectionError,
    MissingPackageError,
    SourceError,
)
from head_detection.images.styles import HIDDEN_FROM
from head_detection.pipeline.files import open_video
from head_detection.pipeline.run import run_pipeline
from head_detection.pipeline.sources import FrameOptions, Item, ItemSource
from head_detection.pipeline.tracking import HeadTracker
from head_detection.pipeline.zones import build_region_counter
from head_detection.results.record import Origin
from head_detection.serving.batcher import Batcher
from head_detection.serving.frames import FrameDetector
from head_detection.serving.metrics import Metrics
from head_detection.serving.problems import (
    ServiceError,
    bad_request,
    too_large,
    too_late,
    unreadable,
)
from head_detection.serving.settings import ServiceSettings
from head_detection.serving.video_answers import VideoForm, open_answer
from head_detection.serving.video_requests import SentVideo
from head_detection.structures import Frame

FRAMES_HEADER: Final = "X-Frame-Count"
FAILED_FRAMES_HEADER: Final = "X-Failed-Frames"


@dataclass(frozen=True)
class TrackOptions:
    """The options of a request with a video.

    Attributes:
        form: format of the answer.
        score_threshold: lowest score of heads that count.
        tracker: algorithm that tracks the heads.
        start: where to start, in seconds of the video.
        end: where to stop, in seconds of the video; None for its end.
        max_fps: use at most so many frames per second; None for all.
    """

    form: VideoForm
    score_threshold: float
    tracker: str = TRACKERS[0]
    start: float = 0.0
    end: float | None = None
    max_fps: float | None = None


class Describing(ContextDecorator):
    """Turns errors caused by a client's video into errors for the client; others pass unchanged.

    A class rather than a generator: from Python 3.13 on, a generator and an error thrown into it
    hold each other, and with them the video.

    Raises:
        ServiceError: a mistake of the client, or a package or disk space that the service lacks.
    """

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        """Raise the client's error in place of ours, and keep neither."""
        match error:
            case MissingPackageError():
                raise ServiceError(HTTPStatus.NOT_IMPLEMENTED, "package", str(error)) from error
            case FrameSizeError():
                raise too_large(str(error).partition(": ")[2]) from error
            case SourceError():
                raise unreadable(str(error).partition(": ")[2]) from error
            case HeadDetectionError():
                raise bad_request(str(error)) from error
            case OSError(errno=errno.ENOSPC):
                text = "the service has no room on its disk; try again later"
                raise ServiceError(HTTPStatus.INSUFFICIENT_STORAGE, "disk", text, 60) from error


@dataclass(frozen=True)
class Tracking:
    """The processing of one video, in a thread.

    Attributes:
        batcher: finds the heads.
        metrics: counts frames and heads.
        settings: the limits.
        sent: the video.
        asked: the options of the request.
        ended: set once nobody waits for the answer any more.
    """

    batcher: Batcher
    metrics: Metrics
    settings: ServiceSettings
    sent: SentVideo
    asked: TrackOptions
    ended: Event

    @Describing()
    def run(self, path: Path) -> dict[str, str]:
        """Write the answer to a file, and return its headers.

        Raises:
            ServiceError: the video breaks a limit or cannot be read, or nobody waits any more.
        """
        asked, origin = self.asked, Origin(self.batcher.detector.origin, self.asked.score_threshold)
        check = self._checker()
        detector = FrameDetector(
            self.batcher, self.metrics, asked.score_threshold, self.batcher.max_batch, check
        )
        tracker = self._tracker()
        zones = self.sent.zones
        counter = None if zones is None else build_region_counter(zones)
        source, frames = self._source()
        answer = open_answer(asked.form, path, self.sent.path, origin, is_cut=asked.start > 0)
        hide_from = None
        if asked.form == "blur":
            hide_from = max(detector.lowest_score, min(HIDDEN_FROM, asked.score_threshold))
        outcomes = run_pipeline(
            source, detector, keep_pixels=answer.needs_pixels,
            hide_from=hide_from, tracker=tracker, counter=counter,
        )  # fmt: skip
        with closing(answer), closing(frames), closing(outcomes):
            for outcome in outcomes:
                answer.take(outcome)
            if answer.num_frames == 0:
                raise unreadable("no frame in the requested part of the video can be read")
        return {
            FRAMES_HEADER: str(answer.num_frames),
            FAILED_FRAMES_HEADER: str(answer.num_failed),
        }

    def _tracker(self) -> HeadTracker:
        lowest, threshold = self.batcher.detector.lowest_score, self.asked.score_threshold
        usual = TrackingConfig()
        lowest = min(max(usual.lowest_score, lowest), threshold)
        config = usual.model_copy(update={"lowest_score": lowest})
        return HeadTracker.from_config(config, self.asked.tracker, threshold)

    def _source(self) -> tuple[ItemSource, Generator[Item]]:
        """Return the video as a source, and its frames, which the caller must close."""
        asked, limits = self.asked, self.settings
        options = FrameOptions(
            asked.start, asked.end, max_fps=asked.max_fps, max_pixels=limits.max_pixels
        )
        source = open_video(self.sent.path, options)
        if source is None:
            raise unreadable("expected a video; got a picture: send it to /detect")
        count, fps = source.info.count, source.info.fps
        if count is not None and count > limits.max_video_frames:
            raise self._too_many_frames()
        if count is not None and fps and asked.max_fps is None:
            self._check_seconds(count / fps)
        frames = self._within(iter(source))
        return ItemSource(source.info, frames), frames

    def _within(self, items: Iterator[Item]) -> Generator[Item]:
        """Yield the frames, under the client's name for the video, until they exceed a limit."""
        try:
            for number, item in enumerate(items):
                if number >= self.settings.max_video_frames:
                    raise self._too_many_frames()
                if isinstance(item, Frame) and item.seconds is not None:
                    self._check_seconds(item.seconds - self.asked.start)
                yield replace(item, name=self.sent.name)
        finally:
            if isinstance(items, Generator):
                items.close()  # else the garbage collector closes it, in any thread

    def _check_seconds(self, seconds: float) -> None:
        if seconds > self.settings.max_video_seconds:
            raise too_large(
                f"expected at most {self.settings.max_video_seconds:g} seconds of video; send a "
                "shorter one, or name a part with start and end"
            )

    def _too_many_frames(self) -> ServiceError:
        return too_large(
            f"expected at most {self.settings.max_video_frames:,} frames; ask for fewer with "
            "max_fps, or name a part with start and end"
        )

    def _checker(self) -> Callable[[], None]:
        last = time.monotonic() + self.settings.video_deadline

        def check() -> None:
            if self.ended.is_set() or time.monotonic() > last:
                raise too_late(self.settings.video_deadline)

        return check
