"""Prints what memory a detector takes: ``python tests/picture_memory.py FOLDER`` (Linux).

The pictures of a folder, one at a time and in one thread, each brought to a size of its own: what
the process holds once the detector is loaded, and at most.
"""

import argparse
import os
import resource
import sys
from itertools import islice
from pathlib import Path
from typing import Final

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as every command has it, before torch is here
ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

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
    """Return the (width, height) of a picture; no two of 400 are alike."""
    sides = zip(SMALLEST, LARGEST, STEPS, strict=True)
    width, height = (low + number * step % (high - low) for low, high, step in sides)
    return width, height


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description="The memory of a detector.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=60, help="pictures (default: 60)")
    parser.add_argument("--precision", default="auto")
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    detector = HeadDetector.from_weights(precision=arguments.precision)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    heads, sizes = 0, set[tuple[int, int]]()
    for number, path in enumerate(islice(sorted(arguments.folder.iterdir()), arguments.count)):
        sizes.add(size_of(number))
        (found,) = detector.detect([cv2.resize(read_picture(path), size_of(number))])
        heads += len(found)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB
    loaded = pages * os.sysconf("SC_PAGE_SIZE") / MIB
    print(  # noqa: T201 - a script
        f"{len(sizes)} sizes, {heads} heads: {loaded:.0f} MiB once loaded, {most:.0f} at most"
    )


if __name__ == "__main__":
    main()
