"""Which files make up a split, where each split has one of its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from head_detection.errors import AnnotationError

SPLITS: Final = ("train", "val", "trainval", "test")
TRAINVAL: Final = "trainval"


def check_split(path: Path, split: str | None, allowed: Sequence[str] = SPLITS) -> None:
    """Refuse a split that the format does not have.

    Raises:
        AnnotationError: not one of ``allowed``, nor None.
    """
    if split not in (None, *allowed):
        raise AnnotationError(f"{path}: split: expected {', '.join(allowed)}; got {split!r}")


def labels_of(path: Path, pattern: str, split: str | None) -> list[Path]:
    """Return one file of labels as it is, or those of a split in a folder.

    Raises:
        AnnotationError: an unknown split, a split of one file, or no such file.
    """
    if path.is_dir():
        check_split(path, split)
        return split_files(path, pattern, split)
    if split is not None:
        raise AnnotationError(f"{path}: split: give the folder of the files, or leave split out")
    return [path]


def split_files(folder: Path, pattern: str, split: str | None) -> list[Path]:
    """Return the files of a split: its own, or those of train and val for ``trainval`` and None.

    Args:
        folder: where they lie.
        pattern: their name with ``{}`` for the split's.
        split: None never takes the test pictures by accident.

    Raises:
        AnnotationError: no such file; the message names those that are there.
    """
    wanted = split or TRAINVAL
    own = folder / pattern.format(wanted)
    if own.is_file():
        return [own]
    parts = [folder / pattern.format(part) for part in ("train", "val")]
    found = [file for file in parts if file.is_file()] if wanted == TRAINVAL else []
    if not found:
        names = sorted(file.name for file in folder.glob(pattern.format("*")))
        there = ", ".join(names[:8]) or "none"
        raise AnnotationError(f"{own}: no such list of pictures; there are: {there}")
    return found
