"""``convert relabel``: moves the boxes of loose labels to a detector's results."""

import argparse
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from typing import Final

from head_detection.apps.arguments import probability
from head_detection.config import DatasetConfig
from head_detection.data.formats import load_annotations, write_annotations
from head_detection.data.relabelling import RelabelRules, relabel
from head_detection.errors import AnnotationError
from head_detection.files import real_path
from head_detection.results.formats import read_detection_file

_RULES: Final = {
    "considered_score": "leave out detections scored lower",
    "close_iou": "IoU from which a label and a detection are one head, well placed",
    "loose_iou": "IoU from which they are one head, placed halfway between them",
    "detected_share": "weight of the detection in the new box of a well placed head",
    "added_score": "score from which a detection without a label becomes a head",
    "ignored_score": "score from which it becomes a region to ignore",
}
"""Help of the options, which are the fields of ``RelabelRules``."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--input", required=True, type=Path, help="COCO labels to improve")
    parser.add_argument(
        "--images", type=Path, help="folder to which the picture names in the labels are relative"
    )
    parser.add_argument(
        "--detections", required=True, type=Path, metavar="FILE",
        help="the detections.json that test wrote for these pictures",
    )  # fmt: skip
    parser.add_argument("--output", required=True, type=Path, help="the COCO file to write")
    for field in fields(RelabelRules):
        option = "--" + field.name.replace("_", "-")
        parser.add_argument(
            option, type=probability, default=field.default, metavar="X",
            help=f"{_RULES[field.name]} (default: {field.default:g})",
        )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Write the labels, print what changed, and return the exit code.

    Raises:
        ValueError: a mistake of the user, in one line.
    """
    if real_path(arguments.output) == real_path(arguments.input):
        raise AnnotationError(f"--output: expected another file than the input {arguments.input}")
    images = None if arguments.images is None else str(arguments.images)
    labelled = load_annotations(DatasetConfig(path=str(arguments.input), images=images))
    file = read_detection_file(arguments.detections, labelled)
    if file.without:
        nothing = f"nothing of {len(file.without)} pictures, {file.without[0]} first"
        print(f"{arguments.detections}: {nothing}")
    rules = RelabelRules(**{f.name: getattr(arguments, f.name) for f in fields(RelabelRules)})
    counts: Counter[str] = Counter()
    changed = []
    for image, found in zip(labelled.images, file.detections, strict=True):
        truth, own = relabel(image.truth, found, rules)
        counts.update(own)
        changed.append(replace(image, truth=truth))
    for note in write_annotations(
        replace(labelled, images=tuple(changed)), "coco", arguments.output
    ):
        print(f"written: {note}")
    told = ", ".join(f"{name} {count}" for name, count in counts.items())
    print(f"{arguments.output}: {len(changed)} pictures; heads {told}")
    return 0
