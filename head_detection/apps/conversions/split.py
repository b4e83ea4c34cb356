"""``convert split``: splits a data set, keeping near-duplicates in the same part."""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from head_detection.apps.arguments import not_negative
from head_detection.apps.conversions.labelled_input import add_input_arguments, load_input
from head_detection.data.annotations import AnnotatedImage, AnnotatedSet
from head_detection.data.formats.coco import write_coco
from head_detection.data.quality.near_duplicates import find_copies
from head_detection.data.quality.survey import SurveyedPicture, survey_pictures
from head_detection.data.splitting import Load, partition
from head_detection.errors import AnnotationError, ConfigError
from head_detection.files import real_path

ROUNDING = 1e-6
MIN_PARTS = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_input_arguments(parser, takes_several=False)
    parser.add_argument(
        "--output", required=True, type=Path, help="folder to write NAME.json of each part to"
    )
    parser.add_argument(
        "--parts", required=True, nargs="+", metavar="NAME=SHARE",
        help="two or more parts whose shares add up to 1, such as train=0.8 val=0.2",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=not_negative, default=0,
        help="seed that assigns pictures to parts (default: 0)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Write the parts, and return the exit code."""
    shares = parse_parts(arguments.parts)
    (annotated,) = load_input(arguments)
    # The order of the labels must not change the parts.
    images = sorted(annotated.images, key=lambda image: (image.file_name, str(image.path)))
    if len(images) < len(shares):
        raise AnnotationError(
            f"{arguments.input[0]}: expected at least {len(shares)} pictures, one a part; "
            f"got {len(images)}"
        )
    ordered = replace(annotated, images=tuple(images))
    pictures = survey_pictures([ordered], show_progress=sys.stderr.isatty())
    _refuse_unreadable(pictures)
    groups = _groups(pictures)
    loads = [Load(len(g), sum(len(p.image.truth.head_boxes) for p in g)) for g in groups]
    parts = partition(loads, list(shares.values()), arguments.seed)
    for note in annotated.notes:
        print(f"note: {note}")
    root, is_found = _picture_root(arguments.output, images)
    for number, (name, share) in enumerate(shares.items()):
        chosen = [p for g, part in zip(groups, parts, strict=True) if part == number for p in g]
        _write_part(arguments.output / f"{name}.json", root, annotated, chosen)
        num_heads = sum(len(picture.image.truth.head_boxes) for picture in chosen)
        print(
            f"{arguments.output / name}.json: {len(chosen)} pictures "
            f"({len(chosen) / len(images):.1%} of them, {share:.1%} asked for), {num_heads} heads"
        )
    kept = [group for group in groups if len(group) > 1]
    print(f"{len(kept)} groups of near-duplicates, {sum(map(len, kept))} pictures, kept together")
    if not is_found:
        print(
            f"pictures are named from {root}: give it as --images, or as images in an experiment "
            "file"
        )
    return 0


def parse_parts(texts: Sequence[str]) -> dict[str, float]:
    """Read ``name=share`` of each part.

    Raises:
        ConfigError: another form, a repeated name, fewer than two parts, or shares that do not add
            up to 1.

    Example:
        >>> parse_parts(["train=0.8", "val=0.2"])
        {'train': 0.8, 'val': 0.2}
    """
    shares: dict[str, float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) or name in shares:
            raise ConfigError(f"--parts: expected NAME=SHARE, each name once; got {text!r}")
        try:
            shares[name] = float(number)
        except ValueError as error:
            raise ConfigError(f"--parts: expected a share between 0 and 1; got {text!r}") from error
        if not 0 < shares[name] < 1:
            raise ConfigError(f"--parts: expected a share between 0 and 1; got {text!r}")
    if len(shares) < MIN_PARTS or abs(sum(shares.values()) - 1) > ROUNDING:
        raise ConfigError(
            f"--parts: expected two or more shares that add up to 1; got {' '.join(texts)}"
        )
    return shares


def _refuse_unreadable(pictures: Sequence[SurveyedPicture]) -> None:
    errors = [picture.error for picture in pictures if picture.error is not None]
    if errors:
        raise AnnotationError(
            f"{len(errors)} pictures cannot be read, the first: {errors[0]}; "
            "'convert check' lists them all"
        )


def _groups(pictures: Sequence[SurveyedPicture]) -> list[list[SurveyedPicture]]:
    """Group near-duplicates, and every other picture alone, ordered by each group's first name."""
    position = {id(picture): number for number, picture in enumerate(pictures)}
    groups = [
        list(group.pictures) for group in find_copies(pictures, show_progress=sys.stderr.isatty())
    ]
    grouped = {id(picture) for group in groups for picture in group}
    groups += [[picture] for picture in pictures if id(picture) not in grouped]
    return sorted(groups, key=lambda group: position[id(group[0])])


def _picture_root(output: Path, images: Sequence[AnnotatedImage]) -> tuple[Path, bool]:
    """Return the folder that picture names are relative to, and whether a reader finds it alone.

    A reader looks in ``images`` beside the file, or in the file's own folder.
    """
    folder = output / "images"
    own = real_path(folder if folder.is_dir() else output)
    folders = [real_path(image.path).parent for image in images]
    if all(folder.is_relative_to(own) for folder in folders):
        return own, True
    try:
        return Path(os.path.commonpath(folders)), False
    except ValueError as error:  # several Windows drives
        raise AnnotationError("expected all pictures on one drive") from error


def _write_part(
    path: Path, root: Path, whole: AnnotatedSet, pictures: Sequence[SurveyedPicture]
) -> None:
    ordered = sorted(pictures, key=lambda picture: picture.image.file_name)
    images = tuple(
        replace(
            picture.image,
            file_name=real_path(picture.image.path).relative_to(root).as_posix(),
            image_size=picture.image_size,
        )
        for picture in ordered
    )
    write_coco(path, replace(whole, name=path.stem, images=images))
