"""``labels/*.txt``: YOLO's ``class x y width height``, centre and size as shares of the picture.

Source:
    docs.ultralytics.com/datasets/detect; predictions saved with their confidence have it as a sixth
    number.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from head_detection.data.annotations import AnnotatedSet, LabelClass
from head_detection.data.formats.class_names import HEAD, choose_heads
from head_detection.data.formats.label_files import as_id, read_text
from head_detection.data.formats.yolo_description import CLASSES, FILE, PICTURES, SCHEME
from head_detection.errors import DetectionFileError
from head_detection.images.finding import OUTPUT_MARKER
from head_detection.results.classes import HeadClasses, StatedClass
from head_detection.results.detection_rows import (
    DetectionRows,
    FoundElsewhere,
    KnownPictures,
    as_number,
    size_of,
)
from head_detection.results.record import Origin, Record
from head_detection.results.sink import FileSink, FolderSink
from head_detection.structures import SCORE_DECIMALS

FORM: Final = "YOLO labels"
CLASS: Final = 0
NUM_FIELDS: Final = (5, 6)
"""Number of fields without and with a confidence."""
SURE: Final = 1.0
"""The score of a box without a confidence."""
SHOWN_CHARACTERS: Final = 80


@dataclass(frozen=True)
class LabelledBox:
    """A line of a label file.

    Attributes:
        picture: index of the picture in the set.
        number: number of the class.
        corners: left, top, right, bottom as shares of the picture.
        score: the confidence; None if the line has none.
        where: file and line.
    """

    picture: int
    number: int
    corners: tuple[float, float, float, float]
    score: float | None
    where: str


class LabelSink(FolderSink):
    """``labels/*.txt``: one line ``0 x y width height`` per head, as labels for training.

    A picture without heads gives an empty file, as YOLO's tools expect. Folders called ``images``
    are left out of its path: trainers look in ``labels`` for the last of them only, and the
    pictures belong into ``images`` beside ``labels``.

    Args:
        folder: as in ``FolderSink``.
        origin: as in ``FolderSink``.
        has_scores: add the score as a sixth number, like Ultralytics' ``save_conf``: for evaluation
            instead of training.
    """

    folder_name = "labels"

    def __init__(self, folder: Path, origin: Origin, *, has_scores: bool = False) -> None:
        super().__init__(folder, origin)
        self._has_scores = has_scores

    def _suffix(self, record: Record) -> str:  # noqa: ARG002 - the same for all
        return ".txt"

    def _name_for(self, record: Record) -> PurePosixPath:
        place = _without_images(record.file)
        if record.frame is not None:  # of a video whose place may be another's too
            place = f"{place}/{record.frame:06d}"
        return self._files.free_name(place, self._suffix(record), record.index)

    def _contents(self, record: Record, targets: Sequence[Path]) -> Iterator[bytes]:  # noqa: ARG002 - text only
        height, width = record.detections.image_size
        sizes = np.array((width, height, width, height), dtype=np.float32)
        boxes = record.detections.boxes / sizes
        centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        rows = np.clip(np.concatenate([centres, sides], axis=1), 0.0, 1.0)
        lines = [f"{CLASS} " + " ".join(f"{value:.6f}" for value in row) for row in rows]
        if self._has_scores:
            pairs = zip(lines, record.scores, strict=True)
            lines = [f"{line} {score:.{SCORE_DECIMALS}f}" for line, score in pairs]
        yield "".join(f"{line}\n" for line in lines).encode()


class LabelDataSink(FileSink):
    """``data.yaml``: makes the labels a data set once the pictures are in ``images`` beside them.

    Its ``train`` and ``val`` are both the whole set: Ultralytics requires both, and ``convert
    split`` can divide it.
    """

    file_name = FILE

    def _head(self) -> str:
        return (
            f"# Put the pictures into {PICTURES}/, each at the path of its label in labels/.\n"
            f"train: {PICTURES}\nval: {PICTURES}\nnames:\n  {CLASS}: {HEAD}\n"
        )

    def _lines(self, record: Record) -> str:  # noqa: ARG002 - the same for all
        return ""


def looks_like_labels(folder: Path) -> bool:
    """Tell YOLO labels from MOTChallenge text by the first line; False if there is none."""
    for path in _label_files(folder):
        with path.open("rb") as file:
            fields = next((line for line in file if line.strip()), b"").split()
        if fields:
            return len(fields) in NUM_FIELDS and b"," not in fields[0]
    return False


def read_yolo_labels(folder: Path, labelled: AnnotatedSet) -> FoundElsewhere:
    """Read a folder of YOLO labels and assign them to the pictures of a set.

    ``a/1.txt`` is for the picture ``a/1`` with any extension. A box without a confidence gets the
    score 1. If there are several classes, only heads count, by the names in the folder's
    ``classes.txt``, otherwise in the set's labels of the same format; others are left out and
    noted. Labels written by ``test`` are all heads.

    Args:
        folder: folder with a ``.txt`` file per picture, at any depth.
        labelled: the pictures to evaluate on.

    Raises:
        DetectionFileError: an invalid line, a picture that the set does not have or that two files
            are for, or classes of which none is known to be the head. One line.
    """
    sizes = [size_of(image) for image in labelled.images]
    pictures = KnownPictures(folder, _as_placed(labelled) if _is_ours(folder) else labelled)
    boxes, taken = _read_boxes(folder, pictures)
    known: Sequence[LabelClass] = [LabelClass(SCHEME, CLASS, HEAD, is_head=True)]
    if not _is_ours(folder):
        known = _read_classes(folder) or labelled.classes_of(SCHEME)
    classes = HeadClasses(folder, "class", known, [StatedClass(box.number) for box in boxes])
    rows = DetectionRows()
    num_unscored = 0
    for box in boxes:
        if classes.is_head(StatedClass(box.number), box.where):
            num_unscored += box.score is None
            height, width = sizes[box.picture]
            corners = np.array(box.corners) * (width, height, width, height)
            score = SURE if box.score is None else box.score
            rows.add(box.picture, corners.tolist(), score, box.where)
    without = [image.file_name for i, image in enumerate(labelled.images) if i not in taken]
    note = f"{num_unscored} boxes have no confidence and count as sure: AP says nothing of them"
    return FoundElsewhere(
        form=FORM,
        detections=rows.collect(sizes),
        without=tuple(without),
        notes=(*((note,) if num_unscored else ()), *classes.notes),
    )


def _without_images(file: str) -> str:
    """Return a picture's path without folders called ``images``, spelt as trainers know them.

    Example:
        >>> _without_images("images/hall/1.jpg"), _without_images("images")
        ('hall/1.jpg', 'images')
    """
    *folders, name = file.split("/")
    return "/".join([*(folder for folder in folders if folder != PICTURES), name])


def _as_placed(labelled: AnnotatedSet) -> AnnotatedSet:
    """Return a set whose pictures are named as ``LabelSink`` does, unless some are then alike."""
    images = tuple(replace(i, file_name=_without_images(i.file_name)) for i in labelled.images)
    num_names = len({image.file_name for image in images})
    return replace(labelled, images=images) if num_names == len(images) else labelled


def _label_files(folder: Path) -> list[Path]:
    is_ours = _is_ours(folder)
    return [path for path in sorted(folder.rglob("*.txt")) if is_ours or path.name != CLASSES]


def _is_ours(folder: Path) -> bool:
    """Tell whether ``test`` wrote the labels: all are heads, and ``classes.txt`` is a picture's."""
    return (folder / OUTPUT_MARKER).is_file()


def _read_classes(folder: Path) -> list[LabelClass]:
    """Return the classes that a file beside the labels lists, one name per line."""
    path = folder / CLASSES
    if not path.is_file():
        return []
    lines = read_text(path, "a list of classes", DetectionFileError).split("\n")
    names = [line.strip() for line in lines if line.strip()]
    heads = choose_heads(names)
    return [LabelClass(SCHEME, n, name, name in heads) for n, name in enumerate(names)]


def _read_boxes(folder: Path, pictures: KnownPictures) -> tuple[list[LabelledBox], set[int]]:
    """Return all boxes, and the indices of the pictures that have a file."""
    boxes: list[LabelledBox] = []
    taken: set[int] = set()
    for path in _label_files(folder):
        stem = path.relative_to(folder).with_suffix("").as_posix()
        index = pictures.find(stem, str(path), is_stem=True)
        if index is None:
            continue
        taken.add(index)
        lines = read_text(path, FORM, DetectionFileError).splitlines()
        for number, line in enumerate(lines, start=1):
            if line.strip():
                boxes.append(_parse_line(line, index, f"{path}: line {number}"))
    pictures.refuse_unknown()
    return boxes, taken


def _parse_line(line: str, picture: int, where: str) -> LabelledBox:
    fields = line.split()
    numbers = [value for value in map(as_number, fields) if isinstance(value, float)]
    if len(fields) not in NUM_FIELDS or len(numbers) < len(fields):
        raise DetectionFileError(
            f"{where}: expected class, x, y, width, height and perhaps a confidence; "
            f"got {line.strip()[:SHOWN_CHARACTERS]!r}"
        )
    number = as_id(numbers[0])
    if not isinstance(number, int):
        raise DetectionFileError(
            f"{where}: expected a class as a whole number; got {fields[0][:SHOWN_CHARACTERS]!r}"
        )
    _, x, y, width, height, *rest = numbers
    corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return LabelledBox(picture, number, corners, rest[0] if rest else None, where)
