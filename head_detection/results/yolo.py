"""``labels/*.txt``: YOLO, ``class x y width height`` a line, centre and size over the picture's.

Source:
    docs.ultralytics.com/datasets/detect; predictions that are saved there with their confidence
    have it as a sixth number.
"""

from pathlib import Path
from typing import Final

import numpy as np

from head_detection.data.annotations import AnnotatedSet
from head_detection.data.formats.label_files import read_text
from head_detection.errors import DetectionFileError
from head_detection.results.reading import (
    DetectionRows,
    FoundElsewhere,
    KnownPictures,
    as_number,
    size_of,
)
from head_detection.results.record import Record
from head_detection.results.sink import FolderSink

FORM: Final = "YOLO labels"
CLASS: Final = 0
NUM_FIELDS: Final = (5, 6)
"""Without and with a confidence."""
SURE: Final = 1.0
"""The score of a box without one."""
SHOWN_CHARACTERS: Final = 80


class LabelSink(FolderSink):
    """``labels/*.txt``: ``0 x y width height`` a head, without scores: labels to train with.

    A picture without heads gives an empty file, as YOLO's tools expect.
    """

    folder_name = "labels"

    def _suffix(self, record: Record) -> str:  # noqa: ARG002 - the same for all
        return ".txt"

    def _content(self, record: Record, suffix: str) -> bytes:  # noqa: ARG002 - text only
        height, width = record.detections.image_size
        sizes = np.array((width, height, width, height), dtype=np.float32)
        boxes = record.detections.boxes / sizes
        centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        rows = np.clip(np.concatenate([centres, sides], axis=1), 0.0, 1.0)
        lines = [f"{CLASS} " + " ".join(f"{value:.6f}" for value in row) for row in rows]
        return "".join(f"{line}\n" for line in lines).encode()


def looks_like_labels(folder: Path) -> bool:
    """Tell YOLO's labels from MOTChallenge text: by the first line there is, else by no folder."""
    for path in sorted(folder.rglob("*.txt")):
        with path.open("rb") as file:
            fields = next((line for line in file if line.strip()), b"").split()
        if fields:
            return len(fields) in NUM_FIELDS and b"," not in fields[0]
    return False


def read_yolo_labels(folder: Path, labelled: AnnotatedSet) -> FoundElsewhere:
    """Give each picture of a set its own of a folder of labels, whatever their class.

    ``a/1.txt`` is of the picture ``a/1`` of any extension. A box without a confidence is taken for
    a sure one.

    Args:
        folder: with a ``.txt`` a picture, all below it.
        labelled: the pictures to measure on.

    Raises:
        DetectionFileError: a line that is none, a picture that the set does not have or that two
            files are of. One line.
    """
    pictures = KnownPictures(folder, labelled)
    rows = DetectionRows()
    sizes = [size_of(image) for image in labelled.images]
    taken: dict[int, Path] = {}
    num_unscored = 0
    for path in sorted(folder.rglob("*.txt")):
        stem = path.relative_to(folder).with_suffix("").as_posix()
        index = pictures.find(stem, str(path), is_stem=True)
        if index is None:
            continue
        if (other := taken.setdefault(index, path)) != path:
            raise DetectionFileError(f"{path}: is of the same picture as {other}")
        lines = read_text(path, FORM, DetectionFileError).splitlines()
        height, width = sizes[index]
        for number, line in enumerate(lines, start=1):
            if line.strip():
                where = f"{path}: line {number}"
                box, score = _parse_line(line, where)
                num_unscored += score is None
                corners = np.array(box) * (width, height, width, height)
                rows.add(index, corners.tolist(), SURE if score is None else score, where)
    pictures.refuse_unknown()
    without = [image.file_name for i, image in enumerate(labelled.images) if i not in taken]
    note = f"{num_unscored} boxes have no confidence and count as sure: AP says nothing of them"
    return FoundElsewhere(
        form=FORM,
        detections=rows.collect(sizes),
        without=tuple(without),
        notes=(note,) if num_unscored else (),
    )


def _parse_line(line: str, where: str) -> tuple[tuple[float, float, float, float], object]:
    """Return left, top, right, bottom over the picture's size, and the score or None."""
    fields = line.split()
    numbers = [value for value in map(as_number, fields) if isinstance(value, float)]
    if len(fields) not in NUM_FIELDS or len(numbers) < len(fields):
        raise DetectionFileError(
            f"{where}: expected class, x, y, width, height and perhaps a confidence; "
            f"got {line.strip()[:SHOWN_CHARACTERS]!r}"
        )
    _, x, y, width, height, *rest = numbers
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return box, rest[0] if rest else None
