"""``export``: writes a detector as one ONNX file, or as OpenVINO's pair of .xml and .bin."""

import argparse
import random
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tqdm import tqdm

from head_detection.apps.arguments import add_weights_option
from head_detection.apps.command import UsageError
from head_detection.errors import PictureError
from head_detection.inference.backends.extras import import_extra

if TYPE_CHECKING:
    from head_detection.inference.engine import Backend

SUFFIXES: Final = {"onnx": ".onnx", "openvino": ".xml"}
PACKAGES: Final = {"onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino")}
SAMPLE: Final = "grace_hopper.jpg"
"""Part of matplotlib; public domain."""
CALIBRATION_PICTURES: Final = 128
"""At most; more change the ranges little."""
COMPARED_PICTURES: Final = 16
DIFFERS: Final = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = "Export a detector for ONNX Runtime or OpenVINO, to use as --weights."
    add_weights_option(parser)
    parser.add_argument("--to", required=True, choices=SUFFIXES, help="format to write")
    parser.add_argument(
        "--output", required=True, type=Path, metavar="FILE",
        help="the .onnx file to write, or the .xml file, with its .bin beside it",
    )  # fmt: skip
    parser.add_argument(
        "--int8", action="store_true",
        help="compute in 8-bit integers: faster and smaller, with slightly different heads",
    )  # fmt: skip
    parser.add_argument(
        "--calibration", type=Path, metavar="DIR",
        help="folder of pictures like those that the detector will see, for --int8; at most "
        f"{CALIBRATION_PICTURES} are used",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Export, compare, and return the exit code: 1 if the graph's outputs differ.

    Raises:
        HeadDetectionError: a mistake of the user, in one line.
    """
    _check(arguments)

    from head_detection.inference.backends import export, int8, onnx, openvino
    from head_detection.inference.backends.graph import ExportRecord
    from head_detection.inference.backends.parity import (
        COMPARED_SCORE,
        TOLERANCE,
        measure_parity,
    )
    from head_detection.inference.weights_files import sha256_of, shipped_weights
    from head_detection.models.faster_rcnn import load_detector

    weights: Path = arguments.weights or shipped_weights()
    model, description = load_detector(weights)
    pictures = _choose_pictures(arguments.calibration)
    is_openvino = arguments.to == "openvino"
    graph = export.to_onnx(model.network, description.network)
    if is_openvino:
        graph = openvino.from_onnx(graph)
    if arguments.int8:
        graph = int8.quantize(graph, model, pictures, partial(_bar, what="Calibrating"))
    compared = pictures[:COMPARED_PICTURES]
    images = map(int8.read_sample, _bar(compared, "Comparing"))
    backend = _build_backend(arguments, graph)
    threshold = min(description.inference.score_threshold, COMPARED_SCORE)
    parity = measure_parity(model, backend, images, threshold)
    print(parity.as_line(len(compared), threshold))
    if not arguments.int8 and not parity.outputs <= TOLERANCE:
        line = f"error: expected outputs within {TOLERANCE:g} of their largest value; nothing is "
        print(f"{line}written: use {weights} with engine torch", file=sys.stderr)
        return DIFFERS
    precision = "int8" if arguments.int8 else "fp32"
    record = ExportRecord(to=arguments.to, precision=precision, from_sha256=sha256_of(weights))
    write = openvino.write_openvino if is_openvino else onnx.write_onnx
    write(arguments.output, graph, description, record)
    files = [arguments.output, *([arguments.output.with_suffix(".bin")] if is_openvino else [])]
    print("written: " + ", ".join(f"{file} ({file.stat().st_size} bytes)" for file in files))
    return 0


def _check(arguments: argparse.Namespace) -> None:
    suffix = SUFFIXES[arguments.to]
    if arguments.output.suffix.lower() != suffix:
        raise UsageError(f"--output: expected a {suffix} file; got {arguments.output}")
    if arguments.int8 and arguments.calibration is None:
        raise UsageError("--int8: expected --calibration DIR too, a folder of pictures; got none")
    for package in (*PACKAGES[arguments.to], *(("nncf",) if arguments.int8 else ())):
        import_extra(package)


def _choose_pictures(folder: Path | None) -> list[Path]:
    """Return pictures of the folder, chosen with a fixed seed, or the sample picture."""
    from matplotlib import cbook

    from head_detection.images.finding import PictureFile
    from head_detection.inference.backends.int8 import read_sample
    from head_detection.pipeline.opening import open_pictures

    def is_readable(path: Path) -> bool:
        try:
            read_sample(path)
        except PictureError as error:
            print(f"passed over: {error}", file=sys.stderr)
            return False
        return True

    if folder is None:
        return [Path(cbook.get_sample_data(SAMPLE, asfileobj=False))]
    items = open_pictures(str(folder))
    paths = [item.path for item in items if isinstance(item, PictureFile)]
    random.Random(0).shuffle(paths)  # noqa: S311 - no secret
    chosen = list(islice(filter(is_readable, paths), CALIBRATION_PICTURES))
    if not chosen:
        raise UsageError(f"--calibration: expected a folder of pictures; got none in {folder}")
    return chosen


def _build_backend(arguments: argparse.Namespace, graph: Any) -> "Backend":
    from head_detection.inference.backends.onnx import OnnxBackend
    from head_detection.inference.backends.openvino import OpenVinoBackend

    build = OpenVinoBackend if arguments.to == "openvino" else OnnxBackend
    precision = "auto" if arguments.int8 else "fp32"
    return build(graph, precision=precision, is_int8=arguments.int8)


def _bar(paths: Sequence[Path], what: str) -> Iterator[Path]:
    return iter(tqdm(paths, desc=what, unit=" pictures", file=sys.stderr))
