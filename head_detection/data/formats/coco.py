"""COCO JSON: ``images``, ``categories``, ``annotations`` with ``bbox`` as x, y, width, height.

Pixels count from 0 and edges are continuous (cocodataset.org/#format-data).
"""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from head_detection import files
from head_detection.data.annotations import AnnotatedSet, Row, parse_box
from head_detection.data.formats.collector import Collector
from head_detection.data.formats.label_files import read_json, round_pixels
from head_detection.data.formats.names import FolderIndex, inner_name
from head_detection.errors import AnnotationError
from head_detection.structures import GroundTruth

OUTSIDE_KEY: Final = "boxes_may_reach_outside"
"""In ``info``, an addition of this project: see ``AnnotatedSet``."""
HEAD_CATEGORY: Final = "head"
PICTURES: Final = "images"


def read_coco(path: Path, images: Path | None = None) -> AnnotatedSet:
    """Read a COCO detection file.

    The category called ``head`` counts, or the only one there is; others are not heads, and
    counted. ``iscrowd`` and ``ignore`` mark regions to ignore, and our own ``distractor`` those
    that hold one thing of another class. A picture without annotations is a picture without heads.

    Args:
        path: the JSON file.
        images: where its file names start from; by default the folder ``images`` beside the file,
            or the file's own folder where there is none.

    Raises:
        AnnotationError: no such file, no JSON, or entries that do not fit together.
    """
    content = _read_object(path)
    folder = images or (path.parent / PICTURES)
    if images is None and not folder.is_dir():
        folder = path.parent
    entries = _by_id(content, path)
    collector = Collector(boxes_may_reach_outside=_draws_heads_whole(content))
    rows = _read_rows(content, entries, path, collector)
    index = FolderIndex(folder)
    for key, entry in entries.items():
        name = inner_name(entry["file_name"], f"{path}: image {key}")
        truth = _truth_of(rows[key])
        collector.add(folder / index.find(name), name, truth, _size_of(entry))
    return collector.finish(f"{path.resolve().parent.name}/{path.stem}")


def write_coco(path: Path, annotated: AnnotatedSet) -> tuple[str, ...]:
    """Write a set as ``read_coco`` reads it back; ignored regions become ``iscrowd``.

    Returns:
        Nothing to note.

    Raises:
        AnnotationError: a picture whose size is not known, or a name that leaves its folder.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, image in enumerate(annotated.images, start=1):
        if image.image_size is None:
            raise AnnotationError(f"{image.file_name}: COCO needs the picture's size")
        name, (height, width) = inner_name(image.file_name, annotated.name), image.image_size
        images.append({"id": image_id, "file_name": name, "width": width, "height": height})
        for annotation in _annotations_of(image.truth):
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **annotation})
    categories = [{"id": 1, "name": HEAD_CATEGORY}]
    content: dict[str, Any] = {
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }
    if annotated.boxes_may_reach_outside:
        content["info"] = {OUTSIDE_KEY: True}
    files.write_bytes(path, json.dumps(content).encode())
    return ()


def _draws_heads_whole(content: dict[str, Any]) -> bool:
    info = content.get("info")
    return isinstance(info, dict) and info.get(OUTSIDE_KEY) is True


def _annotations_of(truth: GroundTruth) -> list[dict[str, Any]]:
    annotations: list[dict[str, Any]] = []
    flags = (truth.ignore.tolist(), truth.distractor.tolist())
    for (x1, y1, x2, y2), is_ignored, is_distractor in zip(
        truth.boxes.tolist(), *flags, strict=True
    ):
        annotation = {
            "category_id": 1,
            "bbox": [round_pixels(value) for value in (x1, y1, x2 - x1, y2 - y1)],
            "area": round_pixels((x2 - x1) * (y2 - y1)),
            "iscrowd": int(is_ignored),
        }
        annotations.append(annotation | ({"distractor": 1} if is_distractor else {}))
    return annotations


def _read_rows(
    content: dict[str, Any], entries: dict[Any, Any], path: Path, collector: Collector
) -> dict[Any, list[tuple[Row, bool]]]:
    """Return each picture's boxes, with whether they are ignored and distractors."""
    rows: dict[Any, list[tuple[Row, bool]]] = {key: [] for key in entries}
    heads, names = _head_categories(content, path)
    for number, annotation in enumerate(_list_of(content, "annotations", path)):
        where = f"{path}: annotations[{number}]"
        key = annotation.get("image_id")
        if not isinstance(key, int | str) or key not in rows:
            raise AnnotationError(f"{where}: image_id {key!r} is not among the images")
        category = annotation.get("category_id")
        if heads is None or category in heads:
            rows[key].append(_row_of(annotation, where))
            name = names.get(category, HEAD_CATEGORY) if names else HEAD_CATEGORY
            if name.lower() != HEAD_CATEGORY:
                collector.note(f"boxes of the only category {name[:40]!r}, taken for heads")
        elif category in names:
            collector.note(f"boxes of the category {names[category][:40]!r}, no heads, left out")
        else:
            raise AnnotationError(f"{where}: category_id {category!r} is not among the categories")
    return rows


