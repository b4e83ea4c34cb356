"""``export``: a detector as one ONNX file, or as OpenVINO's pair of .xml and .bin."""

import argparse
import random
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from matplotlib import cbook
from tqdm import tqdm

from head_detection.apps.arguments import add_weights_option
from head_detection.errors import ExportError, PictureError
from head_detection.inference.backends.export import to_onnx
from head_detection.inference.backends.extras import import_extra
from head_detection.inference.backends.graph import ExportRecord
from head_detection.inference.backends.int8 import quantize, read_sample
from head_detection.inference.backends.onnx import OnnxBackend, write_onnx
from head_detection.inference.backends.openvino import OpenVinoBackend, from_onnx, write_openvino
from head_detection.inference.backends.parity import TOLERANCE, Parity, measure_parity
from head_detection.inference.weights_files import sha256_of, shipped_weights
from head_detection.models.faster_rcnn import FasterRCNN, load_detector
from head_detection.models.weights import WeightsDescription
from head_detection.pipeline.sources import find_pictures

SUFFIXES: Final = {"onnx": ".onnx", "openvino": ".xml"}
PACKAGES: Final = {"onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino")}
BACKENDS: Final = {"onnx": OnnxBackend, "openvino": OpenVinoBackend}
WRITERS: Final = {"onnx": write_onnx, "openvino": write_openvino}
SAMPLE: Final = "grace_hopper.jpg"
"""Comes with matplotlib; public domain."""
CALIBRATION_PICTURES: Final = 128
"""More change the ranges little; fewer are taken where the folder has no more."""
COMPARED_PICTURES: Final = 16
DIFFERS: Final = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Export, compare, and return the exit code: 1 where the graph gives something else.

    Raises:
        ValueError: a mistake of the user, one line.
    """
    arguments = _create_parser().parse_args(argv)
    _check(arguments)
    weights: Path = arguments.weights or shipped_weights()
    model, description = load_detector(weights)
    pictures = _choose_pictures(arguments.calibration)
    graph = to_onnx(model.network, description.network)
    if arguments.to == "openvino":
        graph = from_onnx(graph)
    if arguments.int8:
        graph = quantize(graph, model, pictures, lambda paths: iter(_bar(paths, "Calibrating")))
    parity = _compare(arguments, model, graph, pictures[:COMPARED_PICTURES], description)
    print(_describe(parity, min(len(pictures), COMPARED_PICTURES)))
    if not arguments.int8 and not parity.outputs <= TOLERANCE:
        print(
            f"error: expected outputs within {TOLERANCE:g} of their largest value; nothing is "
            f"written: use {weights} with engine torch",
            file=sys.stderr,
        )
        return DIFFERS
    record = ExportRecord(
        to=arguments.to,
        precision="int8" if arguments.int8 else "fp32",
        from_sha256=sha256_of(weights),
    )
    WRITERS[arguments.to](arguments.output, graph, description, record)
    files = [arguments.output]
    if arguments.to == "openvino":
        files.append(arguments.output.with_suffix(".bin"))
    print("written: " + ", ".join(f"{file} ({file.stat().st_size} bytes)" for file in files))
    return 0


def _check(arguments: argparse.Namespace) -> None:
    suffix = SUFFIXES[arguments.to]
    if arguments.output.suffix != suffix:
        raise ExportError(f"--output: expected a {suffix} file; got {arguments.output}")
    if arguments.int8 and arguments.calibration is None:
        raise ExportError(
            "--int8: expected --calibration, a folder of pictures such as the detector will see"
        )
    for package in (*PACKAGES[arguments.to], *(("nncf",) if arguments.int8 else ())):
        import_extra(package)


def _choose_pictures(folder: Path | None) -> list[Path]:
    """Return pictures of the folder drawn with a fixed seed, or the sample."""
    if folder is None:
        return [Path(cbook.get_sample_data(SAMPLE, asfileobj=False))]
    paths = [picture.path for picture in find_pictures([str(folder)]).pictures]
    random.Random(0).shuffle(paths)  # noqa: S311 - no secret
    chosen = list(islice(filter(_is_readable, paths), CALIBRATION_PICTURES))
    if not chosen:
        raise ExportError(f"--calibration: expected a folder of pictures; {folder} has none")
    return chosen


def _is_readable(path: Path) -> bool:
    try:
        read_sample(path)
    except PictureError as error:
        print(f"passed over: {error}", file=sys.stderr)
        return False
    return True


def _compare(
    arguments: argparse.Namespace,
    model: FasterRCNN,
    graph: Any,
    pictures: Sequence[Path],
    description: WeightsDescription,
) -> Parity:
    precision = "auto" if arguments.int8 else "fp32"
    backend = BACKENDS[arguments.to](graph, precision=precision, is_int8=arguments.int8)
    images = (read_sample(path) for path in _bar(pictures, "Comparing"))
    return measure_parity(model, backend, images, description.inference.score_threshold)


def _describe(parity: Parity, num_pictures: int) -> str:
    return (
        f"against torch fp32 on {num_pictures} pictures: outputs differ by at most "
        f"{parity.outputs:.1e} of their largest value; of {parity.heads} heads {parity.missing} "
        f"are missing, {parity.extra} are new, the others differ by at most {parity.score:.4f} in "
        f"score and {parity.box:.2f} pixels"
    )


def _bar(paths: Sequence[Path], what: str) -> "Iterator[Path]":
    return iter(tqdm(paths, desc=what, unit=" pictures", file=sys.stderr))


def _create_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Write a detector for ONNX Runtime or OpenVINO; every command takes the file "
        "as --weights."
    )
    add_weights_option(parser)
    parser.add_argument("--to", required=True, choices=SUFFIXES, help="whose form")
    parser.add_argument(
        "--output", required=True, type=Path, metavar="FILE",
        help="an .onnx file, or an .xml file with its .bin beside it",
    )  # fmt: skip
    parser.add_argument(
        "--int8", action="store_true",
        help="multiply 8-bit integers: faster and smaller, not quite the same heads",
    )  # fmt: skip
    parser.add_argument(
        "--calibration", type=Path, metavar="DIR",
        help=f"pictures such as the detector will see; {CALIBRATION_PICTURES} of them are used",
    )  # fmt: skip
    return parser
