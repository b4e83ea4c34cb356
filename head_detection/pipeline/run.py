"""The loop: from a source through the detector to the sinks."""

import time
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Final, Protocol

from head_detection.errors import PictureError
from head_detection.images.finding import PictureFile
from head_detection.inference.batching import PictureResult
from head_detection.inference.loading import IsReady, frame_name
from head_detection.pipeline.sources import Item, Source, SourceInfo
from head_detection.results.formats import Sinks
from head_detection.results.record import Failure, Outcome, Record
from head_detection.structures import Frame

NUM_FULLEST: Final = 5
"""Pictures, that a summary names."""


class Detector(Protocol):
    """Finds heads in a stream; ``HeadDetector`` is one.

    Attributes:
        score_threshold: of what counts.
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
        """Yield a result an item, in order."""
        ...


def run_pipeline(
    source: Source,
    detector: Detector,
    sinks: Sinks | None = None,
    batch_size: int | None = None,
    *,
    keep_pixels: bool = False,
    hide_from: float | None = None,
) -> Generator[Outcome]:
    """Take every item of a source through the detector to the sinks, and yield what came of it.

    Memory does not grow with the number of items. What is yielded was handed to the sinks before;
    they are not closed.

    Args:
        source: read as far as the detector takes its items.
        detector: finds the heads.
        sinks: take records and failures; None writes nothing.
        batch_size: items at once at most; None is what suits the detector.
        keep_pixels: records hold their picture, also where no sink needs it.
        hide_from: records hold heads to be hidden too, from this score on; None: those that count.

    Yields:
        A record or a failure an item, in order.
    """
    keep_pixels = keep_pixels or (sinks is not None and sinks.needs_pixels)
    threshold = detector.score_threshold
    lowest = threshold if hide_from is None else min(hide_from, threshold)
    results = detector.stream(
        source,
        batch_size,
        keep_pixels=keep_pixels,
        score_threshold=lowest,
        is_ready=_never if source.info.is_live else source.is_ready,
    )
    with closing(results):
        for index, result in enumerate(results):
            outcome = _outcome_of(result, index, source.info)
            if isinstance(outcome, Record) and hide_from is not None:
                found = outcome.detections
                outcome = replace(outcome, detections=found.above(threshold), to_hide=found)
            if sinks is not None:
                sinks.take(outcome)
            yield outcome


@dataclass
class Tally:
    """What was done so far.

    Attributes:
        pictures: that went through the network.
        heads: that count.
        failed: pictures that could not be read or written.
        hidden: heads that are to be hidden.
        empty: pictures without a head.
        fullest: number of heads and name of the pictures with most of them.
        start: by the monotonic clock.
    """

    pictures: int = 0
    heads: int = 0
    failed: int = 0
    hidden: int = 0
    empty: int = 0
    fullest: list[tuple[int, str]] = field(default_factory=list)
    start: float = field(default_factory=time.monotonic)

    def add(self, outcome: Outcome) -> None:
        """Count what came of an item."""
        if isinstance(outcome, Failure):
            self.failed += 1
        else:
            count = len(outcome.detections)
            self.pictures += 1
            self.heads += count
            self.hidden += count if outcome.to_hide is None else len(outcome.to_hide)
            if count == 0:
                self.empty += 1
            elif len(self.fullest) < NUM_FULLEST or count > self.fullest[-1][0]:
                # Of equal ones the first stays: the sort keeps their order.
                self.fullest.append((count, outcome.file))
                self.fullest.sort(key=itemgetter(0), reverse=True)
                del self.fullest[NUM_FULLEST:]


def _outcome_of(result: PictureResult, index: int, info: SourceInfo) -> Outcome:
    item = result.image
    if not isinstance(item, PictureFile | Frame):
        raise TypeError(f"image: expected a PictureFile or a Frame; got {type(item).__name__}")
    if isinstance(item, Frame):
        index, seconds, path, prefix = item.index, item.seconds, None, f"{frame_name(item)}: "
    else:
        seconds, path, prefix = None, item.path, f"{item.path}: "
    if result.detections is None:
        error = result.error or PictureError(f"{prefix}nothing came of it")
        reason = str(error).removeprefix(prefix)
        return Failure(index, item.name, reason, error, seconds)
    source = None if seconds is None else info.name
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


def _never() -> bool:
    """Of a live source nothing is read ahead: a frame that waits for another is old."""
    return False
