"""COCO JSON: ``images``, ``categories``, ``annotations`` with ``bbox`` as x, y, width, height.

Pixels count from 0 and edges are continuous (cocodataset.org/#format-data).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from head_detection import files
from head_detection.data.annotations import AnnotatedSet, LabelClass, LabelId, Row, parse_box
from head_detection.data.formats.class_names import (
    HEAD,
    SHOWN,
    choose_heads,
    listed,
    other_than_head,
)
from head_detection.data.formats.collector import Collector
from head_detection.data.formats.foreign import foreign_json, refuse_foreign
from head_detection.data.formats.label_files import as_count, as_id, read_json, round_pixels
from head_detection.data.formats.names import choose_place, find_folder, inner_name
from head_detection.errors import AnnotationError
from head_detection.files import real_path
from head_detection.structures import GroundTruth

OUTSIDE_KEY: Final = "boxes_may_reach_outside"
"""A key in ``info``, added by this project: see ``AnnotatedSet``."""
PICTURES: Final = "images"
SCHEME: Final = "coco"


def read_coco(path: Path, images: Path | None = None) -> AnnotatedSet:
    """Read a COCO detection file.

    The category that means head counts, see ``class_names``, or the only one there is; others are
    not heads, and counted. ``iscrowd`` and ``ignore`` mark regions to ignore, and our own
    ``distractor`` those that hold one thing of another class. A picture without annotations is a
    picture without heads. Pictures are in the order of the file.

    Numbers that a spreadsheet program wrote as ``3.0``, or as text, are restored.

    Args:
        path: the JSON file, or a folder with one, as ``_annotations.coco.json`` or ``labels.json``.
        images: where its file names start from; by default where most of its pictures are found:
            in ``images`` or ``data`` beside the file, in its own folder, or, of a file in
            ``annotations``, in ``images`` beside that or the folder of its split.

    Raises:
        AnnotationError: no such file, no JSON, another tool's, or entries that do not fit together.
    """
    path = _find_file(path)
    content = _read_object(path)
    entries = _by_id(content, path)
    categories = _categories_of(content, path)
    collector = Collector(boxes_may_reach_outside=_draws_heads_whole(content))
    rows = _read_rows(content, entries, categories, path, collector)
    _refuse_shares(rows, path)
    folders = _picture_folders(path) if images is None else [images]
    own = path.absolute().parent
    root = images or (own.parent if _is_apart(path) else own)
    names = {
        key: inner_name(entry["file_name"], f"{path}: image {key}", root)
        for key, entry in entries.items()
    }
    index, prefix = choose_place(folders, list(names.values()))
    for key, entry in entries.items():
        name = names[key].removeprefix(prefix)
        truth, size = _truth_of(rows[key]), _size_of(entry)
        collector.add(index.root / index.find(name), name, truth, size, key)
    return collector.finish(f"{real_path(path).parent.name}/{path.stem}", categories)


def write_coco(path: Path, annotated: AnnotatedSet) -> tuple[str, ...]:
    """Write a set that ``read_coco`` reads back; ignore regions become ``iscrowd``.

    Pictures keep the ids that their labels gave them, to which results of other tools refer, if
    each has a number of its own; otherwise they are numbered from 1.

    Returns:
        Nothing to note.

    Raises:
        AnnotationError: a picture whose size is not known, or a name that leaves its folder.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, image in zip(_image_ids(annotated), annotated.images, strict=True):
        if image.image_size is None:
            raise AnnotationError(f"{image.file_name}: COCO needs the picture's size")
        name, (height, width) = inner_name(image.file_name, annotated.name), image.image_size
        images.append({"id": image_id, "file_name": name, "width": width, "height": height})
        for annotation in _annotations_of(image.truth):
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **annotation})
    categories = [{"id": 1, "name": HEAD}]
    content: dict[str, Any] = {
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }
    if annotated.boxes_may_reach_outside:
        content["info"] = {OUTSIDE_KEY: True}
    files.write_bytes(path, json.dumps(content).encode())
    return ()


def _image_ids(annotated: AnnotatedSet) -> Sequence[int]:
    own = [image.label_id for image in annotated.images if isinstance(image.label_id, int)]
    is_one_each = len(set(own)) == len(annotated)
    return own if is_one_each else range(1, len(annotated) + 1)


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
    content: dict[str, Any],
    entries: dict[LabelId, Any],
    categories: Sequence[LabelClass],
    path: Path,
    collector: Collector,
) -> dict[LabelId, list[tuple[Row, bool]]]:
    """Return each picture's boxes, and whether they are ignored and distractors."""
    rows: dict[LabelId, list[tuple[Row, bool]]] = {key: [] for key in entries}
    known = {category.label_id: category for category in categories}
    is_only = len(known) == 1
    for number, annotation in enumerate(_list_of(content, "annotations", path)):
        where = f"{path}: annotations[{number}]"
        key = as_id(annotation.get("image_id"))
        if key is None or key not in rows:
            stated = repr(annotation.get("image_id"))[:SHOWN]
            raise AnnotationError(f"{where}: image_id {stated} is not among the images")
        stated_id = as_id(annotation.get("category_id"))
        category = None if stated_id is None else known.get(stated_id)
        if not known or (category is not None and category.is_head):
            rows[key].append(_row_of(annotation, where))
        if category is None:
            if known:
                stated = repr(annotation.get("category_id"))[:SHOWN]
                raise AnnotationError(f"{where}: category_id {stated} is not among the categories")
        elif not category.is_head:
            shown = repr(category.name[:SHOWN])
            collector.note(f"boxes of the category {shown}, no heads, left out")
        elif other_than_head(category.name):
            kind = "only category" if is_only else "category"
            collector.note(f"boxes of the {kind} {category.name[:SHOWN]!r}, taken for heads")
    return rows


