"""Options that commands share, and types of values that reject mistakes in one line.

Nothing here may import torch, so that options are parsed quickly.
"""

import argparse
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from head_detection.errors import DeviceError, WeightsError
from head_detection.files import real_path
from head_detection.images.reading import MAX_PIXELS
from head_detection.inference.weights_files import AUTO, ENGINES, check_presence, weights_path

PRECISIONS: Final = ("auto", "fp32", "bf16", "fp16", "int8")
"""A copy of those in ``devices``, which imports torch, and that of exports; a test compares."""
LARGEST: Final = 10**15
"""Largest whole number: no machine has as many of anything, and libraries count to 2**63."""
DEVICE: Final = re.compile(r"auto|(cpu|cuda|mps)(:\d+)?")


def weights(text: str) -> Path:
    """Read the path or name of weights, as ``weights_path`` does.

    Raises:
        argparse.ArgumentTypeError: a folder without weights.

    Example:
        >>> weights("fast").name
        'fast.safetensors'
    """
    try:
        return weights_path(text)
    except WeightsError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def check_weights_output(output: Path, *inputs: Path) -> None:
    """Check the name of a weights file to write, before long work.

    Raises:
        WeightsError: another ending, a folder, or one of the inputs. One line.
    """
    if output.suffix.lower() != ".safetensors":
        raise WeightsError(f"--output: expected a .safetensors file; got {output}")
    if output.is_dir():
        raise WeightsError(f"--output: expected a file; {output} is a folder: choose another name")
    if real_path(output) in map(real_path, inputs):
        raise WeightsError(f"--output: expected another file than the input {output}")


def set_option(values: Mapping[str, object]) -> str:
    """Return the option that gives fields of an experiment these values, as a shell takes it.

    Example:
        >>> print(set_option({"network.backbone.fpn_width": 96, "network.box_head": None}))
        --set network.backbone.fpn_width=96 network.box_head=null
        >>> print(set_option({"network.backbone.strides": [8, 16], "training.teacher": "my run"}))
        --set 'network.backbone.strides=[8,16]' 'training.teacher=my run'
    """
    return shlex.join(["--set", *(f"{key}={_as_yaml(value)}" for key, value in values.items())])


def _as_yaml(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def add_weights_option(parser: argparse._ArgumentGroup | argparse.ArgumentParser) -> None:
    """Declare ``--weights``, whose default is None."""
    parser.add_argument(
        "--weights", type=weights, metavar="FILE",
        help="fast, accurate, light, or a file (default: fast)",
    )  # fmt: skip


def add_detection_options(parser: argparse.ArgumentParser) -> None:
    """Declare the score threshold, and the limits of batches and pictures."""
    parser.add_argument(
        "--score-threshold", "--conf", type=probability, metavar="X",
        help="leave out heads with a lower score, 0 to 1 (default: the weights' own)",
    )  # fmt: skip
    parser.add_argument(
        "--batch-size", type=positive, metavar="N",
        help="pictures of similar shape at once (default: what suits the device)",
    )  # fmt: skip
    parser.add_argument(
        "--max-pixels", type=positive, default=MAX_PIXELS, metavar="N",
        help=f"refuse larger pictures, which may not fit into memory (default: {MAX_PIXELS:,})",
    )  # fmt: skip


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Declare where and how the network runs."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument(
        "--precision", default="auto", choices=PRECISIONS,
        help="int8 runs the 8-bit export beside the weights (the included ones have one), which "
        "finds nearly the same heads",
    )  # fmt: skip
    parser.add_argument(
        "--engine", choices=(AUTO, *ENGINES),
        help="auto: the fastest that `benchmark` has measured on this processor "
        "(default: torch, or the engine of an exported file)",
    )  # fmt: skip
    parser.add_argument(
        "--compile", action="store_true",
        help="compile the network for each size of picture, with torch.compile (half a minute) or "
        "OpenVINO (a third of a second): for videos and cameras, where OpenVINO does so by default",
    )  # fmt: skip
    parser.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="inference.KEY=VALUE",
        help="change a value of the weights' config that needs no training: "
        "inference.resize.enlargement=1.5, inference.suppression.nms_iou_threshold=0.4 ...",
    )  # fmt: skip
    parser.add_argument(
        "--image-size", "--imgsz", type=positive, metavar="PIXELS",
        help="scale down pictures whose long side is longer than this",
    )  # fmt: skip
    parser.add_argument(
        "--tile", type=tile, metavar="auto|PIXELS|0",
        help="view pictures that would be scaled down in full-resolution tiles of this side; auto: "
        "only those that show many small heads, 0: none (default: the weights' own, auto)",
    )  # fmt: skip
    parser.add_argument(
        "--tile-overlap", type=probability, metavar="X",
        help="overlap of neighbouring tiles, as a share of their side; heads up to this size are "
        "whole in one of them (default: 0.2)",
    )  # fmt: skip


