"""Detections as initial labels, in formats that labelling tools import."""

import json
import os
from collections.abc import Callable, Sequence
from typing import Any, Final
from xml.etree import ElementTree as ET

from head_detection.data.formats.class_names import HEAD
from head_detection.errors import DetectionFileError
from head_detection.results.detection_rows import printable
from head_detection.structures import BOX_DECIMALS, SCORE_DECIMALS, Detections, rounded

FoundPictures = Sequence[tuple[str, Detections]]
"""Name and heads of each picture."""
SHARE_DECIMALS: Final = 6
"""Decimals of shares of the picture: a thousandth of a pixel in 1000."""
FROM_NAME, TO_NAME = "label", "image"
"""Names of the two controls in Label Studio's own template for boxes."""


def as_coco_data_set(pictures: FoundPictures) -> bytes:
    """Return COCO labels, each box with an additional ``score``.

    Source:
        cocodataset.org/#format-data; category 1 is the head.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (name, found) in enumerate(pictures, start=1):
        height, width = found.image_size
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for box, score in zip(_xywh(found), _scores(found), strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 1,
                    "bbox": box,
                    "area": round(box[2] * box[3], BOX_DECIMALS),
                    "iscrowd": 0,
                    "score": score,
                }
            )
    categories = [{"id": 1, "name": HEAD}]
    return _json({"images": images, "annotations": annotations, "categories": categories})


def as_cvat(pictures: FoundPictures) -> bytes:
    """Return CVAT's XML for images, version 1.1.

    Source:
        docs.cvat.ai/docs/dataset_management/formats/format-cvat
    """
    root = ET.Element("annotations")
    ET.SubElement(root, "version").text = "1.1"
    for number, (name, found) in enumerate(pictures):
        height, width = found.image_size
        facts = {"id": number, "name": printable(name), "width": width, "height": height}
        image = ET.SubElement(root, "image", {key: str(value) for key, value in facts.items()})
        for x1, y1, x2, y2 in rounded(found.boxes, BOX_DECIMALS):
            corners = {"xtl": x1, "ytl": y1, "xbr": x2, "ybr": y2}
            box = {"label": HEAD, "source": "auto", "occluded": "0", "z_order": "0"}
            ET.SubElement(image, "box", box | {key: str(value) for key, value in corners.items()})
    ET.indent(root)
    content: bytes = ET.tostring(root, "utf-8", xml_declaration=True)
    return content


def as_label_studio(pictures: FoundPictures, prefix: str = "") -> bytes:
    """Return Label Studio's tasks with predictions; sides in percent of the picture.

    Args:
        pictures: name and heads of each.
        prefix: put before each picture's name, such as the address of Label Studio's storage.

    Source:
        labelstud.io/guide/predictions
    """
    tasks = []
    for name, found in pictures:
        height, width = found.image_size
        facts = {"original_width": width, "original_height": height, "image_rotation": 0}
        result = [
            {
                "id": str(number),
                "type": "rectanglelabels",
                "from_name": FROM_NAME,
                "to_name": TO_NAME,
                "score": score,
                "value": {
                    **dict(zip(("x", "y", "width", "height"), percent, strict=True)),
                    "rotation": 0,
                    "rectanglelabels": [HEAD],
                },
                **facts,
            }
            for number, (percent, score) in enumerate(
                zip(_shares(found, 100.0), _scores(found), strict=True)
            )
        ]
        tasks.append({"data": {TO_NAME: f"{prefix}{name}"}, "predictions": [{"result": result}]})
    return _json(tasks)


def as_fiftyone(pictures: FoundPictures) -> bytes:
    """Return ``labels.json`` for FiftyOne's detection data set, whose pictures are in ``data/``.

    Raises:
        DetectionFileError: two names differ only in their extension, which FiftyOne leaves out.

    Source:
        docs.voxel51.com/user_guide/import_datasets, FiftyOneImageDetectionDataset
    """
    labels: dict[str, list[dict[str, Any]]] = {}
    for name, found in pictures:
        stem = os.path.splitext(name)[0]  # noqa: PTH122 - the same function as FiftyOne's
        if stem in labels:
            raise DetectionFileError(
                f"{printable(name)}: expected names that differ in more than their extension, "
                "which FiftyOne leaves out; rename one of them"
            )
        labels[stem] = [
            {"label": 0, "bounding_box": share, "confidence": score}
            for share, score in zip(_shares(found, 1.0), _scores(found), strict=True)
        ]
    return _json({"classes": [HEAD], "labels": labels})


def _xywh(found: Detections) -> list[list[float]]:
    return rounded(found.boxes_xywh, BOX_DECIMALS)


def _shares(found: Detections, whole: float) -> list[list[float]]:
    """Return left, top, width, height as shares of the picture."""
    height, width = found.image_size
    sides = [whole / width, whole / height] * 2
    return rounded(found.boxes_xywh * sides, SHARE_DECIMALS)


def _scores(found: Detections) -> list[float]:
    return rounded(found.scores, SCORE_DECIMALS)


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


PRELABELS: Final[dict[str, Callable[[FoundPictures], bytes]]] = {
    "coco": as_coco_data_set,
    "cvat": as_cvat,
    "labelstudio": as_label_studio,
    "fiftyone": as_fiftyone,
}
"""Writers by the name of the tool."""
