"""YOLO's text labels: ``class x y width height`` a line, in shares of the picture.

``labels/a/1.txt`` belongs to ``images/a/1.jpg``; a label may also lie beside its picture. The
shares make boxes only with the picture's size, which is read from the picture. ``data.yaml`` tells
which pictures a split has, and what the classes are called.

Source: docs.ultralytics.com/datasets/detect, and the layout that Roboflow and CVAT export.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
import yaml

from head_detection.boxes import areas, clipped
from head_detection.config.yaml_text import dump_yaml, parse_yaml
from head_detection.data.annotations import (
    AnnotatedImage,
    AnnotatedSet,
    Box,
    build_truth,
    parse_box,
)
from head_detection.data.formats.collector import Collector
from head_detection.data.formats.label_files import (
    TRAINVAL,
    check_labels_differ,
    check_split,
    new_folder,
    parse_whole,
    read_lines,
    read_text,
    write_file,
)
from head_detection.data.formats.names import FolderIndex, inner_name
from head_detection.errors import AnnotationError, PictureError
from head_detection.images.reading import read_picture_size

HEAD: Final = "head"
PICTURES: Final = "images"
DESCRIPTION: Final = "data.yaml"
LIST: Final = "train.txt"
_LABELS: Final = "labels"
_UP: Final = "../"
_NUM_FIELDS: Final = 5
_MIN_POLYGON_FIELDS: Final = 7
_LARGEST_SHARE: Final = 2.0
"""Boxes may reach outside their picture, but not by as much: such numbers are pixels."""
_DIGITS: Final = 10
"""After the point: a box of a picture of 10,000 pixels comes back to 1e-6 of a pixel."""


@dataclass(frozen=True)
class Description:
    """A split of a YOLO set.

    Attributes:
        name: of the set.
        root: what all names start from.
        class_names: by number; empty where none are given.
        pictures: each one's name under the root, and where it lies.
        label_folders: folders under the root that hold labels of whole folders of pictures.
    """

    name: str
    root: Path
    class_names: dict[int, str]
    pictures: tuple[tuple[str, Path], ...]
    label_folders: tuple[str, ...]


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
    description = _read_description(path, split, images)
    collector = Collector()
    labels = FolderIndex(description.root, {".txt"})
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
        _add(collector, name.removeprefix(f"{PICTURES}/"), picture, shares)
    if head is None and len(numbers) > 1:
        raise AnnotationError(f"{path}: expected data.yaml to name the classes {sorted(numbers)}")
    for number, count in sorted(numbers.items()):
        if head not in (None, number):
            other = description.class_names[number][:40]
            collector.note(f"boxes of the class {other!r}, no heads, left out", count)
    _note_unused(description, used, collector)
    return collector.finish(description.name)


def write_yolo(path: Path, annotated: AnnotatedSet) -> tuple[str, ...]:
    """Write ``data.yaml``, ``train.txt`` and ``labels`` into a new folder.

    The pictures belong into ``images``, under the names they have in the set. Trainers refuse
    pictures whose boxes reach outside, so boxes are clipped.

    Returns:
        Counts of clipped boxes, of boxes outside and of regions to ignore, which have no place.

    Raises:
        AnnotationError: a folder with something in it, a picture of unknown size, or two pictures
            that would share a label.
    """
    stems = check_labels_differ(annotated)
    notes = Collector()
    with new_folder(path) as folder:
        for stem, image in zip(stems, annotated.images, strict=True):
            text = "".join(_lines_of(image, notes))
            write_file(folder / _LABELS / f"{stem}.txt", text)
        names = "".join(f"./{PICTURES}/{PurePosixPath(i.file_name)}\n" for i in annotated.images)
        description = dump_yaml({"train": LIST, "val": LIST, "names": {0: HEAD}})
        write_file(folder / LIST, names)
        write_file(folder / DESCRIPTION, description)
        (folder / PICTURES).mkdir()
    return notes.finish(annotated.name).notes


def _read_description(path: Path, split: str | None, images: Path | None) -> Description:
    """Read ``data.yaml`` and list the pictures of a split.

    Args:
        path: the file, its folder, or a folder with ``images`` and ``labels`` and no description.
        split: ``train``, ``val``, ``trainval`` or ``test``; None is ``trainval``.
        images: replaces the set's folder ``images``.

    Raises:
        AnnotationError: files missing or not of the format, or folders outside the set.
    """
    check_split(path, split)
    file = _find_file(path)
    if file is None:
        return _without_file(path, split, images)
    values = _read_values(file)
    root = file.parent
    stated = values.get("path")
    if isinstance(stated, str) and (file.parent / stated).is_dir():
        root = file.parent / stated
    sources = _sources(values, split, file)
    pictures: dict[str, Path] = {}
    folders = []
    for source in sources:
        within, where = _within(root, source, str(file)), f"{file}: {source!r}"
        if within.lower().endswith(".txt"):
            pictures |= dict(_listed(root, within, images))
            continue
        folders.append(within)
        pictures |= dict(_in_folder(root, within, images, where))
    return Description(
        f"{root.resolve().name}/{split or TRAINVAL}",
        root,
        _class_names(values, file),
        tuple(pictures.items()),
        tuple(_label_folder(folder) for folder in folders if PICTURES in folder.split("/")),
    )


def _find_file(path: Path) -> Path | None:
    if path.is_file():
        return path
    found = sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
    named = path / DESCRIPTION
    if named in found or len(found) == 1:
        return named if named in found else found[0]
    if found:
        names = ", ".join(file.name for file in found)
        raise AnnotationError(f"{path}: expected one {DESCRIPTION}; got {names}: give the file")
    return None


def _without_file(path: Path, split: str | None, images: Path | None) -> Description:
    within = "." if not (path / PICTURES).is_dir() and images is None else PICTURES
    if split is not None:
        within = f"{within}/{split}".removeprefix("./")
    pictures = tuple(_in_folder(path, within, images, str(path)))
    names: dict[int, str] = {}
    for folder in (path, path / _LABELS):
        if (folder / "classes.txt").is_file():
            lines = read_lines(folder / "classes.txt", "a list of classes")
            names = {number: line for number, (_, line) in enumerate(lines)}
    folders = (_label_folder(within),) if within.startswith(PICTURES) else ()
    return Description(path.resolve().name, path, names, pictures, folders)


def _read_values(file: Path) -> dict[str, Any]:
    try:
        values = parse_yaml(read_text(file, "a YOLO set's data.yaml"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, AnnotationError):
            raise
        reason = " ".join(str(error).split())[:200]
        raise AnnotationError(f"{file}: not YAML ({reason})") from error
    if not isinstance(values, dict):
        raise AnnotationError(f"{file}: expected keys and values: train, val, names")
    return values


def _sources(values: dict[str, Any], split: str | None, file: Path) -> list[str]:
    wanted = ["train", "val"] if split in (None, TRAINVAL) else [str(split)]
    found: list[str] = []
    for key in wanted:
        stated = values.get(key) or []
        sources = stated if isinstance(stated, list) else [stated]
        if not all(isinstance(source, str) for source in sources):
            raise AnnotationError(f"{file}: {key}: expected a folder, a list file or several")
        found += [source for source in sources if source not in found]
    if not found:
        raise AnnotationError(f"{file}: expected pictures under {' or '.join(wanted)}; got none")
    return found


def _within(root: Path, source: str, where: str) -> str:
    """Check a source of pictures; Roboflow's ``../train/images`` is ``train/images``."""
    name = source.replace("\\", "/")
    while name.startswith(_UP) and (root / name.removeprefix(_UP).lstrip("/")).exists():
        name = name.removeprefix(_UP)
    return "." if name in (".", "./") else inner_name(name, where)