def _read_object(path: Path) -> dict[str, Any]:
    content = read_json(path, "a COCO JSON file")
    if not isinstance(content, dict):
        raise AnnotationError(f"{path}: expected an object with images and annotations")
    return content


def _list_of(content: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    values = content.get(key)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise AnnotationError(f"{path}: expected a list of objects under {key!r}")
    return values


def _by_id(content: dict[str, Any], path: Path) -> dict[Any, dict[str, Any]]:
    entries: dict[Any, dict[str, Any]] = {}
    for number, entry in enumerate(_list_of(content, "images", path)):
        where = f"{path}: images[{number}]"
        key, file_name = entry.get("id"), entry.get("file_name")
        if not isinstance(key, int | str) or key in entries:
            raise AnnotationError(f"{where}: expected an id of its own, got {key!r}")
        if not isinstance(file_name, str) or not file_name:
            raise AnnotationError(f"{where}: expected a file_name, got {file_name!r}")
        entries[key] = entry
    return entries


def _head_categories(
    content: dict[str, Any], path: Path
) -> tuple[set[int | str] | None, dict[Any, str]]:
    """Return the ids that are heads, and all names; None where the file names no categories."""
    if not content.get("categories"):
        return None, {}
    names: dict[Any, str] = {}
    for number, category in enumerate(_list_of(content, "categories", path)):
        key = category.get("id")
        if not isinstance(key, int | str):
            raise AnnotationError(f"{path}: categories[{number}]: expected an id, got {key!r}")
        names[key] = str(category.get("name"))
    heads = {key for key, name in names.items() if name.lower() == HEAD_CATEGORY}
    if not heads and len(names) > 1:
        raise AnnotationError(
            f"{path}: expected a category named {HEAD_CATEGORY!r}; got {', '.join(names.values())}"
        )
    return heads or set(names), names


def _row_of(annotation: dict[str, Any], where: str) -> tuple[Row, bool]:
    flags = [annotation.get(key) or 0 for key in ("iscrowd", "ignore", "distractor")]
    if any(flag not in (0, 1) for flag in flags):
        raise AnnotationError(f"{where}: expected iscrowd and ignore as 0 or 1, got {flags}")
    left, top, width, height = parse_box(annotation.get("bbox"), where)
    return ((left, top, left + width, top + height), any(flags)), bool(flags[2])


def _truth_of(rows: list[tuple[Row, bool]]) -> GroundTruth:
    return GroundTruth(
        np.array([box for (box, _), _ in rows], np.float32).reshape(-1, 4),
        np.array([is_ignored for (_, is_ignored), _ in rows], np.bool_),
        np.array([is_distractor for _, is_distractor in rows], np.bool_),
    )


def _size_of(entry: dict[str, Any]) -> tuple[int, int] | None:
    height, width = entry.get("height"), entry.get("width")
    is_known = isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0
    return (int(entry["height"]), int(entry["width"])) if is_known else None
