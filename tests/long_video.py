"""Runs the loop over a long video: ``python tests/long_video.py [FRAMES [FORMATS [TRACKER]]]``.

100,000 frames, ``json,video`` and no tracker by default. A clip is decoded again and again, its
frames numbered on; heads walk through a door again and again, are counted, and all of it is
written. It prints the resident memory on the way (Linux), and ends with 1 where it grew.
"""

import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from clips import write_clip  # noqa: E402

from head_detection.config import TRACKERS  # noqa: E402
from head_detection.config.zones import parse_zones  # noqa: E402
from head_detection.errors import HeadDetectionError  # noqa: E402
from head_detection.inference.detector import HeadDetector  # noqa: E402
from head_detection.pipeline.opening import open_source  # noqa: E402
from head_detection.pipeline.run import run_pipeline  # noqa: E402
from head_detection.pipeline.sources import Item, ItemSource, SourceInfo  # noqa: E402
from head_detection.pipeline.tracking import HeadTracker  # noqa: E402
from head_detection.pipeline.zones import build_region_counter  # noqa: E402
from head_detection.results.format_names import parse_formats  # noqa: E402
from head_detection.results.formats import Sinks  # noqa: E402
from head_detection.results.record import Origin  # noqa: E402
from head_detection.structures import Detections, Frame  # noqa: E402

SIZE: Final = (96, 128)
FPS: Final = 25
CLIP_FRAMES: Final = 500
NUM_HEADS: Final = 3
LAP_FRAMES: Final = 150
"""A head is gone for a third of them: it comes back with a new id."""
USUAL: Final = ("100_000", "json,video", "")
WARM: Final = 5_000
"""Frames until all is there that is loaded once."""
LOOKS: Final = (1_000, 2_000, WARM)
LOOK_EVERY: Final = 10_000
MOST_GROWTH: Final = 30.0
"""Megabytes from then on, a third of a kilobyte a frame; frames that wait make 10 come and go."""
ZONES: Final = (
    b"lines: {door: [[0.5, 0], [0.5, 1]]}\nzones: {hall: [[0.5, 0], [1, 0], [1, 1], [0.5, 1]]}\n"
)


class WalkingHeads:
    """An engine that looks at no pixel: heads walk from the left to the right, and leave."""

    name, device, precision, batch_size, concurrency = "walking", "cpu", "float32", 8, 1

    def __init__(self) -> None:
        self._num_frames = 0

    def padded_sizes(self, size: tuple[int, int]) -> Sequence[tuple[int, int]]:
        return (size,)

    def enough_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return size

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        return [self._next() for _ in images]

    def _next(self) -> Detections:
        self._num_frames += 1
        boxes = []
        for head in range(NUM_HEADS):
            step = (self._num_frames + head * LAP_FRAMES // NUM_HEADS) % LAP_FRAMES
            left, top = 1.2 * step, 10 + 30 * head
            if left + 20 <= SIZE[1]:
                boxes.append([left, top, left + 20, top + 20])
        return Detections.from_arrays(boxes, [0.9] * len(boxes), SIZE)


def frames_of(clip: Path, count: int) -> Iterator[Item]:
    """Decode a clip as often as it takes, its frames numbered on."""
    index = 0
    while index < count:
        for item in open_source(str(clip)):
            if not isinstance(item, Frame) or index == count:
                break
            yield replace(item, index=index, seconds=index / FPS)
            index += 1


def resident_megabytes() -> float:
    """Return what the process holds, without what it freed and keeps for the next frames."""
    getattr(ctypes.CDLL(None), "malloc_trim", int)(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def run(folder: Path, count: int, formats: Sequence[str], tracker: str | None) -> dict[int, float]:
    """Take so many frames through the loop, and return the memory at each look, in megabytes."""
    clip = write_clip(folder / "clip.mp4", CLIP_FRAMES, fps=FPS, size=SIZE)
    detector = HeadDetector(WalkingHeads(), 0.5, {"weights": "walking"}, lowest_score=0.0)
    source = ItemSource(SourceInfo("long", fps=FPS, unit="frames"), frames_of(clip, count))
    counter = build_region_counter(parse_zones(ZONES, "zones"), 1.0)
    looks = {}
    with Sinks(formats, folder / "out", Origin({}, 0.5)) as sinks:
        outcomes = run_pipeline(
            source,
            detector,
            sinks,
            tracker=None if tracker is None else HeadTracker(tracker),
            counter=counter,
        )
        for number, _ in enumerate(outcomes, start=1):
            if number in LOOKS or number % LOOK_EVERY == 0:
                looks[number] = resident_megabytes()
                tell(f"{number:7} frames: {looks[number]:.1f} MB")
    for path in sorted((folder / "out").rglob("*.*")):
        tell(f"{path.name}: {path.stat().st_size / 2**20:.1f} MB")
    return looks


def tell(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a script


def check(words: Sequence[str]) -> str | None:
    """Return what is wrong with the words of the command, in one line."""
    count, formats, tracker = (*words, *USUAL[len(words) :])[: len(USUAL)]
    if len(words) > len(USUAL):
        return f"expected at most {len(USUAL)} words: FRAMES FORMATS TRACKER; got {len(words)}"
    if not count.replace("_", "").isdecimal() or int(count) < 1:
        return f"expected a number of frames first, 100_000 say; got {count!r}"
    try:
        parse_formats(formats)
    except HeadDetectionError as error:
        return str(error)
    if tracker and tracker not in TRACKERS:
        return f"expected one of {', '.join(TRACKERS)} as the tracker; got {tracker!r}"
    return None


def main(words: Sequence[str]) -> int:
    wrong = check(words)
    if wrong is not None:
        print(f"long_video: {wrong}", file=sys.stderr)  # noqa: T201 - a script
        return 2
    count, formats, tracker = (*words, *USUAL[len(words) :])
    with tempfile.TemporaryDirectory() as folder:
        looks = run(Path(folder), int(count), parse_formats(formats), tracker or None)
    last = max(looks, default=0)
    growth = looks[last] - looks[WARM] if WARM in looks else 0.0
    tell(f"from frame {WARM} to frame {last}: {growth:+.1f} MB")
    return 1 if growth > MOST_GROWTH else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
