"""``convert detections``: turns results into draft labels for a labelling tool."""

import argparse
from pathlib import Path

from head_detection import files
from head_detection.apps.arguments import probability
from head_detection.apps.command import UsageError
from head_detection.config import DatasetConfig
from head_detection.data.formats import load_annotations
from head_detection.results.formats import read_detection_file
from head_detection.results.prelabels import PRELABELS, as_label_studio

LABEL_STUDIO = "labelstudio"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--input", required=True, type=Path, metavar="FILE",
        help="results of test (json, lines, csv, coco, mot, yolo), or the same formats from "
        "another program",
    )  # fmt: skip
    parser.add_argument(
        "--images", required=True, metavar="DIR",
        help="folder to which the picture names in the results are relative",
    )  # fmt: skip
    parser.add_argument(
        "--to", required=True, choices=PRELABELS, help="tool that will import the labels"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="file to write")
    parser.add_argument(
        "--score-threshold", type=probability, default=0.0, metavar="X",
        help="leave out heads with a lower score (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--prefix", default="", metavar="TEXT",
        help="text before each picture name, for Label Studio: the address of its storage or "
        "server",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Write the file, print what is in it, and return the exit code.

    Raises:
        HeadDetectionError: a mistake of the user, in one line.
    """
    if arguments.prefix and arguments.to != LABEL_STUDIO:
        raise UsageError(f"--prefix: expected --to {LABEL_STUDIO}; got --to {arguments.to}")
    pictures = load_annotations(DatasetConfig(path=arguments.images, format="folder"))
    file = read_detection_file(arguments.input, pictures)
    for note in file.notes:
        print(f"note: {note}")
    for what, names in (
        ("pictures that failed", file.failed),
        (f"pictures without results in {arguments.input.name}", file.without),
    ):
        if names:
            print(f"note: {what}, left without heads: {len(names)}, the first: {names[0]}")
    kept = [found.above(arguments.score_threshold) for found in file.detections]
    named = [(image.file_name, found) for image, found in zip(pictures.images, kept, strict=True)]
    if arguments.to == LABEL_STUDIO:
        content = as_label_studio(named, arguments.prefix)
    else:
        content = PRELABELS[arguments.to](named)
    files.write_bytes(arguments.output, content)
    print(f"{arguments.output}: {len(named)} pictures, {sum(map(len, kept))} heads")
    return 0
