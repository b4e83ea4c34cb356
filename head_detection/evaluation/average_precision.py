"""COCO's average precision, by COCO's own code."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from head_detection.structures import Detections, FloatArray, GroundTruth

MAX_DETECTIONS = 1000
"""Of a picture; pycocotools' own 100 would cut crowds."""
COCO_IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * number, 2) for number in range(10))


def average_precision(
    detections: Sequence[Detections],
    truths: Sequence[GroundTruth],
    iou_threshold: float | Sequence[float] = 0.5,
    max_detections: int = MAX_DETECTIONS,
) -> float:
    """Return COCO AP: 101 recall points, greedy by score, the mean over the IoU thresholds.

    Ignore regions are crowd regions: overlap is then intersection over the detection's area, and
    what falls in counts neither way.

    Args:
        detections: one a picture.
        truths: of the same pictures.
        iou_threshold: one or several, 0.5 for AP50, ``COCO_IOU_THRESHOLDS`` for AP.
        max_detections: best of a picture that count.

    Returns:
        AP in [0, 1]; NaN where there is no head to find.

    Raises:
        ValueError: the two sequences differ in length.

    Source:
        Lin et al., Microsoft COCO, arXiv:1405.0312; pycocotools 2.

    Example:
        >>> boxes = np.array([[0, 0, 9, 9], [20, 0, 29, 9]], np.float32)
        >>> heads = GroundTruth(boxes, np.zeros(2, bool))
        >>> found = Detections.from_arrays(heads.boxes[:1], [0.9], (50, 50))
        >>> round(average_precision([found], [heads]), 3)  # 51 of 101 points
        0.505
    """
    if len(detections) != len(truths):
        raise ValueError(f"expected as many detections as truths: {len(detections)}, {len(truths)}")
    thresholds = [iou_threshold] if isinstance(iou_threshold, float) else list(iou_threshold)
    # pycocotools prints its progress.
    with contextlib.redirect_stdout(io.StringIO()):
        measure = COCOeval(_truth_index(truths), _detection_index(detections), "bbox")
        measure.params.iouThrs = np.array(thresholds)
        measure.params.maxDets = [max_detections]
        measure.params.areaRng, measure.params.areaRngLbl = [[0, 1e10]], ["all"]
        measure.evaluate()
        measure.accumulate()
    precision = measure.eval["precision"]
    return float(precision.mean()) if (precision > -1).all() else float("nan")


def _truth_index(truths: Sequence[GroundTruth]) -> COCO:
    entries = []
    for image_id, truth in enumerate(truths):
        crowd = truth.ignore.tolist()
        entries += [
            {**entry, "iscrowd": int(is_crowd)}
            for entry, is_crowd in zip(_entries(image_id, truth.boxes), crowd, strict=True)
        ]
    return _coco_index(entries, len(truths))


def _detection_index(detections: Sequence[Detections]) -> COCO:
    entries = []
    for image_id, found in enumerate(detections):
        scores = found.scores.tolist()
        entries += [
            {**entry, "iscrowd": 0, "score": score}
            for entry, score in zip(_entries(image_id, found.boxes), scores, strict=True)
        ]
    return _coco_index(entries, len(detections))


def _entries(image_id: int, boxes: FloatArray) -> list[dict[str, Any]]:
    return [
        {
            "image_id": image_id,
            "category_id": 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
        }
        for x1, y1, x2, y2 in boxes.tolist()
    ]


def _coco_index(entries: list[dict[str, Any]], num_images: int) -> COCO:
    """Build the index directly: ``COCO.loadRes`` fails on no detections at all."""
    index = COCO()
    index.dataset = {
        "images": [{"id": number} for number in range(num_images)],
        "categories": [{"id": 1}],
        # An id of 0 would read as "not matched".
        "annotations": [{"id": number, **entry} for number, entry in enumerate(entries, 1)],
    }
    index.createIndex()
    return index
