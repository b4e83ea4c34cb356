"""The loop: from a source through the detector to the sinks."""

import time
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Final, Protocol

from head_detection.errors import ConfigError, PictureError, hide_passwords
from head_detection.images.finding import PictureFile
from head_detection.inference.batching import PictureResult
from head_detection.inference.loading import IsReady, frame_name
from head_detection.pipeline.sources import Item, Source
from head_detection.results.record import Failure, Outcome, Record
from head_detection.structures import NOT_TRACKED, Detections, Frame, Sighting

NUM_FULLEST: Final = 5
"""Pictures that a summary names."""


class Detector(Protocol):
    """Finds heads in a stream; ``HeadDetector`` is one.

    Attributes:
        score_threshold: heads count from this score on.
    """

    score_threshold: float

    def stream(
        self,
        images: Iterable[Item],
        batch_size: int | None = None,
        *,
        keep_pixels: bool = False,
        score_threshold: float | None = None,
        is_ready: IsReady | None = None,
    ) -> Generator[PictureResult]:
        """Yield one result per item, in order."""
        ...


class Tracker(Protocol):
    """Tracks heads from frame to frame, in several videos and cameras at once.

    Attributes:
        lowest_score: it uses heads down to this score.
    """

    lowest_score: float

    def follow(self, frame: Frame, found: Detections) -> Detections:
        """Return the same heads in the same order, with ids; -1 for one that is not tracked."""
        ...

    def sightings(self, name: str) -> tuple[Sighting, ...]:
        """Return the earlier positions of heads that got their id in a source's last frame."""
        ...


class Writer(Protocol):
    """Takes the outcome of each item; ``Sinks`` is one."""

    @property
    def needs_pixels(self) -> bool:
        """Whether records must hold their picture."""
        ...

    def take(self, outcome: Outcome) -> None:
        """Take an outcome, in the order of the items."""
        ...


class Counter(Protocol):
    """Counts heads at lines and in zones, of several videos and cameras at once."""

    def count(self, record: Record) -> Record:
        """Return a frame's record with the counts of its zones and lines, and its events.

        Raises:
            ConfigError: zones that do not fit this record; they may fit others.
        """
        ...


def run_pipeline(
    source: Source,
    detector: Detector,
    sinks: Writer | None = None,
    batch_size: int | None = None,
    *,
    keep_pixels: bool = False,
    hide_from: float | None = None,
    tracker: Tracker | None = None,
    counter: Counter | None = None,
) -> Generator[Outcome]:
    """Pass every item of a source through the detector to the sinks, and yield its outcome.

    Memory does not grow with the number of items. An outcome is passed to the sinks before it is
    yielded. The sinks are not closed.

    Args:
        source: read only as far as the detector takes its items.
        detector: finds the heads.
        sinks: take records and failures; None writes nothing.
        batch_size: largest number of items per batch; None is what suits the detector.
        keep_pixels: records hold their picture even if no sink needs it.
        hide_from: records also hold the heads to hide, from this score on; None hides those that
            count.
        tracker: gives ids to the heads of frames; a head that it tracks counts at any score.
        counter: counts them at lines and in zones.

    Yields:
        One record or failure per item, in order. An item that zones do not fit is a failure.

    Raises:
        ConfigError: zones that do not fit the first item, if the source has no other size.
    """
    keep_pixels = keep_pixels or (sinks is not None and sinks.needs_pixels)
    threshold = detector.score_threshold
    asked = (hide_from, None if tracker is None else tracker.lowest_score)
    lowest = min([threshold, *(score for score in asked if score is not None)])
    results = detector.stream(
        source,
        batch_size,
        keep_pixels=keep_pixels,
        score_threshold=lowest,
        is_ready=source.is_ready,
    )
    with closing(results):
        for index, result in enumerate(results):
            outcome = _outcome_of(result, index)
            if isinstance(outcome, Record):
                found = outcome.detections
                sightings: tuple[Sighting, ...] = ()
                if tracker is not None and isinstance(result.image, Frame):
                    found = tracker.follow(result.image, found)
                    sightings = tracker.sightings(result.image.name)
                hidden = None if hide_from is None else _from(hide_from, found)
                counted = _from(threshold, found)
                outcome = replace(outcome, detections=counted, to_hide=hidden, sightings=sightings)
                if counter is not None:
                    outcome = _count(counter, outcome, source, is_first=index == 0)
            if sinks is not None:
                sinks.take(outcome)
            yield outcome