def _listed(root: Path, within: str, images: Path | None) -> Iterator[tuple[str, Path]]:
    index, own = FolderIndex(images or root), FolderIndex(images or root / PICTURES)
    parent = within.rpartition("/")[0]
    for where, line in read_lines(root / within, "a list of pictures"):
        name = inner_name(f"{parent}/{line}" if parent else line, where)
        inner_name(line, where)
        if name.startswith(f"{PICTURES}/"):
            short = name.removeprefix(f"{PICTURES}/")
            yield name, own.root / own.find(short)
        else:
            yield name, index.root / index.find(name)


def _in_folder(
    root: Path, within: str, images: Path | None, where: str
) -> Iterator[tuple[str, Path]]:
    folder = root / within
    if images is not None:
        first, _, rest = within.partition("/")
        folder = images / rest if first == PICTURES else images
    if not folder.is_dir():
        raise AnnotationError(f"{where}: expected the folder of the pictures {folder}")
    for name in FolderIndex(folder).names():
        yield name if within == "." else f"{within}/{name}", folder / name


def _label_folder(folder: str) -> str:
    parts = folder.split("/")
    parts[len(parts) - 1 - parts[::-1].index(PICTURES)] = _LABELS
    return "/".join(parts)


def _class_names(values: dict[str, Any], file: Path) -> dict[int, str]:
    names = values.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise AnnotationError(f"{file}: expected the classes under names; got {names!r}")
    if not all(isinstance(number, int) for number in names):
        raise AnnotationError(f"{file}: names: expected numbers of classes as keys")
    return {number: str(name) for number, name in names.items()}


def _head_class(description: Description, path: Path) -> int | None:
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
    positions = [i for i, part in enumerate(stem.parts[:-1]) if part == PICTURES]
    beside = str(stem)
    if not positions:
        return labels.find_stem(f"{_LABELS}/{beside}") or labels.find_stem(beside)
    parts = list(stem.parts)
    parts[positions[-1]] = _LABELS
    return labels.find_stem("/".join(parts)) or labels.find_stem(beside)


def _read_label(
    path: Path, description: Description, collector: Collector
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


def _note_unused(description: Description, used: set[str], collector: Collector) -> None:
    for folder in description.label_folders:
        index = FolderIndex(description.root / folder, {".txt"})
        names = index.names() if index.root.is_dir() else []
        unused = [n for n in names if f"{folder}/{n}" not in used and n != "classes.txt"]
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
