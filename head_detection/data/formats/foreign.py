"""Recognises label files of other tools that cannot be read here, and says what to do instead.

A file of JSON or XML that is of another format is not broken: the true reason is the format, and
the tool that wrote it writes one that is read here.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

from head_detection.errors import AnnotationError

_VIA_KEYS: Final = ("_via_settings", "_via_img_metadata")
_NUM_SAMPLED: Final = 3
"""Files that are inspected in a folder; a tool writes all of them in one format."""
_LARGEST_SAMPLE: Final = 64 * 2**20
"""Bytes; tools that write one file per picture write no larger ones."""


def _has(*keys: str) -> Callable[[Any], bool]:
    return lambda content: isinstance(content, Mapping) and all(key in content for key in keys)


def _is_via(content: Any) -> bool:
    if not isinstance(content, Mapping):
        return False
    first = next(iter(content.values()), None)
    return any(key in content for key in _VIA_KEYS) or _has("filename", "regions")(first)


def _is_label_studio(content: Any) -> bool:
    first = content[0] if isinstance(content, list) and content else None
    is_task = isinstance(first, Mapping) and isinstance(first.get("data"), Mapping)
    is_short = _has("image", "annotator")(first) or _has("image", "label")(first)
    return is_task or is_short


def _is_results(content: Any) -> bool:
    first = content[0] if isinstance(content, list) and content else None
    return _has("bbox", "score")(first)


_JSON_KINDS: Final[tuple[tuple[Callable[[Any], bool], str], ...]] = (
    (_has("images", "annotations"), ""),  # COCO, whatever else there is
    (
        _has("shapes", "imagePath"),
        "labelme's JSON of one picture: labelme's own labelme2voc.py makes VOC, labelme2coco COCO",
    ),
    (
        _is_via,
        "VIA's JSON: in VIA choose Annotation, Export Annotations (COCO format)",
    ),
    (
        _has("categories", "items"),
        "Datumaro's JSON: run `datum convert -if datumaro -f coco`, or export COCO",
    ),
    (
        _has("objects", "size"),
        "Supervisely's JSON of one picture: export with its app to COCO, Pascal VOC or YOLO",
    ),
    (
        _has("classes", "tags"),
        "Supervisely's meta.json: export with its app to COCO, Pascal VOC or YOLO",
    ),
    (
        _is_label_studio,
        "Label Studio's JSON of tasks: export COCO, Pascal VOC XML or YOLO from it",
    ),
    (
        _has("samples"),
        "FiftyOne's own JSON: export fiftyone.types.COCODetectionDataset",
    ),
    (_is_results, "COCO results, which are detections and no labels"),
    (
        _has("schema", "images"),
        "this project's detections, which are no labels",
    ),
)
_XML_KINDS: Final = {
    "annotations": "CVAT for images or video: export PASCAL VOC, COCO or Ultralytics YOLO there",
    "dataset": "dlib's imglab: export Pascal VOC or COCO",
}


def foreign_json(content: Any) -> str | None:
    """Return the tool of a JSON value and what to do; None if it is COCO or unknown.

    Example:
        >>> foreign_json({"shapes": [], "imagePath": "a.jpg"})[:7], foreign_json({"a": 1})
        ('labelme', None)
    """
    kind = next((text for is_of, text in _JSON_KINDS if is_of(content)), "")
    return kind or None


def foreign_xml(root: ET.Element) -> str | None:
    """Return the tool of an XML file by its root, and what to do; None if unknown."""
    return _XML_KINDS.get(root.tag) or None


def refuse_foreign(folder: Path, expected: str) -> None:
    """Raise an error if a folder without labels of the format holds those of another tool.

    Args:
        folder: in which, or in whose folders, JSON files are looked for.
        expected: what should be there, for the error.

    Raises:
        AnnotationError: one line, with the tool's name and what to export.
    """
    folders = [folder, *sorted(path for path in folder.glob("*") if path.is_dir())]
    for own in folders:
        for path in sorted(own.glob("*.json"))[:_NUM_SAMPLED]:
            kind = foreign_json(_peek(path))
            if kind is not None:
                raise AnnotationError(f"{folder}: expected {expected}; {path.name} is {kind}")


def _peek(path: Path) -> Any:
    """Return the content of a JSON file, or None if it cannot be read."""
    try:
        if path.stat().st_size > _LARGEST_SAMPLE:
            return None
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