@dataclass
class Tally:
    """Counts of what was done so far.

    Attributes:
        pictures: those that went through the network.
        frames: frames of videos and cameras that did.
        videos: videos of these frames, one after another.
        heads: those that count.
        failed: pictures that could not be read or written.
        hidden: heads to hide.
        empty: pictures without a head.
        fullest: number of heads and name of the pictures with most heads.
        start: when it began, by the monotonic clock.
    """

    pictures: int = 0
    frames: int = 0
    videos: int = 0
    heads: int = 0
    failed: int = 0
    hidden: int = 0
    empty: int = 0
    fullest: list[tuple[int, str]] = field(default_factory=list)
    start: float = field(default_factory=time.monotonic)
    _last_video: str | None = field(default=None, repr=False)

    def add(self, outcome: Outcome) -> None:
        """Count the outcome of an item."""
        if isinstance(outcome, Failure):
            self.failed += 1
        else:
            count = len(outcome.detections)
            self._add_item(outcome)
            self.heads += count
            self.hidden += count if outcome.to_hide is None else len(outcome.to_hide)
            if count == 0:
                self.empty += 1
            elif len(self.fullest) < NUM_FULLEST or count > self.fullest[-1][0]:
                # Of equals the first stays: the sort keeps their order.
                self.fullest.append((count, outcome.name))
                self.fullest.sort(key=itemgetter(0), reverse=True)
                del self.fullest[NUM_FULLEST:]

    def _add_item(self, record: Record) -> None:
        if record.frame is None:
            self.pictures += 1
        else:
            self.frames += 1
            self.videos += record.file != self._last_video
        self._last_video = None if record.frame is None else record.file


def _outcome_of(result: PictureResult, index: int) -> Outcome:
    item = result.image
    if not isinstance(item, PictureFile | Frame):
        raise TypeError(f"image: expected a PictureFile or a Frame; got {type(item).__name__}")
    if isinstance(item, Frame):
        index, seconds, path, prefix = item.index, item.seconds, item.path, f"{frame_name(item)}: "
    else:
        seconds, path, prefix = None, item.path, f"{item.path}: "
    if result.detections is None:
        error = result.error or PictureError(f"{prefix}the detector gave no result")
        reason = str(error).removeprefix(hide_passwords(prefix))
        return Failure(index, item.name, reason, error, seconds)
    source = None if seconds is None else item.name
    return Record(
        index,
        item.name,
        result.detections,
        path,
        seconds,
        source,
        pixels=result.pixels,
        note=result.detections.note,
    )


def _count(counter: Counter, record: Record, source: Source, *, is_first: bool) -> Outcome:
    """Return the record with its counts, or a failure, as the zones may fit the next one.

    Raises:
        ConfigError: zones that do not fit any item.
    """
    try:
        return counter.count(record)
    except ConfigError as error:
        if is_first and (source.info.size is not None or source.info.count == 1):
            raise
        reason = str(error)
        mistake = PictureError(reason)
        return Failure(record.index, record.file, reason, mistake, record.seconds)


def _from(score_threshold: float, found: Detections) -> Detections:
    """Return the heads from a score on, and those that are tracked."""
    is_kept = found.scores >= score_threshold
    return found.where(is_kept if found.ids is None else is_kept | (found.ids != NOT_TRACKED))