def engine_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the values of ``add_engine_options``, as ``HeadDetector.from_weights`` takes them."""
    return {
        "engine": arguments.engine,
        "device": arguments.device,
        "precision": arguments.precision,
        "compile_network": arguments.compile,
        "overrides": [*arguments.set, *_sizes(arguments)],
    }


def check_detector_options(arguments: argparse.Namespace) -> None:
    """Refuse values that no detector accepts, before torch is loaded, which takes seconds.

    Values in a list, such as ``inference.views.0.scale``, are checked later, with the weights that
    hold the list; tracking settings are checked elsewhere.

    Raises:
        WeightsError: no such file.
        DeviceError: not a kind of device.
        ConfigError: an unknown key, or a value of the wrong type.
    """
    from head_detection.config import InferenceConfig, override_inference

    if arguments.weights is not None:
        check_presence(arguments.weights)
    if not DEVICE.fullmatch(arguments.device):
        raise DeviceError(
            f"device: expected auto, cpu, cuda, cuda:N or mps; got {arguments.device!r}"
        )
    overrides: list[str] = engine_options(arguments)["overrides"]
    waiting = re.compile(r"tracking\.|[^=]*\.\d+[.=]")
    known = [override for override in overrides if not waiting.match(override)]
    override_inference(InferenceConfig(), known)


def _sizes(arguments: argparse.Namespace) -> list[str]:
    options = {
        "resize.min_size": arguments.image_size,
        "resize.max_size": arguments.image_size,
        "tile": arguments.tile,
        "tile_overlap": arguments.tile_overlap,
    }
    return [f"inference.{name}={value}" for name, value in options.items() if value is not None]


def probability(text: str) -> float:
    """Read a number from 0 to 1.

    Raises:
        argparse.ArgumentTypeError: anything else.

    Example:
        >>> probability("0.25")
        0.25
    """
    return number_in(text, 0.0, 1.0)


def number_in(text: str, lowest: float, highest: float) -> float:
    """Read a number within bounds.

    Raises:
        argparse.ArgumentTypeError: anything else.

    Example:
        >>> number_in("2.5", 1.0, 10.0)
        2.5
    """
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not lowest <= value <= highest:
        raise argparse.ArgumentTypeError(f"expected {lowest:g} to {highest:g}; got {text}")
    return value


def positive(text: str) -> int:
    """Read a whole number from 1.

    Raises:
        argparse.ArgumentTypeError: anything else.

    Example:
        >>> positive("8")
        8
    """
    return _whole(text, 1)


def tile(text: str) -> str:
    """Read ``auto`` or a whole number from 0, and return the value of ``inference.tile``.

    Raises:
        argparse.ArgumentTypeError: anything else.

    Example:
        >>> tile("auto"), tile("1000")
        ('null', '1000')
    """
    try:
        return "null" if text == "auto" else str(_whole(text, 0))
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"expected auto, 0 or more pixels; got {text}") from error


def not_negative(text: str) -> int:
    """Read a whole number from 0.

    Raises:
        argparse.ArgumentTypeError: anything else.

    Example:
        >>> not_negative("0")
        0
    """
    return _whole(text, 0)


def _whole(text: str, lowest: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = lowest - 1
    if value < lowest:
        raise argparse.ArgumentTypeError(f"expected {lowest} or more; got {text}")
    if value > LARGEST:
        raise argparse.ArgumentTypeError(f"expected {LARGEST:,} at most; got {text}")
    return value
