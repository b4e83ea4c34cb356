"""COCO JSON: ``images``, ``categories``, ``annotations`` with ``bbox`` as x, y, width, height."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from head_detection.data.annotations import AnnotatedImage, AnnotatedSet, AnnotationError
from head_detection.structures import GroundTruth

HEAD_CATEGORY = "head"


def read_coco(path: Path, images: Path | None = None) -> AnnotatedSet:
    """Read a COCO detection file.

    The category called ``head`` counts, or the only one there is. ``iscrowd`` and ``ignore`` mark
    regions to ignore. A picture without annotations is a picture without heads.

    Args:
        path: the JSON file.
        images: where its file names start from; by default the folder ``images`` beside the file,
            or the file's own folder where there is none.

    Raises:
        AnnotationError: no such file, no JSON, or entries that do not fit together.
    """
    content = _read_json(path)
    folder = images or (path.parent / "images")
    if images is None and not folder.is_dir():
        folder = path.parent
    entries = _by_id(content, path)
    rows: dict[Any, list[tuple[list[float], bool]]] = {key: [] for key in entries}
    categories = _head_categories(content, path)
    for number, annotation in enumerate(_list_of(content, "annotations", path)):
        where = f"{path}: annotations[{number}]"
        key = annotation.get("image_id")
        if not isinstance(key, int | str) or key not in rows:
            raise AnnotationError(f"{where}: image_id {key!r} is not among the images")
        if categories is None or annotation.get("category_id") in categories:
            ignored = bool(annotation.get("iscrowd")) or bool(annotation.get("ignore"))
            rows[key].append((_box_of(annotation, where), ignored))
    return AnnotatedSet(
        name=f"{path.resolve().parent.name}/{path.stem}",
        images=tuple(_annotated(entry, folder, rows[key]) for key, entry in entries.items()),
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AnnotationError(f"{path}: expected a COCO JSON file; {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: expected a COCO JSON file; not JSON ({error})") from error
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


def _head_categories(content: dict[str, Any], path: Path) -> set[Any] | None:
    """Return the category ids that are heads; None where the file names no categories."""
    if "categories" not in content:
        return None
    names = {c.get("id"): str(c.get("name")) for c in _list_of(content, "categories", path)}
    heads = {key for key, name in names.items() if name.lower() == HEAD_CATEGORY}
    if not heads and len(names) > 1:
        raise AnnotationError(
            f"{path}: expected a category named {HEAD_CATEGORY!r}; got {', '.join(names.values())}"
        )
    return heads or set(names)


def _box_of(annotation: dict[str, Any], where: str) -> list[float]:
    values = annotation.get("bbox")
    if (
        not isinstance(values, list)
        or [isinstance(v, int | float) and math.isfinite(v) for v in values] != [True] * 4
    ):
        raise AnnotationError(f"{where}: expected bbox as four numbers, got {values!r}")
    left, top, width, height = (float(value) for value in values)
    return [left, top, left + width, top + height]


def _annotated(
    entry: dict[str, Any], folder: Path, rows: list[tuple[list[float], bool]]
) -> AnnotatedImage:
    height, width = entry.get("height"), entry.get("width")
    known = isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0
    return AnnotatedImage(
        path=folder / entry["file_name"],
        file_name=entry["file_name"],
        truth=GroundTruth(
            boxes=np.array([box for box, _ in rows], np.float32).reshape(-1, 4),
            ignore=np.array([ignored for _, ignored in rows], np.bool_),
        ),
        image_size=(int(height), int(width)) if known else None,  # type: ignore[arg-type]
    )
