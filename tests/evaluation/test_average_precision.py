import math

import numpy as np
import pytest

from head_detection.evaluation.average_precision import COCO_IOU_THRESHOLDS, average_precision
from head_detection.structures import Detections, GroundTruth

HEADS = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], np.float32)
ELSEWHERE = np.array([[60, 60, 70, 70]], np.float32)
SIZE = (100, 100)


def truth_of(boxes, ignore=False):
    return GroundTruth(boxes, np.full(len(boxes), ignore))


def test_by_hand():
    # True, false, true: precision 1 up to recall .5 (51 points), 2/3 up to recall 1 (50 points).
    boxes = np.concatenate([HEADS[:1], ELSEWHERE, HEADS[1:]])
    found = Detections.from_arrays(boxes, [0.9, 0.8, 0.7], SIZE)
    value = average_precision([found], [truth_of(HEADS)])
    assert value == pytest.approx((51 + 50 * 2 / 3) / 101, abs=1e-6)


def test_mean_over_iou_thresholds_by_hand():
    # IoU .72 counts at .50 ... .70: five of the ten thresholds.
    head, loose = np.array([[0, 0, 10, 10]], np.float32), np.array([[0, 0, 10, 7.2]], np.float32)
    found = Detections.from_arrays(loose, [0.9], SIZE)
    value = average_precision([found], [truth_of(head)], COCO_IOU_THRESHOLDS)
    assert value == pytest.approx(0.5, abs=1e-6)


def test_crowds_beyond_a_hundred_heads_count_in_full():
    corners = np.array([(x, y) for x in range(0, 150, 10) for y in range(0, 100, 10)], np.float32)
    boxes = np.concatenate([corners, corners + 8], axis=1)
    found = Detections.from_arrays(boxes, np.linspace(1, 0.1, len(boxes)), (100, 150))
    assert average_precision([found], [truth_of(boxes)]) == pytest.approx(1.0)
    # 100 of the 150: recall .66 is reached at precision 1, 67 points of 101.
    limited = average_precision([found], [truth_of(boxes)], max_detections=100)
    assert limited == pytest.approx(67 / 101, abs=1e-6)


def test_ignore_regions_take_any_number_of_detections():
    region = np.array([[50, 50, 90, 90]], np.float32)
    truth = GroundTruth(np.concatenate([HEADS, region]), np.array([False, False, True]))
    boxes = np.concatenate([ELSEWHERE, ELSEWHERE + 1, HEADS])
    found = Detections.from_arrays(boxes, [0.9, 0.8, 0.7, 0.6], SIZE)
    assert average_precision([found], [truth]) == pytest.approx(1.0)


def test_pictures_without_heads_or_detections_count_their_false_positives():
    empty = truth_of(HEADS[:0])
    false = Detections.from_arrays(ELSEWHERE, [0.9], SIZE)
    right = Detections.from_arrays(HEADS, [0.8, 0.8], SIZE)
    nothing = Detections.empty(SIZE)
    value = average_precision([false, right, nothing], [empty, truth_of(HEADS), empty])
    # One false before two true: precision 2/3 everywhere.
    assert value == pytest.approx(2 / 3, abs=1e-6)


def test_nothing_found_is_zero_and_nothing_to_find_is_nan():
    assert average_precision([Detections.empty(SIZE)], [truth_of(HEADS)]) == 0.0
    assert math.isnan(average_precision([Detections.empty(SIZE)], [truth_of(HEADS[:0])]))
    assert math.isnan(average_precision([], []))


def test_one_picture_too_few_is_refused():
    with pytest.raises(ValueError, match="as many detections as truths: 0, 1"):
        average_precision([], [truth_of(HEADS)])


def test_it_is_silent(capsys):
    average_precision([Detections.from_arrays(HEADS, [0.9, 0.8], SIZE)], [truth_of(HEADS)])
    assert capsys.readouterr() == ("", "")
