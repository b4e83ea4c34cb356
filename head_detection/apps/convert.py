"""``convert``: offers the conversions, each a command of its own."""

import argparse
from typing import Final, cast

from head_detection.apps.parser import CommandParser, add_commands

KINDS: Final = {
    "annotations": "convert labels from one format into another",
    "check": "check a data set: files, boxes, near-duplicates, statistics",
    "split": "split a data set into COCO files, keeping near-duplicates in the same part",
    "relabel": "improve the boxes of loose labels with a detector's results (self-training)",
    "anchors": "print anchor sizes that fit a data set",
    "weights": "import HeadHunter's weights, or this project's in their first format",
    "average": "average the weights of several runs that started from the same ones",
    "slim": "start a smaller, faster network from trained weights",
    "detections": "turn results into draft labels for CVAT, Label Studio, FiftyOne or COCO",
    "zones": "check zones and lines for counting, and draw them on a picture or first frame",
    "release": "prepare a run's weights for others: half the size, with licence and metrics",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Offer the kinds of conversion, each with its own options."""
    parser.description = "Convert, check and split labels; convert weights; check zones."
    add_commands(cast("CommandParser", parser), KINDS, "head_detection.apps.conversions")


def run(arguments: argparse.Namespace) -> int:
    """Never called: each kind has its own ``run``."""
    raise NotImplementedError(arguments.command)
