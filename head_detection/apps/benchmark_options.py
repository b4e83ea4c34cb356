"""Options of ``benchmark``: what is measured, on which pictures, and what it is compared with.

Nothing here may import torch, so that options are parsed quickly.
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
"""A copy of the names in ``benchmark.pictures``, which imports torch; a test compares them."""


def add_benchmark_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    text = "fast, accurate, light, or a file; may be repeated, the whole command is measured for "
    text += "the first (default: fast)"
    add("--weights", type=weights, action="append", metavar="FILE", help=text)
    text = f"one or more, separated by commas: {', '.join(ENGINES)} (default: the file's own)"
    add("--engine", type=_engines, default=[None], metavar="LIST", help=text)
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add("--precision", default="auto", choices=PRECISIONS)
    text = "compile the network for the size of the pictures, as in test"
    add("--compile", action="store_true", help=text)
    add("--threads", type=positive, metavar="N", help="PyTorch threads (default: its own choice)")
    text = "what to compare with: torchvision (its stock model, in eager float32), FILE.onnx (only "
    text += "the network of another detector), or nothing; may be repeated (default: torchvision)"
    add("--against", type=_rival, action="append", metavar="WHAT", help=text)
    text = "picture size for .onnx files that accept any (default: --size, rounded up to multiples "
    text += "of 32)"
    add("--against-size", type=_size, metavar="HEIGHTxWIDTH", help=text)
    text = "also run this engine on the network and weights of torchvision's stock model"
    add("--same-network", action="store_true", help=text)
    text = "pictures, as in test (default: JPEGs made from a sample picture)"
    add("--source", metavar="PATH", help=text)
    text = "what those JPEGs show: 150 people, or one (default: crowd)"
    add("--scene", choices=SCENES, default="crowd", help=text)
    text = "largest number of pictures for the whole command (default: 200)"
    add("--limit", type=positive, default=200, metavar="N", help=text)
    text = "how many of them to use for all other measurements (default: 4)"
    add("--pictures", type=positive, default=4, metavar="N", help=text)
    text = "picture size at which detectors are compared (default: 600x800, or the size that an "
    text += ".onnx file of --against requires)"
    add("--size", type=_size, metavar="HEIGHTxWIDTH", help=text)
    text = "runs to measure, after a warm-up (default: 5)"
    add("--runs", type=positive, default=5, metavar="N", help=text)
    text = f"one or more, separated by commas: {', '.join(PARTS)} (default: all)"
    add("--measure", type=_parts, default=list(PARTS), metavar="LIST", help=text)
    text = "measure only how well trackers keep ids in simulated crowds, and their time"
    add("--tracking", action="store_true", help=text)
    text = "folder for the report (default: runs/benchmark/<name of the weights>)"
    add("--output", type=Path, metavar="DIR", help=text)


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH such as 600x800; got {text!r}")
    return int(height), int(width)


def _rival(text: str) -> str:
    if text in (BASELINE, NOTHING) or text.lower().endswith(".onnx"):
        return text
    raise argparse.ArgumentTypeError(
        f"expected {BASELINE}, {NOTHING} or a file that ends in .onnx; got {text!r}"
    )


def rivals_of(asked: list[str] | None) -> tuple[bool, list[Path]]:
    """Return whether torchvision's model takes part, and the ``.onnx`` files that do.

    Args:
        asked: values of ``--against``; None if it was not given.

    Raises:
        BenchmarkError: ``nothing`` together with something.
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
