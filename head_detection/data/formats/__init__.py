"""Public label formats, one per file: each is read, and written if it is useful as output."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

from head_detection.config import DatasetConfig
from head_detection.data.annotations import AnnotatedSet
from head_detection.data.formats import (
    coco,
    crohd,
    crowdhuman,
    voc,
    voc_labels,
    yolo,
    yolo_description,
)
from head_detection.data.formats.brainwash import read_brainwash, write_brainwash
from head_detection.data.formats.folder import read_folder
from head_detection.data.formats.headhunter import read_headhunter, write_headhunter
from head_detection.data.formats.hollywood import read_hollywood
from head_detection.data.formats.names import inner_name
from head_detection.data.formats.scut import read_scut
from head_detection.data.formats.vscrowd import read_vscrowd
from head_detection.errors import AnnotationError

__all__ = [
    "FORMATS",
    "WRITERS",
    "LabelFormat",
    "guess_format",
    "load_annotations",
    "write_annotations",
]

Reader = Callable[[Path, str | None, Path | None], AnnotatedSet]
Writer = Callable[[Path, AnnotatedSet], tuple[str, ...]]


@dataclass(frozen=True)
class LabelFormat:
    """The functions and properties of a format.

    Attributes:
        read: takes the path of the labels, a split and the folder of the pictures (None: default).
        has_splits: otherwise every split has a file of its own.
        write: writes to a new path and returns what the format could not hold; None if read-only.
        writes_folder: the writer fills a new folder; otherwise it writes one file.
        needs_sizes: the writer needs the pictures' sizes.
        holds_ids: the format says who each head is.
        joins_distractors: the writer makes distractors regions to ignore.
        picture_names: path of each picture, relative to the new folder or the new file's folder.
    """

    read: Reader
    has_splits: bool = True
    write: Writer | None = None
    writes_folder: bool = False
    needs_sizes: bool = False
    holds_ids: bool = False
    joins_distractors: bool = False
    picture_names: Callable[[AnnotatedSet], list[str]] = lambda annotated: _names_in("", annotated)


def load_annotations(config: DatasetConfig) -> AnnotatedSet:
    """Read one set of labelled pictures.

    Raises:
        AnnotationError: files missing or not of the format, or a split that it does not have.
    """
    path = Path(config.path)
    images = None if config.images is None else Path(config.images)
    if not path.exists():
        raise AnnotationError(f"{path}: no such file or folder")
    if images is not None and not images.is_dir():
        raise AnnotationError(f"{images}: expected the folder of the pictures of {path}")
    label_format = FORMATS[config.format]
    if config.split is not None and not label_format.has_splits:
        raise AnnotationError(
            f"{path}: split: the format {config.format} has none; give the file of each split"
        )
    return label_format.read(path, config.split, images)


def guess_format(path: Path) -> str:
    """Guess the format from the name of a file, or from the content of a folder.

    Raises:
        AnnotationError: the path does not exist, or gives no clue.

    Example:
        >>> guess_format(Path("my/data.yaml")), guess_format(Path("annotation_val.odgt"))
        ('yolo', 'crowdhuman')
    """
    by_suffix = SUFFIXES.get(path.suffix.lower())
    if by_suffix is not None:
        return by_suffix
    if not path.exists():
        raise AnnotationError(f"{path}: no such file or folder")
    for name, inside in INSIDE.items():
        if any((path / entry).exists() for entry in inside):
            return name
    raise AnnotationError(
        f"{path}: expected labels whose name tells the format ({', '.join(SUFFIXES)}), or a folder "
        f"with {', '.join(entry for inside in INSIDE.values() for entry in inside)}; else name it"
    )


def write_annotations(annotated: AnnotatedSet, format_name: str, path: Path) -> tuple[str, ...]:
    """Write a set of labelled pictures; the pictures themselves are not copied.

    Args:
        annotated: the set.
        format_name: one of ``WRITERS``.
        path: the file, or a new folder; written completely or not at all.

    Returns:
        What the format could not hold, or only with changes, one line per kind with its count.

    Raises:
        AnnotationError: no such writer, or a set that the format cannot hold.
    """
    write = FORMATS[format_name].write if format_name in FORMATS else None
    if write is None:
        raise AnnotationError(
            f"{path}: no writer for {format_name}; there are: {', '.join(WRITERS)}"
        )
    return (*write(path, annotated), *_lost_by_all(annotated, format_name))


def _lost_by_all(annotated: AnnotatedSet, format_name: str) -> list[str]:
    """Return what most formats cannot hold, whatever the writer itself reports."""
    truths, target = [image.truth for image in annotated.images], FORMATS[format_name]
    num_ids = sum(len(truth.boxes) for truth in truths if truth.ids is not None)
    num_distractors = sum(int(truth.distractor.sum()) for truth in truths)
    notes = []
    if num_ids and not target.holds_ids:
        notes.append(f"ids of boxes, which {format_name} cannot hold, left out: {num_ids}")
    if num_distractors and target.joins_distractors:
        notes.append(f"distractors, written as regions to ignore: {num_distractors}")
    return notes


def _names_in(folder: str, annotated: AnnotatedSet) -> list[str]:
    """Return the path of each picture below a folder.

    Raises:
        AnnotationError: a name that leaves its folder.

    Example:
        >>> from head_detection.data.annotations import AnnotatedImage, build_truth
        >>> image = AnnotatedImage(Path("x"), "a/1.jpg", build_truth([]))
        >>> _names_in("JPEGImages", AnnotatedSet("mine", (image,)))
        ['JPEGImages/a/1.jpg']
    """
    names = [inner_name(image.file_name, annotated.name) for image in annotated.images]
    return [str(PurePosixPath(folder) / name) for name in names]


def _unsplit(read: Callable[[Path, Path | None], AnnotatedSet]) -> Reader:
    return lambda path, _, images: read(path, images)


FORMATS: Final[dict[str, LabelFormat]] = {
    "coco": LabelFormat(
        _unsplit(coco.read_coco),
        has_splits=False,
        write=coco.write_coco,
        needs_sizes=True,
        picture_names=partial(_names_in, coco.PICTURES),
    ),
    "voc": LabelFormat(
        voc.read_voc,
        write=voc.write_voc,
        writes_folder=True,
        needs_sizes=True,
        joins_distractors=True,
        picture_names=partial(_names_in, voc_labels.PICTURES),
    ),
    "yolo": LabelFormat(
        yolo.read_yolo,
        write=yolo.write_yolo,
        writes_folder=True,
        needs_sizes=True,
        picture_names=partial(_names_in, yolo_description.PICTURES),
    ),
    "crowdhuman": LabelFormat(
        crowdhuman.read_crowdhuman,
        write=crowdhuman.write_crowdhuman,
        joins_distractors=True,
        picture_names=partial(_names_in, crowdhuman.PICTURES),
    ),
    "headhunter": LabelFormat(
        _unsplit(read_headhunter),
        has_splits=False,
        write=write_headhunter,
        joins_distractors=True,
    ),
    "crohd": LabelFormat(
        crohd.read_crohd,
        write=crohd.write_crohd,
        writes_folder=True,
        holds_ids=True,
        picture_names=crohd.frame_names,
    ),
    "brainwash": LabelFormat(read_brainwash, write=write_brainwash),
    "scut": LabelFormat(read_scut),
    "hollywood": LabelFormat(read_hollywood),
    "vscrowd": LabelFormat(read_vscrowd),
    "folder": LabelFormat(_unsplit(read_folder), has_splits=False),
}
"""Formats by their name in the experiment file."""
SUFFIXES: Final = {
    ".json": "coco",
    ".yaml": "yolo",
    ".yml": "yolo",
    ".odgt": "crowdhuman",
    ".idl": "brainwash",
}
"""Formats by the end of a file's name."""
INSIDE: Final = {
    "yolo": ("data.yaml", "data.yml"),
    "scut": ("SCUT_HEAD_Part_A", "SCUT_HEAD_Part_B"),
    "voc": ("JPEGImages", "Annotations"),
    "crowdhuman": ("annotation_train.odgt", "annotation_val.odgt"),
}
"""Formats by the content of a folder."""
WRITERS: Final = tuple(name for name, kind in FORMATS.items() if kind.write is not None)
"""Formats that can be written."""
