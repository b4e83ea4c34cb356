"""Prints what memory a detector takes: ``python tests/picture_memory.py FOLDER`` (Linux).

The pictures of a folder, again from the first after the last, one at a time and in one thread, each
brought to a size of its own: what the process holds once the detector is loaded, and at most.
"""

import os
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from head_detection.apps.start import restart_with_fewer_holes  # noqa: E402
from head_detection.cores import set_wait_policy  # noqa: E402

if __name__ == "__main__":  # as every command does, before torch is here
    restart_with_fewer_holes()
    set_wait_policy(os.environ)

import argparse  # noqa: E402
import resource  # noqa: E402
from itertools import cycle, islice  # noqa: E402

import cv2  # noqa: E402
import torch  # noqa: E402

from head_detection.images.reading import read_picture  # noqa: E402
from head_detection.inference.detector import HeadDetector  # noqa: E402
from head_detection.inference.memory import keep_freed_memory  # noqa: E402

SMALLEST: Final = (520, 400)
LARGEST: Final = (1101, 826)
STEPS: Final = (31, 7)
"""Width and height grow by so many pixels a picture, and begin again at the smallest."""
MIB: Final = 1024 * 1024


def size_of(number: int) -> tuple[int, int]:
    """Return the (width, height) of a picture; no two of 247,506 are alike."""
    sides = zip(SMALLEST, LARGEST, STEPS, strict=True)
    width, height = (low + number * step % (high - low) for low, high, step in sides)
    return width, height


def most_so_far() -> float:
    """Return the MiB that the process held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description="The memory of a detector.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=60, help="pictures (default: 60)")
    parser.add_argument("--weights", default="fast", help="a path or a name (default: fast)")
    parser.add_argument("--precision", default="auto")
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    detector = HeadDetector.from_weights(arguments.weights, precision=arguments.precision)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    loaded = pages * os.sysconf("SC_PAGE_SIZE") / MIB
    heads, early = 0, loaded
    paths = islice(cycle(sorted(arguments.folder.iterdir())), arguments.count)
    for number, path in enumerate(paths):
        (found,) = detector.detect([cv2.resize(read_picture(path), size_of(number))])
        heads += len(found)
        if number < arguments.count / 4:
            early = most_so_far()
    print(  # noqa: T201 - a script
        f"{arguments.weights}, {arguments.precision}: {arguments.count} sizes, {heads} heads; MiB: "
        f"{loaded:.0f} once loaded, {early:.0f} at most in the first quarter, {most_so_far():.0f} "
        "at most"
    )


if __name__ == "__main__":
    main()
