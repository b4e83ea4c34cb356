"""Public label formats, one a file: readers, and writers where a format has a use as output."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from head_detection.config import DatasetConfig
from head_detection.data.annotations import AnnotatedSet
from head_detection.data.formats.brainwash import read_brainwash, write_brainwash
from head_detection.data.formats.coco import read_coco, write_coco
from head_detection.data.formats.crohd import read_crohd
from head_detection.data.formats.crohd_writer import write_crohd
from head_detection.data.formats.crowdhuman import read_crowdhuman, write_crowdhuman
from head_detection.data.formats.folder import read_folder
from head_detection.data.formats.headhunter import read_headhunter, write_headhunter
from head_detection.data.formats.hollywood import read_hollywood
from head_detection.data.formats.picture_places import picture_names
from head_detection.data.formats.scut import read_scut
from head_detection.data.formats.voc import read_voc, write_voc
from head_detection.data.formats.yolo import read_yolo
from head_detection.data.formats.yolo_writer import write_yolo
from head_detection.errors import AnnotationError

__all__ = [
    "FOLDER_FORMATS",
    "READERS",
    "SIZED_FORMATS",
    "SPLIT_READERS",
    "WRITERS",
    "load_annotations",
    "picture_names",
    "write_annotations",
]

Reader = Callable[[Path, Path | None], AnnotatedSet]
SplitReader = Callable[[Path, str | None, Path | None], AnnotatedSet]
Writer = Callable[[Path, AnnotatedSet], tuple[str, ...]]

READERS: Final[dict[str, Reader]] = {
    "coco": read_coco,
    "headhunter": read_headhunter,
    "folder": read_folder,
}
"""Formats without splits: ``reader(path, images)``."""
SPLIT_READERS: Final[dict[str, SplitReader]] = {
    "voc": read_voc,
    "scut": read_scut,
    "crowdhuman": read_crowdhuman,
    "crohd": read_crohd,
    "hollywood": read_hollywood,
    "brainwash": read_brainwash,
    "yolo": read_yolo,
}
"""Formats with splits: ``reader(path, split, images)``."""
WRITERS: Final[dict[str, Writer]] = {
    "coco": write_coco,
    "voc": write_voc,
    "yolo": write_yolo,
    "crowdhuman": write_crowdhuman,
    "headhunter": write_headhunter,
    "crohd": write_crohd,
    "brainwash": write_brainwash,
}
FOLDER_FORMATS: Final = frozenset({"voc", "yolo", "crohd"})
"""Formats whose writers fill a new folder; the others write one file."""
SIZED_FORMATS: Final = frozenset({"coco", "voc", "yolo"})
"""Formats whose writers need the pictures' sizes."""


def load_annotations(config: DatasetConfig) -> AnnotatedSet:
    """Read one set of labelled pictures.

    Raises:
        AnnotationError: files missing or not of the format, or a split where the format has none.
    """
    path = Path(config.path)
    images = None if config.images is None else Path(config.images)
    if not path.exists():
        raise AnnotationError(f"{path}: no such file or folder")
    if images is not None and not images.is_dir():
        raise AnnotationError(f"{images}: expected the folder of the pictures of {path}")
    if config.format in SPLIT_READERS:
        return SPLIT_READERS[config.format](path, config.split, images)
    if config.split is not None:
        raise AnnotationError(
            f"{path}: split: the format {config.format} has none; give the file of each split"
        )
    return READERS[config.format](path, images)


def write_annotations(annotated: AnnotatedSet, format: str, path: Path) -> tuple[str, ...]:  # noqa: A002 - as in DatasetConfig
    """Write a set of labelled pictures; the pictures themselves are not copied.

    Args:
        annotated: the set.
        format: one of ``WRITERS``.
        path: the file, or for ``FOLDER_FORMATS`` a new folder. It is there whole or not at all.

    Returns:
        What the format could not hold or hold as it was, one line a kind with its count.

    Raises:
        AnnotationError: no such writer, or a set that the format cannot hold.
    """
    if format not in WRITERS:
        raise AnnotationError(f"{path}: no writer for {format}; there are: {', '.join(WRITERS)}")
    return WRITERS[format](path, annotated)
