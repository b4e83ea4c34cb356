"""``convert``: one form into another."""

import argparse
from typing import Final, cast

from head_detection.apps.parser import CommandParser, add_commands

KINDS: Final = {
    "annotations": "the labels of a data set, from one format into another",
    "check": "the quality of a data set: files, boxes, near-duplicates, statistics",
    "split": "parts of a data set, near-duplicate pictures on one side, as COCO JSON",
    "relabel": "labels made by a detector, placed anew by a better one: self-training",
    "anchors": "anchor sizes that fit a data set",
    "weights": "weights made by others",
    "average": "the mean of the weights of several runs that started from the same ones",
    "detections": "what was found, as labels to begin with in CVAT, Label Studio, FiftyOne or COCO",
    "zones": "lines and zones to count in, checked and drawn on a picture or a first frame",
    "release": "weights of a run to hand out: half the size, licence and metrics inside",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Offer the kinds of conversion, each with its own options."""
    parser.description = "Convert one form into another."
    add_commands(cast("CommandParser", parser), KINDS, "head_detection.apps.conversions")


def run(arguments: argparse.Namespace) -> int:
    """Never called: each kind has its own."""
    raise NotImplementedError(arguments.command)
