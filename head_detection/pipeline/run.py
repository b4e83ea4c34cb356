"""From pictures to results, one by one."""

import sys
import time
from dataclasses import dataclass, field
from typing import Final

from tqdm import tqdm

from head_detection.images.finding import PictureFile
from head_detection.inference.batching import PictureResult
from head_detection.results.record import Record
from head_detection.results.sinks import Sinks

DEFAULT_FORMATS: Final = "json,images"
LINE_SECONDS: Final = 10.0
"""Between two states of the bar where standard error is a file."""


@dataclass
class Tally:
    """What was done so far; ``start`` is by the monotonic clock."""

    pictures: int = 0
    heads: int = 0
    failed: int = 0
    start: float = field(default_factory=time.monotonic)


def hand_on(result: PictureResult, number: int, sinks: Sinks, tally: Tally) -> None:
    """Give what came of a picture to the sinks, and count it; a failure is said at once.

    Args:
        result: of a ``PictureFile``.
        number: its place in the source, from 1.
        sinks: take it.
        tally: is added to.
    """
    file = result.image
    if not isinstance(file, PictureFile):
        raise TypeError(f"image: expected a PictureFile; got {type(file).__name__}")
    if result.detections is None:
        reason = str(result.error).removeprefix(f"{file.path}: ")
        tqdm.write(f"failed: {file.name}: {reason}", file=sys.stderr)
        sinks.fail(file.name, reason)
        tally.failed += 1
        return
    sinks.write(Record(number, file.name, file.path, result.detections, result.pixels))
    tally.pictures += 1
    tally.heads += len(result.detections)
