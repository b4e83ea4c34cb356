"""CrowdHuman's ``.odgt``: one line of JSON per picture, ``hbox`` = left, top, width, height.

``{"ID": ..., "gtboxes": [{"tag", "hbox", "head_attr", "extra", ...}]}``; the picture is ``ID.jpg``.
Pixels count from 0. Heads are drawn whole: their boxes may reach outside the picture.

Source: Shao et al., "CrowdHuman: A Benchmark for Detecting Human in a Crowd", arXiv 1805.00123;
the format is described at crowdhuman.org/download.html. What is ignored follows its toolkit.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from head_detection import files
from head_detection.data.annotations import AnnotatedSet, Row, build_truth, parse_box
from head_detection.data.formats.collector import Collector
from head_detection.data.formats.label_files import (
    TRAINVAL,
    as_id,
    check_labels_differ,
    labels_of,
    read_lines,
    round_pixels,
)
from head_detection.data.formats.names import FolderIndex, find_folder, inner_name
from head_detection.errors import AnnotationError
from head_detection.files import real_path

PATTERN: Final = "annotation_{}.odgt"
PICTURES: Final = "Images"
HEAD_TAG: Final = "person"
OTHER_TAG: Final = "mask"
_SHOWN: Final = 40


def read_crowdhuman(
    path: Path, split: str | None = None, images: Path | None = None
) -> AnnotatedSet:
    """Read an ``.odgt`` file, or a folder with one per split.

    A box is a region to ignore where its tag is not ``person``, or ``extra.ignore`` or
    ``head_attr.ignore`` is not 0. Boxes without area, as some ignored heads have, are left out.
    Pictures are in the order of the file.

    Args:
        path: the file, or the folder with ``annotation_train.odgt`` and ``annotation_val.odgt``.
        split: of a folder: ``train`` or ``val``; None is both.
        images: where ``ID.jpg`` lies; by default ``Images`` beside the file, or the ``Images`` in
            the folders that the archives unpack to.

    Raises:
        AnnotationError: no such file or split, or a line that is not of the format.
    """
    files = labels_of(path, PATTERN, split)
    collector = Collector(leaves_out_empty=True, boxes_may_reach_outside=True)
    seen: set[str] = set()
    indexes = [FolderIndex(folder) for folder in _picture_folders(files[0].parent, images)]
    for file in files:
        for where, name, rows in _read_file(file, collector):
            if name in seen:
                raise AnnotationError(f"{where}: the ID {name!r} is there already")
            seen.add(name)
            found = next(((i, f) for i in indexes if (f := i.find_stem(name))), None)
            index, picture = found or (indexes[0], f"{name}.jpg")
            collector.add(index.root / picture, picture, build_truth(rows))
    name = f"{real_path(path).name}/{split or TRAINVAL}" if path.is_dir() else path.stem
    return collector.finish(name)


def write_crowdhuman(path: Path, annotated: AnnotatedSet) -> tuple[str, ...]:
    """Write an ``.odgt`` file with only heads; ignore regions become ``mask``.

    The ID is a picture's name without its extension. The boxes of bodies are not known and left
    out.

    Returns:
        Nothing to note.

    Raises:
        AnnotationError: two pictures would share an ID.
    """
    lines = []
    for stem, image in zip(check_labels_differ(annotated), annotated.images, strict=True):
        boxes, ignore = image.truth.boxes.tolist(), image.truth.ignore.tolist()
        entries = [
            {
                "tag": OTHER_TAG if is_ignored else HEAD_TAG,
                "hbox": [round_pixels(value) for value in (x1, y1, x2 - x1, y2 - y1)],
                "head_attr": {} if is_ignored else {"ignore": 0, "occ": 0, "unsure": 0},
                "extra": {"box_id": number, "ignore": int(is_ignored)},
            }
            for number, ((x1, y1, x2, y2), is_ignored) in enumerate(zip(boxes, ignore, strict=True))
        ]
        lines.append(json.dumps({"ID": stem, "gtboxes": entries}))
    files.write_bytes(path, "".join(f"{line}\n" for line in lines).encode())
    return ()


def _picture_folders(folder: Path, images: Path | None) -> list[Path]:
    if images is not None:
        return [images]
    folders = [folder, *sorted(path for path in folder.glob("*") if path.is_dir())]
    found = [inner for path in folders if (inner := find_folder(path, PICTURES))]
    return found or [folder / PICTURES]


def _read_file(path: Path, collector: Collector) -> Iterator[tuple[str, str, list[Row]]]:
    for where, line in read_lines(path, "CrowdHuman's .odgt file"):
        try:
            content = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise AnnotationError(f"{where}: expected an object of JSON ({error})") from error
        if not isinstance(content, dict) or not isinstance(content.get("ID"), str):
            raise AnnotationError(f"{where}: expected an object with an ID, got {line[:80]!r}")
        boxes = content.get("gtboxes")
        if not isinstance(boxes, list):
            raise AnnotationError(f"{where}: expected a list under 'gtboxes'")
        rows = [_row_of(box, f"{where}: gtboxes[{n}]", collector) for n, box in enumerate(boxes)]
        yield where, inner_name(content["ID"], where), rows


def _row_of(entry: Any, where: str, collector: Collector) -> Row:
    if not isinstance(entry, dict) or not isinstance(entry.get("tag"), str):
        raise AnnotationError(f"{where}: expected an object with a tag")
    is_person = entry["tag"] == HEAD_TAG
    box = entry.get("hbox") if is_person else entry.get("hbox", entry.get("fbox"))
    left, top, width, height = parse_box(box, where)
    flags = [_flag(entry, key, where) for key in ("extra", "head_attr")]
    if not is_person:
        collector.note(f"boxes with the tag {entry['tag'][:40]!r}, ignored")
    return (left, top, left + width, top + height), not is_person or any(flags)


def _flag(entry: dict[str, Any], key: str, where: str) -> bool:
    attributes = entry.get(key) or {}
    value = attributes.get("ignore", 0) if isinstance(attributes, dict) else None
    number = as_id(int(value) if isinstance(value, bool) else value)
    if not isinstance(number, int):
        stated = repr(value)[:_SHOWN]
        raise AnnotationError(f"{where}: expected {key}.ignore as 0 or 1, got {stated}")
    return number != 0
