"""Brainwash's ``.idl``: one picture per line, ``"folder/name.png": (x1, y1, x2, y2), (...);``.

A line without boxes is ``"folder/name.png";`` and the last line may end with ``.``. Corners count
from 0; some are in the wrong order, which this reader corrects like the set's own.

Source: Stewart, Andriluka, Ng, "End-to-end people detection in crowded scenes", CVPR 2016; the
grammar is that of its AnnotationLib.
"""

import re
from pathlib import Path
from typing import Final

from head_detection import files
from head_detection.data.annotations import AnnotatedSet, Box, build_truth, parse_box
from head_detection.data.formats.collector import Collector
from head_detection.data.formats.label_files import TRAINVAL, labels_of, read_lines, round_pixels
from head_detection.data.formats.names import choose_place, inner_name
from head_detection.errors import AnnotationError
from head_detection.files import real_path

PATTERN: Final = "brainwash_{}.idl"
_LINE: Final = re.compile(r'"(?P<name>[^"]+)"\s*(?::\s*(?P<boxes>.*?))?\s*[;.]?$')
_BOX: Final = re.compile(r"\(([^()]*)\)(:[-+.\deE]+)?(/[-\d]+)?\s*(,\s*|$)")
"""A box may be followed by a score and a silhouette's number, which are ignored."""


def read_brainwash(
    path: Path, split: str | None = None, images: Path | None = None
) -> AnnotatedSet:
    """Read an ``.idl`` file, or a folder with one per split, in their order.

    Args:
        path: the file, or the folder with ``brainwash_{train,val,test}.idl``.
        split: in a folder, ``train``, ``val``, ``trainval`` or ``test``; None is ``trainval``.
        images: folder to which picture names are relative; by default the file's own.

    Raises:
        AnnotationError: no such file or split, or a line that is not of the format.
    """
    files = labels_of(path, PATTERN, split)
    root = images or files[0].parent
    lines = [pair for file in files for pair in read_lines(file, "Brainwash's .idl file")]
    parsed = [_parse_line(line, where, root) for where, line in lines]
    index, prefix = choose_place([root], [name for name, _ in parsed])
    collector = Collector(leaves_out_empty=True)
    for stated, boxes in parsed:
        name = stated.removeprefix(prefix)
        ordered = [_in_order(box) for box in boxes]
        swapped = sum(a != b for a, b in zip(boxes, ordered, strict=True))
        collector.note("boxes with corners in the wrong order, put right", swapped)
        truth = build_truth([(box, False) for box in ordered])
        collector.add(index.root / index.find(name), name, truth)
    name = f"{real_path(path).name}/{split or TRAINVAL}" if path.is_dir() else path.stem
    return collector.finish(name)


def write_brainwash(path: Path, annotated: AnnotatedSet) -> tuple[str, ...]:
    """Write an ``.idl`` file that ``read_brainwash`` reads back.

    Returns:
        The number of ignore regions, which the format cannot hold.

    Raises:
        AnnotationError: a name that the format cannot hold.
    """
    lines, num_ignored = [], 0
    for image in annotated.images:
        name = inner_name(image.file_name, annotated.name)
        if any(character in name for character in '"\n\r'):
            raise AnnotationError(f"{annotated.name}: no quotes or line ends in names: {name!r}")
        num_ignored += len(image.truth.ignore_boxes)
        boxes = ", ".join(
            f"({', '.join(repr(round_pixels(value)) for value in box)})"
            for box in image.truth.head_boxes.tolist()
        )
        lines.append(f'"{name}": {boxes};' if boxes else f'"{name}";')
    files.write_bytes(path, "".join(f"{line}\n" for line in lines).encode())
    return (f"regions to ignore, which .idl cannot hold, left out: {num_ignored}",) * (
        num_ignored > 0
    )


def _parse_line(line: str, where: str, root: Path) -> tuple[str, list[Box]]:
    match = _LINE.match(line)
    if match is None:
        raise AnnotationError(f"{where}: expected '\"name\": (x1, y1, x2, y2);', got {line[:80]!r}")
    text, boxes, position = match["boxes"] or "", [], 0
    while position < len(text):
        found = _BOX.match(text, position)
        if found is None:
            rest = text[position : position + 80]
            raise AnnotationError(f"{where}: expected a box (x1, y1, x2, y2), got {rest!r}")
        boxes.append(parse_box(found[1].split(","), where))
        position = found.end()
    return inner_name(match["name"], where, root), boxes


def _in_order(box: Box) -> Box:
    x1, y1, x2, y2 = box
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)
