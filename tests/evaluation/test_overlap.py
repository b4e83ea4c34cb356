import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pycocotools import mask

from head_detection.evaluation import overlap as overlap_module
from head_detection.evaluation.overlap import (
    Overlap,
    largest_share,
    overlapping_pairs,
    pairwise_iou,
)
from head_detection.structures import Detections, GroundTruth

SIZE = (100, 100)
BOXES = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [0, 0, 10, 8]], np.float32)


def test_pairs_by_hand():
    heads = np.array([[0, 0, 10, 8], [0, 0, 10, 10], [50, 50, 60, 60]], np.float32)
    pairs = overlapping_pairs(BOXES, heads, 0.2)
    # By detection, then by falling IoU.
    assert pairs.detection.tolist() == [0, 0, 2, 2]
    assert pairs.box.tolist() == [1, 0, 0, 1]
    assert_allclose(pairs.iou, [1, 0.8, 1, 0.8])


def test_iou_is_that_of_pycocotools_to_the_bit():
    corners = np.random.default_rng(0).uniform(0, 1, (2, 80, 2))
    boxes, others = np.concatenate([corners, corners * 3 + 0.3], axis=2)
    as_xywh = [np.concatenate([b[:, :2], b[:, 2:] - b[:, :2]], axis=1) for b in (boxes, others)]
    expected = mask.iou(*map(np.ascontiguousarray, as_xywh), [0] * 80)
    assert_array_equal(pairwise_iou(boxes, others), expected)


def test_pairs_below_the_least_iou_are_left_out():
    assert len(overlapping_pairs(BOXES, BOXES[2:], 0.9).iou) == 1


def test_blocks_of_rows_change_nothing(monkeypatch, scene):
    (found,), (truth,) = scene(3, num_pictures=1, max_boxes=60)
    whole = overlapping_pairs(found.boxes, truth.boxes, 0.2)
    shares = largest_share(found.boxes, truth.ignore_boxes)
    monkeypatch.setattr(overlap_module, "MAX_MATRIX", 100)
    parts = overlapping_pairs(found.boxes, truth.boxes, 0.2)
    assert len(whole.iou) > 10
    assert_array_equal(parts.detection, whole.detection)
    assert_array_equal(parts.box, whole.box)
    assert_array_equal(parts.iou, whole.iou)
    assert_array_equal(largest_share(found.boxes, truth.ignore_boxes), shares)


def test_the_share_is_that_of_one_region_not_of_all_together():
    halves = np.array([[0, 0, 4, 10], [4, 0, 10, 10]], np.float32)
    assert_allclose(largest_share(BOXES, halves), [0.6, 0, 0.6])
    assert_allclose(largest_share(BOXES, halves[:0]), [0, 0, 0])


def test_distractors_are_regions_for_all_but_motchallenge():
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [60, 60, 70, 70]], np.float32)
    truth = GroundTruth(boxes, np.array([True, True, False]), np.array([True, False, False]))
    overlap = Overlap(Detections.from_arrays(boxes, [0.9, 0.8, 0.7], SIZE), truth)
    assert_allclose(overlap.ignored_share, [1, 1, 0])
    assert_allclose(overlap.region_share, [0, 1, 0])
    assert_allclose(overlap.head_ignored_share, [0])


def test_clipping_cuts_at_the_edges_of_the_picture():
    found = Detections.from_arrays([[-5, -5, 10, 10], [90, 90, 120, 130]], [0.9, 0.8], (100, 95))
    truth = GroundTruth(np.array([[-9, 0, 10, 10]], np.float32), np.array([False]))
    clipped = Overlap(found, truth).clipped
    assert_array_equal(clipped.detections.boxes, [[0, 0, 10, 10], [90, 90, 95, 100]])
    assert_array_equal(clipped.truth.boxes, [[0, 0, 10, 10]])
    assert found.boxes[0, 0] == -5


def test_clipping_what_is_inside_or_of_unknown_size_changes_nothing():
    truth = GroundTruth(BOXES, np.zeros(3, bool))
    for size in [(100, 100), (0, 0)]:
        overlap = Overlap(Detections.from_arrays(BOXES, [0.9, 0.8, 0.7], size), truth)
        assert overlap.clipped is overlap


def test_scores_that_rise_are_refused():
    rising = Detections(BOXES, np.array([0.1, 0.2, 0.3], np.float32), SIZE)
    with pytest.raises(ValueError, match="falling scores"):
        Overlap(rising, GroundTruth(BOXES, np.zeros(3, bool)))
