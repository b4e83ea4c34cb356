"""YOLO's text labels: ``class x y width height`` a line, in shares of the picture.

``labels/a/1.txt`` belongs to ``images/a/1.jpg``; a label may also lie beside its picture. The
shares make boxes only with the picture's size, which is read from the picture.

Source: docs.ultralytics.com/datasets/detect, and the layout that Roboflow and CVAT export.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from head_detection.data.annotations import AnnotatedSet, Box, build_truth, parse_box
from head_detection.data.formats.collector import Collector
from head_detection.data.formats.file_names import FolderIndex
from head_detection.data.formats.text_files import parse_whole, read_lines
from head_detection.data.formats.yolo_description import YoloDescription, read_description
from head_detection.errors import AnnotationError, PictureError
from head_detection.images.reading import read_picture_size

HEAD: Final = "head"
_NUM_FIELDS: Final = 5
_MIN_POLYGON_FIELDS: Final = 7
_LARGEST_SHARE: Final = 2.0
"""Boxes may reach outside their picture, but not by as much: such numbers are pixels."""
_IMAGES, _LABELS = "images", "labels"


def read_yolo(path: Path, split: str | None = None, images: Path | None = None) -> AnnotatedSet:
    """Read a YOLO set.

    The class named ``head`` counts, or the only one there is; others are not heads, and counted. A
    picture without a label file is a picture without heads. Outlines become the boxes around them.

    Args:
        path: ``data.yaml``, or its folder; without one, a folder with ``images`` and ``labels``.
        split: ``train``, ``val``, ``trainval`` or ``test``; None is ``trainval``.
        images: a folder with the pictures in place of the set's ``images``.

    Raises:
        AnnotationError: files missing or not of the format, or classes of which none is ``head``.
    """
    description = read_description(path, split, images)
    collector = Collector()
    labels = FolderIndex(description.root, frozenset({".txt"}))
    used: set[str] = set()
    numbers: Counter[int] = Counter()
    head = _head_class(description, path)
    for name, picture in description.pictures:
        label = _label_of(labels, name)
        collector.note("pictures without a label file, taken to hold no heads", label is None)
        shares = []
        if label is not None:
            used.add(label)
            lines = list(_read_label(labels.root / label, description, collector))
            numbers.update(number for number, _ in lines)
            shares = [box for number, box in lines if head in (None, number)]
        _add(collector, name.removeprefix(f"{_IMAGES}/"), picture, shares)
    if head is None and len(numbers) > 1:
        raise AnnotationError(f"{path}: expected data.yaml to name the classes {sorted(numbers)}")
    for number, count in sorted(numbers.items()):
        if head not in (None, number):
            other = description.class_names[number][:40]
            collector.note(f"boxes of the class {other!r}, no heads, left out", count)
    _note_unused(description, used, collector)
    return collector.finish(description.name)


def _head_class(description: YoloDescription, path: Path) -> int | None:
    """Return the number of the class; None where no names are known."""
    names = description.class_names
    heads = [number for number, name in names.items() if name.lower() == HEAD]
    if not heads and len(names) > 1:
        listed = ", ".join(list(names.values())[:8])
        raise AnnotationError(f"{path}: expected a class named {HEAD!r}; got {listed}")
    return next(iter(heads or names), None)


def _label_of(labels: FolderIndex, name: str) -> str | None:
    """Return the label of a picture: ``images`` nearest to its name gives way to ``labels``."""
    stem = PurePosixPath(name).with_suffix("")
    places = [i for i, part in enumerate(stem.parts[:-1]) if part == _IMAGES]
    beside = str(stem)
    if not places:
        return labels.find_stem(f"{_LABELS}/{beside}") or labels.find_stem(beside)
    parts = list(stem.parts)
    parts[places[-1]] = _LABELS
    return labels.find_stem("/".join(parts)) or labels.find_stem(beside)


def _read_label(
    path: Path, description: YoloDescription, collector: Collector
) -> Iterator[tuple[int, Box]]:
    """Yield the class of each line, and left, top, right, bottom in shares of the picture."""
    for where, line in read_lines(path, "a YOLO label"):
        fields = line.split()
        number = parse_whole(fields[0], where, "a class")
        names = description.class_names
        if number < 0 or (names and number not in names):
            raise AnnotationError(f"{where}: expected a class of data.yaml, got {number}")
        if len(fields) >= _MIN_POLYGON_FIELDS and len(fields) % 2:
            collector.note("outlines, taken for the boxes around them")
            yield number, _around(fields[1:], where)
            continue
        if len(fields) != _NUM_FIELDS:
            raise AnnotationError(f"{where}: expected 'class x y width height', got {line[:80]!r}")
        x, y, width, height = _shares(fields[1:], where)
        yield number, (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _around(fields: list[str], where: str) -> Box:
    points = [_shares([x, y, x, y], where)[:2] for x, y in zip(*[iter(fields)] * 2, strict=True)]
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _shares(fields: list[str], where: str) -> Box:
    box = parse_box(fields, where)
    if max(map(abs, box)) > _LARGEST_SHARE:
        raise AnnotationError(f"{where}: expected shares of the picture, 0 to 1; got {fields}")
    return box


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


def _note_unused(description: YoloDescription, used: set[str], collector: Collector) -> None:
    for folder in description.label_folders:
        index = FolderIndex(description.root / folder, frozenset({".txt"}))
        names = index.names() if index.root.is_dir() else []
        unused = [n for n in names if f"{folder}/{n}" not in used and n != "classes.txt"]
        collector.note("labels without a picture, left out", len(unused))
