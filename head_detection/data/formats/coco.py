"""COCO JSON: ``images``, ``categories``, ``annotations`` with ``bbox`` as x, y, width, height."""

import json
from pathlib import Path
from typing import Any, Final

from head_detection import atomic
from head_detection.data.annotations import (
    AnnotatedImage,
    AnnotatedSet,
    AnnotationError,
    build_truth,
    parse_box,
)

HEAD_CATEGORY: Final = "head"
Row = tuple[tuple[float, float, float, float], bool]


def read_coco(path: Path, images: Path | None = None) -> AnnotatedSet:
    """Read a COCO detection file.

    The category called ``head`` counts, or the only one there is; others are not heads.
    ``iscrowd`` and ``ignore`` mark regions to ignore. A picture without annotations is a picture
    without heads.

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
    rows: dict[Any, list[Row]] = {key: [] for key in entries}
    categories = _head_categories(content, path)
    for number, annotation in enumerate(_list_of(content, "annotations", path)):
        where = f"{path}: annotations[{number}]"
        key = annotation.get("image_id")
        if not isinstance(key, int | str) or key not in rows:
            raise AnnotationError(f"{where}: image_id {key!r} is not among the images")
        if categories is None or annotation.get("category_id") in categories:
            rows[key].append(_row_of(annotation, where))
    return AnnotatedSet(
        name=f"{path.resolve().parent.name}/{path.stem}",
        images=tuple(_annotated(entry, folder, rows[key]) for key, entry in entries.items()),
    )


def write_coco(path: Path, annotated: AnnotatedSet) -> None:
    """Write a set as ``read_coco`` reads it back; ignored regions become ``iscrowd``.

    Raises:
        AnnotationError: a picture whose size is not known.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, image in enumerate(annotated.images, start=1):
        if image.image_size is None:
            raise AnnotationError(f"{image.file_name}: COCO needs the picture's size")
        height, width = image.image_size
        images.append(
            {"id": image_id, "file_name": image.file_name, "width": width, "height": height}
        )
        boxes, ignore = image.truth.boxes.tolist(), image.truth.ignore.tolist()
        for (x1, y1, x2, y2), is_ignored in zip(boxes, ignore, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": int(is_ignored),
                }
            )
    categories = [{"id": 1, "name": HEAD_CATEGORY}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    atomic.write_bytes(path, json.dumps(content).encode())


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
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


def _head_categories(content: dict[str, Any], path: Path) -> set[int | str] | None:
    """Return the category ids that are heads; None where the file names no categories."""
    if not content.get("categories"):
        return None
    names: dict[int | str, str] = {}
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
    return heads or set(names)


def _row_of(annotation: dict[str, Any], where: str) -> Row:
    flags = [annotation.get("iscrowd") or 0, annotation.get("ignore") or 0]
    if any(flag not in (0, 1) for flag in flags):
        raise AnnotationError(f"{where}: expected iscrowd and ignore as 0 or 1, got {flags}")
    left, top, width, height = parse_box(annotation.get("bbox"), where)
    return (left, top, left + width, top + height), any(flags)


def _annotated(entry: dict[str, Any], folder: Path, rows: list[Row]) -> AnnotatedImage:
    height, width = entry.get("height"), entry.get("width")
    is_known = isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0
    file_name: str = entry["file_name"]
    return AnnotatedImage(
        path=folder / file_name,
        file_name=file_name,
        truth=build_truth(rows),
        image_size=(int(entry["height"]), int(entry["width"])) if is_known else None,
    )
