"""Options of ``benchmark``: what is measured, on what, and against whom.

Nothing here may import torch: options are parsed before it is.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from head_detection.apps.arguments import PRECISIONS, positive, weights
from head_detection.errors import BenchmarkError
from head_detection.inference.weights_files import ENGINES

PARTS: Final = ("speed", "stages", "command", "engines")
BASELINE: Final = "torchvision"
NOTHING: Final = "nothing"
SCENES: Final = ("crowd", "portrait")
"""As ``benchmark.pictures`` has them, which imports torch; a test compares."""


def add_benchmark_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    text = (
        "a file, fast or accurate; again for more, whole commands are the first's (default: fast)"
    )
    add("--weights", type=weights, action="append", metavar="FILE", help=text)
    text = f"with commas: {', '.join(ENGINES)} (default: the file's own)"
    add("--engine", type=_engines, default=[None], metavar="LIST", help=text)
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add("--precision", default="auto", choices=PRECISIONS)
    text = "as of test: the network made anew for the size of the pictures"
    add("--compile", action="store_true", help=text)
    add("--threads", type=positive, metavar="N", help="of PyTorch (default: its own choice)")
    text = "torchvision: its stock model, in eager float32; FILE.onnx: a detector of others, its "
    text += "network alone; nothing; again for more (default: torchvision)"
    add("--against", type=_rival, action="append", metavar="WHAT", help=text)
    text = "for those .onnx files that take any size (default: --size, up to multiples of 32)"
    add("--against-size", type=_size, metavar="HEIGHTxWIDTH", help=text)
    text = "also this engine on the stock model's own network and weights"
    add("--same-network", action="store_true", help=text)
    add("--source", metavar="PATH", help="as of test (default: JPEGs made of a sample picture)")
    text = "what these show: 150 people, or one (default: crowd)"
    add("--scene", choices=SCENES, default="crowd", help=text)
    text = "pictures of the whole command at most (default: 200)"
    add("--limit", type=positive, default=200, metavar="N", help=text)
    text = "of these, how many all else is measured on (default: 4)"
    add("--pictures", type=positive, default=4, metavar="N", help=text)
    text = "of the pictures that detectors are compared on (default: 600x800, or what "
    text += "an .onnx file of --against takes)"
    add("--size", type=_size, metavar="HEIGHTxWIDTH", help=text)
    add("--runs", type=positive, default=5, metavar="N", help="counted runs (default: 5)")
    text = f"with commas: {', '.join(PARTS)} (default: all)"
    add("--measure", type=_parts, default=list(PARTS), metavar="LIST", help=text)
    text = "how well trackers keep the ids of made crowds, in place of all else"
    add("--tracking", action="store_true", help=text)
    add("--output", type=Path, metavar="DIR", help="default: runs/benchmark/<name of the weights>")


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH such as 600x800; got {text!r}")
    return int(height), int(width)


def _rival(text: str) -> str:
    if text in (BASELINE, NOTHING) or text.endswith(".onnx"):
        return text
    raise argparse.ArgumentTypeError(
        f"expected {BASELINE}, {NOTHING} or a file that ends in .onnx; got {text!r}"
    )


def rivals_of(asked: list[str] | None) -> tuple[bool, list[Path]]:
    """Return whether torchvision's model takes part, and the files of others that do.

    Args:
        asked: values of ``--against``; None: it was not given.

    Raises:
        BenchmarkError: nothing, and something.
    """
    rivals = list(dict.fromkeys([BASELINE] if asked is None else asked))
    if NOTHING in rivals and len(rivals) > 1:
        raise BenchmarkError(f"against: expected {NOTHING} alone; got {', '.join(rivals)}")
    return BASELINE in rivals, [Path(name) for name in rivals if name not in (BASELINE, NOTHING)]


def _engines(text: str) -> list[str]:
    return _some_of(text, ENGINES)


def _parts(text: str) -> list[str]:
    return _some_of(text, PARTS)


def _some_of(text: str, known: Sequence[str]) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names or not set(names) <= set(known):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(known)}; got {text!r}")
    return names
