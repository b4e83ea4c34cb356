"""YOLO's text labels: one line ``class x y width height`` per box, in shares of the picture.

``labels/a/1.txt`` belongs to ``images/a/1.jpg``; a label may also lie beside its picture. The
shares make boxes only with the picture's size, which is read from the picture. ``data.yaml`` tells
which pictures a split has, what the classes are called and whether keypoints follow a box.

Source: docs.ultralytics.com/datasets/detect, and the layout that Roboflow and CVAT export.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from head_detection.boxes import areas, clipped
from head_detection.config.yaml_text import dump_yaml
from head_detection.data.annotations import (
    AnnotatedImage,
    AnnotatedSet,
    Box,
    LabelClass,
    build_truth,
    parse_box,
)
from head_detection.data.formats.class_names import HEAD, SHOWN, other_than_head
from head_detection.data.formats.collector import Collector
from head_detection.data.formats.foreign import refuse_foreign
from head_detection.data.formats.label_files import (
    check_labels_differ,
    new_folder,
    parse_whole,
    read_lines,
    write_file,
)
from head_detection.data.formats.names import FolderIndex
from head_detection.data.formats.yolo_description import (
    CLASSES,
    FILE,
    LABELS,
    PICTURES,
    Description,
    has_pictures_part,
    label_place,
    read_description,
)
from head_detection.errors import AnnotationError, PictureError
from head_detection.images.reading import read_picture_size

LIST: Final = "train.txt"
_NUM_FIELDS: Final = 5
_MIN_POLYGON_FIELDS: Final = 7
_LARGEST_SHARE: Final = 2.0
"""Boxes may leave the picture, but not by this much: larger numbers must be pixels."""
_DIGITS: Final = 10
"""Decimals: a box in a picture of 10,000 pixels is restored to 1e-6 of a pixel."""


def read_yolo(path: Path, split: str | None = None, images: Path | None = None) -> AnnotatedSet:
    """Read a YOLO set.

    The class that means head counts, see ``class_names``, or the only one there is; others are not
    heads, and counted. A picture without a label file is a picture without heads. Outlines, rotated
    boxes too, become the boxes around them; keypoints after a box, which ``kpt_shape`` announces,
    are left out. Pictures are in the order of a list, or in natural order, as ``test`` counts them.

    Args:
        path: ``data.yaml``, or its folder; without one, a folder with ``images`` and ``labels``,
            where ``classes.txt`` or ``obj.names`` may name the classes.
        split: ``train``, ``val``, ``trainval`` or ``test``; None is ``trainval``.
        images: a folder with the pictures in place of the set's ``images``.

    Raises:
        AnnotationError: files missing or not of the format, or classes of which none is ``head``.
    """
    description = read_description(path, split, images)
    collector = Collector()
    labels = FolderIndex(description.root, {".txt"})
    used: set[str] = set()
    numbers: Counter[int] = Counter()
    classes = description.classes(path)
    heads = {entry.label_id for entry in classes if entry.is_head}
    for name, picture in description.pictures:
        label = _label_of(labels, name)
        collector.note("pictures without a label file, taken to hold no heads", label is None)
        shares = []
        if label is not None:
            used.add(label)
            lines = list(_read_label(labels.root / label, description, collector))
            numbers.update(number for number, _ in lines)
            shares = [box for number, box in lines if not classes or number in heads]
        first, _, short = name.partition("/")
        _add(collector, short if first.lower() == PICTURES else name, picture, shares)
    if not classes and len(numbers) > 1:
        raise AnnotationError(f"{path}: expected data.yaml to name the classes {sorted(numbers)}")
    if not used:
        refuse_foreign(description.root, "YOLO's label files")
    _note_classes(classes, numbers, collector)
    _note_unused(description, used, collector)
    return collector.finish(description.name, classes)


def write_yolo(path: Path, annotated: AnnotatedSet) -> tuple[str, ...]:
    """Write ``data.yaml``, ``train.txt`` and ``labels`` into a new folder.

    The pictures belong into ``images``, under the names they have in the set. A label is where
    trainers look for it: the last ``images`` in its picture's path becomes ``labels``. Trainers
    refuse pictures whose boxes reach outside, so boxes are clipped.

    Returns:
        Counts of clipped boxes, and of boxes outside and ignore regions, which are left out.

    Raises:
        AnnotationError: a folder with something in it, a picture of unknown size, or two pictures
            that would share a label.
    """
    stems = check_labels_differ(annotated)
    notes = Collector()
    with new_folder(path) as folder:
        for stem, image in zip(stems, annotated.images, strict=True):
            text = "".join(_lines_of(image, notes))
            place = PurePosixPath(PICTURES, stem)
            write_file(folder / label_place(str(place.parent)) / f"{place.name}.txt", text)
        names = "".join(f"./{PICTURES}/{PurePosixPath(i.file_name)}\n" for i in annotated.images)
        description = dump_yaml({"train": LIST, "val": LIST, "names": {0: HEAD}})
        write_file(folder / LIST, names)
        write_file(folder / FILE, description)
        (folder / PICTURES).mkdir(exist_ok=True)
    return notes.finish(annotated.name).notes


def _label_of(labels: FolderIndex, name: str) -> str | None:
    """Return the label of a picture: the last ``images`` in its path becomes ``labels``."""
    folder, _, last = name.rpartition("/")
    beside = str(PurePosixPath(name).with_suffix(""))
    if not has_pictures_part(folder):
        return labels.find_stem(f"{LABELS}/{beside}") or labels.find_stem(beside)
    usual = f"{label_place(folder)}/{PurePosixPath(last).stem}"
    return labels.find_stem(usual) or labels.find_stem(beside)


def _read_label(
    path: Path, description: Description, collector: Collector
) -> Iterator[tuple[int, Box]]:
    """Yield the class of each line, and left, top, right, bottom in shares of the picture."""
    num_keypoint_fields = description.num_keypoint_fields
    for where, line in read_lines(path, "a YOLO label"):
        fields = line.split()
        number = parse_whole(fields[0], where, "a class")
        names = description.class_names
        if number < 0 or (names and number not in names):
            raise AnnotationError(f"{where}: expected a class of data.yaml, got {number}")
        if num_keypoint_fields and len(fields) == _NUM_FIELDS + num_keypoint_fields:
            _check_keypoints(fields[_NUM_FIELDS:], where)
            collector.note("boxes with keypoints, which are left out")
            fields = fields[:_NUM_FIELDS]
        elif num_keypoint_fields is None and _is_outline(fields):
            collector.note("outlines, taken for the boxes around them")
            yield number, _around(fields[1:], where)
            continue
        if len(fields) != _NUM_FIELDS:
            more = f" and {num_keypoint_fields} of keypoints" if num_keypoint_fields else ""
            raise AnnotationError(
                f"{where}: expected 'class x y width height'{more}, got {len(fields)} fields:"
                f" {line[:80]!r}"
            )
        x, y, width, height = _shares(fields[1:], where)
        yield number, (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _is_outline(fields: list[str]) -> bool:
    return len(fields) >= _MIN_POLYGON_FIELDS and len(fields) % 2 == 1


def _check_keypoints(fields: list[str], where: str) -> None:
    for start in range(0, len(fields), 2):
        pair = fields[start : start + 2]
        parse_box((pair * 4)[:4], where)


def _around(fields: list[str], where: str) -> Box:
    points = [_shares([x, y, x, y], where)[:2] for x, y in zip(*[iter(fields)] * 2, strict=True)]
    xs, ys = zip(*points, strict=True)
    if max(*xs, *ys) >= _LARGEST_SHARE:
        raise AnnotationError(
            f"{where}: expected an outline inside the picture; a 2 is the mark of a visible"
            " keypoint, which data.yaml announces as kpt_shape"
        )
    return min(xs), min(ys), max(xs), max(ys)


def _shares(fields: list[str], where: str) -> Box:
    box = parse_box(fields, where)
    if max(map(abs, box)) > _LARGEST_SHARE:
        raise AnnotationError(
            f"{where}: expected shares of the picture, 0 to 1; got {' '.join(fields)[:80]}"
        )
    return box


def _note_classes(classes: list[LabelClass], numbers: Counter[int], collector: Collector) -> None:
    for entry in classes:
        count = numbers[entry.label_id] if isinstance(entry.label_id, int) else 0
        shown = repr(entry.name[:SHOWN])
        if not entry.is_head:
            collector.note(f"boxes of the class {shown}, no heads, left out", count)
        elif other_than_head(entry.name):
            collector.note(f"boxes of the class {shown}, taken for heads", count)


def _add(collector: Collector, name: str, picture: Path, shares: list[Box]) -> None:
    try:
        height, width = read_picture_size(picture)
    except PictureError:  # it is reported with all others that cannot be read
        collector.note("pictures that cannot be read, kept", 1)
        collector.note("boxes in pictures that cannot be read, left out", len(shares))
        collector.add(picture, name, build_truth([]))
        return
    rows = [
        ((x1 * width, y1 * height, x2 * width, y2 * height), False) for x1, y1, x2, y2 in shares
    ]
    collector.add(picture, name, build_truth(rows), (height, width))


def _note_unused(description: Description, used: set[str], collector: Collector) -> None:
    for folder in description.label_folders:
        index = FolderIndex(description.root / folder, {".txt"})
        names = index.names() if index.root.is_dir() else []
        unused = [
            n for n in names if f"{folder}/{n}" not in used and PurePosixPath(n).name != CLASSES
        ]
        collector.note("labels without a picture, left out", len(unused))


def _lines_of(image: AnnotatedImage, notes: Collector) -> list[str]:
    if image.image_size is None:
        raise AnnotationError(f"{image.file_name}: YOLO needs the picture's size")
    height, width = image.image_size
    notes.note("regions to ignore, which YOLO cannot hold, left out", len(image.truth.ignore_boxes))
    boxes = image.truth.head_boxes.astype(np.float64)
    inside = clipped(boxes, image.image_size)
    has_area = areas(inside) > 0
    notes.note("boxes without area in their picture, left out", int((~has_area).sum()))
    notes.note("boxes clipped to their picture", int((inside != boxes).any(axis=1)[has_area].sum()))
    x1, y1, x2, y2 = (inside[has_area] / ([width, height] * 2)).T
    shares = np.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], axis=1)
    return [
        "0 " + " ".join(f"{share:.{_DIGITS}f}" for share in row) + "\n" for row in shares.tolist()
    ]
