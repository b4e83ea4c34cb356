"""Options that name labelled pictures, and reading the sets they name."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Final

from head_detection.apps.parser import path_text
from head_detection.config import DatasetConfig
from head_detection.data.annotations import AnnotatedSet
from head_detection.data.formats import FORMATS, load_annotations
from head_detection.errors import AnnotationError

_KNOWN_SPLITS: Final = (None, "train", "val", "trainval", "test")


def add_input_arguments(parser: argparse.ArgumentParser, *, takes_several: bool) -> None:
    """Declare ``--format``, ``--input``, ``--images`` and ``--split``."""
    parser.add_argument(
        "--format", default="coco", choices=FORMATS, help="format of --input (default: coco)"
    )
    parser.add_argument(
        "--input", required=True, type=path_text, nargs="+" if takes_several else 1,
        help="labels: a file or folder" + (", one or more sets" if takes_several else ""),
    )  # fmt: skip
    parser.add_argument(
        "--images", type=path_text,
        help="folder to which the picture names in the labels are relative",
    )  # fmt: skip
    parser.add_argument(
        "--split", nargs="+" if takes_several else 1,
        help="part of the set, such as train"
        + (" or val; each is checked as a set" if takes_several else ""),
    )  # fmt: skip


def load_input(arguments: argparse.Namespace) -> list[AnnotatedSet]:
    """Read every split of every input, and give them distinct names.

    Raises:
        AnnotationError: labels cannot be read.
    """
    sets = [
        load_annotations(_config(arguments, path, split))
        for path in arguments.input
        for split in arguments.split or [None]
    ]
    seen: dict[str, int] = {}
    named = []
    for group in sets:
        seen[group.name] = seen.get(group.name, 0) + 1
        number = seen[group.name]
        name = group.name if number == 1 else f"{group.name} ({number})"
        named.append(replace(group, name=name))
    return named


def labelled_paths(arguments: argparse.Namespace, path: str) -> set[Path]:
    """Return the pictures in any split of an input, whether it was asked for or not."""
    named: set[Path] = set()
    for split in {*_KNOWN_SPLITS, *(arguments.split or [])}:
        try:
            group = load_annotations(_config(arguments, path, split))
        except AnnotationError:  # a set may lack some splits
            continue
        named.update(image.path for image in group.images)
    return named


def _config(arguments: argparse.Namespace, path: str, split: str | None) -> DatasetConfig:
    return DatasetConfig(path=path, format=arguments.format, images=arguments.images, split=split)