def _refuse_shares(rows: dict[LabelId, list[tuple[Row, bool]]], path: Path) -> None:
    """Refuse boxes in shares of the picture, which as pixels would all be in one corner."""
    boxes = np.array([box for entries in rows.values() for (box, _), _ in entries])
    if boxes.size and boxes.max() <= 1 and (boxes % 1).any():
        raise AnnotationError(
            f"{path}: expected boxes in pixels; all lie between 0 and 1, as shares of their picture"
        )


def _is_apart(path: Path) -> bool:
    """Tell whether labels are in their own folder, beside that of the pictures."""
    return path.absolute().parent.name.lower() == "annotations"


def _picture_folders(path: Path) -> list[Path]:
    """Return the possible folders of the pictures of a labels file, the likeliest first."""
    own = path.parent
    beside = [
        find_folder(own, PICTURES),
        own,
        find_folder(own, "data"),
        find_folder(own, "pictures"),
    ]
    if _is_apart(path):
        parent = own.absolute().parent
        split = path.stem.rpartition("_")[2]  # instances_val2017.json
        images = find_folder(parent, PICTURES)
        inner = None if images is None else find_folder(images, split)
        beside += [images, inner, find_folder(parent, split), parent]
    return [folder for folder in beside if folder is not None]


def _find_file(path: Path) -> Path:
    """Return the file itself, or the only one in a folder."""
    if not path.is_dir():
        return path
    apart = find_folder(path, "annotations")
    found = sorted(path.glob("*.json")) or sorted(apart.glob("*.json") if apart else [])
    if len(found) == 1:
        return found[0]
    refuse_foreign(path, "a COCO JSON file")
    below = sorted(path.glob("*/*.json"))
    names = [file.relative_to(path).as_posix() for file in found or below]
    raise AnnotationError(
        f"{path}: expected a COCO JSON file, got a folder"
        + (f"; give one of {listed(names)}" if names else " without one")
    )


def _read_object(path: Path) -> dict[str, Any]:
    content = read_json(path, "a COCO JSON file")
    kind = foreign_json(content)
    if kind is not None:
        raise AnnotationError(f"{path}: expected a COCO JSON file; this is {kind}")
    if not isinstance(content, dict):
        raise AnnotationError(f"{path}: expected an object with images and annotations")
    return content


def _list_of(content: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    values = content.get(key)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise AnnotationError(f"{path}: expected a list of objects under {key!r}")
    return values


def _by_id(content: dict[str, Any], path: Path) -> dict[LabelId, dict[str, Any]]:
    entries: dict[LabelId, dict[str, Any]] = {}
    for number, entry in enumerate(_list_of(content, "images", path)):
        where = f"{path}: images[{number}]"
        key, file_name = as_id(entry.get("id")), entry.get("file_name")
        if key is None or key in entries:
            stated = repr(entry.get("id"))[:SHOWN]
            raise AnnotationError(f"{where}: expected an id of its own, got {stated}")
        if not isinstance(file_name, str) or not file_name:
            stated = repr(file_name)[:SHOWN]
            raise AnnotationError(f"{where}: expected a file_name, got {stated}")
        entries[key] = entry
    return entries


def _categories_of(content: dict[str, Any], path: Path) -> list[LabelClass]:
    """Return the categories, if the file names any.

    A category that only groups others, such as Roboflow's first one, is left out.
    """
    if not content.get("categories"):
        return []
    names: dict[LabelId, str] = {}
    groups: set[str] = set()
    for number, category in enumerate(_list_of(content, "categories", path)):
        key = as_id(category.get("id"))
        if key is None:
            stated = repr(category.get("id"))[:SHOWN]
            raise AnnotationError(f"{path}: categories[{number}]: expected an id, got {stated}")
        name = str(category.get("name"))
        if names.setdefault(key, name) != name:
            raise AnnotationError(
                f"{path}: categories[{number}]: expected an id of its own; {key} is "
                f"{names[key][:SHOWN]!r} and {name[:SHOWN]!r}"
            )
        if category.get("supercategory") != category.get("name"):
            groups.add(str(category.get("supercategory")))
    annotations = _list_of(content, "annotations", path)
    used = {as_id(annotation.get("category_id")) for annotation in annotations}
    own = {key: name for key, name in names.items() if key in used or name not in groups}
    heads = choose_heads((own or names).values())
    if not heads:
        raise AnnotationError(
            f"{path}: expected a category named {HEAD!r}; got {listed((own or names).values())}"
        )
    return [LabelClass(SCHEME, key, name, name in heads) for key, name in (own or names).items()]


def _row_of(annotation: dict[str, Any], where: str) -> tuple[Row, bool]:
    stated = [annotation.get(key) or 0 for key in ("iscrowd", "ignore", "distractor")]
    flags = [as_id(int(flag) if isinstance(flag, bool) else flag) for flag in stated]
    if any(flag not in (0, 1) for flag in flags):
        raise AnnotationError(
            f"{where}: expected iscrowd and ignore as 0 or 1, got {str(stated)[:80]}"
        )
    left, top, width, height = parse_box(annotation.get("bbox"), where)
    return ((left, top, left + width, top + height), any(flags)), bool(flags[2])


def _truth_of(rows: list[tuple[Row, bool]]) -> GroundTruth:
    return GroundTruth(
        np.array([box for (box, _), _ in rows], np.float32).reshape(-1, 4),
        np.array([is_ignored for (_, is_ignored), _ in rows], np.bool_),
        np.array([is_distractor for _, is_distractor in rows], np.bool_),
    )


def _size_of(entry: dict[str, Any]) -> tuple[int, int] | None:
    height, width = as_count(entry.get("height")), as_count(entry.get("width"))
    return (height, width) if height and width else None
