"""Compares the loop over a video with the bare network: ``python tests/video_rate.py``.

A window of 1280x720 wanders over a made crowd. The bare network has decoded frames, a batch after
the other, each with all cores; on a CPU the loop has several side by side, and may be the faster.
It runs before the loop and after it, and the ratio is to the mean of both: where these two differ,
something else ran. Beside it stands what a frame took of the processor beyond what the bare network
took.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from head_detection.cores import set_wait_policy  # noqa: E402

set_wait_policy(os.environ)  # as every command does, before torch is here

import numpy as np  # noqa: E402
import torch  # noqa: E402
from clips import write_clip  # noqa: E402

from head_detection.benchmark.pictures import crowd  # noqa: E402
from head_detection.images.styles import HIDDEN_FROM  # noqa: E402
from head_detection.inference.detector import HeadDetector  # noqa: E402
from head_detection.inference.memory import keep_freed_memory  # noqa: E402
from head_detection.pipeline.opening import open_source  # noqa: E402
from head_detection.pipeline.run import run_pipeline  # noqa: E402
from head_detection.results.format_names import parse_formats  # noqa: E402
from head_detection.results.formats import Sinks  # noqa: E402
from head_detection.results.record import Origin  # noqa: E402

HEIGHT: Final = 720
WIDTH: Final = 1280
FPS: Final = 25
MARGIN: Final = 100
"""Pixels that the window wanders, each way."""
BARE_FRAMES: Final = 64


class Pace(NamedTuple):
    """What a frame takes.

    Attributes:
        seconds: by the clock.
        cpu: of the processor, all threads.
    """

    seconds: float
    cpu: float


def window(picture: np.ndarray, number: int) -> np.ndarray:
    """Return frame ``number`` of the clip."""
    down = int(MARGIN * (1 + np.cos(number / 31)))
    across = int(MARGIN * (1 + np.sin(number / 40)))
    return np.ascontiguousarray(picture[down : down + HEIGHT, across : across + WIDTH])


def paced(work: Callable[[], int]) -> Pace:
    """Return what each of the frames took that some work says it did."""
    start, cpu = time.perf_counter(), time.process_time()
    count = work()
    return Pace((time.perf_counter() - start) / count, (time.process_time() - cpu) / count)


def run_bare(detector: HeadDetector, frames: list[np.ndarray]) -> int:
    """Detect heads in decoded frames; return their number."""
    pictures = [torch.from_numpy(frame).permute(2, 0, 1) for frame in frames]
    some, step = [*islice(cycle(pictures), BARE_FRAMES)], detector.engine.batch_size
    for start in range(0, len(some), step):
        detector.engine.detect(some[start : start + step])
    return len(some)


def run_loop(detector: HeadDetector, clip: Path, formats: list[str], folder: Path) -> int:
    """Take a clip through the loop; return the number of its frames."""
    hide_from = HIDDEN_FROM if "blur" in formats else None
    with Sinks(formats, folder, Origin({}, detector.score_threshold)) as sinks:
        outcomes = run_pipeline(open_source(str(clip)), detector, sinks, hide_from=hide_from)
        return sum(1 for _ in outcomes)


def main() -> None:
    """Print a line for each ``--save``."""
    parser = argparse.ArgumentParser(description="The loop over a video beside the bare network.")
    parser.add_argument("--seconds", type=int, default=8, help="of the clip (default: 8)")
    parser.add_argument("--people", type=int, default=300, help="in the crowd (default: 300)")
    parser.add_argument("--save", action="append", help="formats; again for more")
    arguments: Any = parser.parse_args()
    keep_freed_memory()
    picture = np.asarray(crowd((HEIGHT + 2 * MARGIN, WIDTH + 2 * MARGIN), arguments.people))
    detector = HeadDetector.from_weights(lowest_score=HIDDEN_FROM)
    with tempfile.TemporaryDirectory() as folder:
        pictures = (window(picture, number) for number in range(FPS * arguments.seconds))
        clip = write_clip(Path(folder, "clip.mp4"), pictures, fps=FPS, gop=2 * FPS)
        frames = [window(picture, number) for number in range(8)]
        run_bare(detector, frames[:1])
        before = paced(lambda: run_bare(detector, frames))
        for save in arguments.save or ["json", "json,counts,csv,mot", "json,video", "json,blur"]:
            formats = parse_formats(save)
            own = paced(
                lambda formats=formats, save=save: run_loop(
                    detector, clip, formats, Path(folder, save)
                )
            )
            after = paced(lambda: run_bare(detector, frames))
            ratio = (before.seconds + after.seconds) / 2 / own.seconds
            more = own.cpu - (before.cpu + after.cpu) / 2
            print(  # noqa: T201 - a script
                f"{save:<22} {1 / own.seconds:.2f} frames/s, bare {1 / before.seconds:.2f} and "
                f"{1 / after.seconds:.2f}: {ratio:.2f}; {1e3 * more:.0f} of "
                f"{1e3 * own.cpu:.0f} ms of the processor a frame beyond the network",
                flush=True,
            )
            before = after


if __name__ == "__main__":
    main()
