import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from torchvision.ops import box_iou

from head_detection import boxes as boxes_module
from head_detection.boxes import (
    areas,
    clipped,
    coverage,
    from_xywh,
    overlapping_pairs,
    pairwise_iou,
    to_xywh,
)

EMPTY = np.zeros((0, 4), np.float32)
BOXES = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [0, 0, 10, 8]], np.float32)
corners = arrays(np.int64, st.tuples(st.integers(0, 8), st.just(4)), elements=st.integers(0, 20))


def random_boxes(seed, number):
    generator = np.random.default_rng(seed)
    lower = generator.uniform(0, 100, (number, 2))
    return np.concatenate([lower, lower + generator.uniform(1, 40, (number, 2))], axis=1)


def sorted_corners(rows):
    return np.concatenate(
        [np.minimum(rows[:, :2], rows[:, 2:]), np.maximum(rows[:, :2], rows[:, 2:])], axis=1
    ).astype(np.float64)


def test_areas_by_hand():
    boxes = np.array([[0, 0, 2, 3], [5, 5, 5, 9], [9, 9, 1, 1], [1.5, 0, 2, 4]])
    assert areas(boxes).tolist() == [6, 0, 0, 2]  # a box that is turned has none
    assert areas(EMPTY).tolist() == []


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_the_precision_of_the_boxes_stays(precision):
    boxes = BOXES.astype(precision)
    for result in (areas(boxes), clipped(boxes, (9, 9)), to_xywh(boxes), from_xywh(boxes)):
        assert result.dtype == precision


def test_clipping_by_hand():
    boxes = np.array([[-5, -5, 10, 10], [90, 90, 120, 130], [200, 0, 210, 5]], np.float32)
    inside = clipped(boxes, (100, 95))
    assert inside.tolist() == [[0, 0, 10, 10], [90, 90, 95, 100], [95, 0, 95, 5]]
    assert boxes[0, 0] == -5
    assert areas(inside).tolist() == [100, 50, 0]
    assert clipped(EMPTY, (5, 5)).shape == (0, 4)


def test_formats_by_hand():
    assert to_xywh(BOXES[1:2]).tolist() == [[20, 0, 10, 10]]
    assert from_xywh(np.array([[20, 1, 10, 5.0]])).tolist() == [[20, 1, 30, 6]]
    assert to_xywh(EMPTY).shape == from_xywh(EMPTY).shape == (0, 4)


@given(corners)
def test_there_and_back_is_the_same(rows):
    boxes = rows.astype(np.float64)
    assert_array_equal(from_xywh(to_xywh(boxes)), boxes)


def test_iou_by_hand():
    ious = pairwise_iou(
        np.array([[0, 0, 10, 10]], np.float32),
        np.array([[0, 0, 10, 5], [5, 5, 15, 15], [10, 0, 20, 10]], np.float32),
    )
    assert_allclose(ious, [[50 / 100, 25 / 175, 0.0]])


def test_boxes_without_area_overlap_nothing():
    flat = np.array([[3, 3, 3, 3], [2, 0, 1, 9], [5, 5, 1, 1]], np.float32)
    around = np.array([[0, 0, 9, 9]], np.float32)
    assert_array_equal(pairwise_iou(flat, flat), np.zeros((3, 3)))
    assert_array_equal(pairwise_iou(flat, around), np.zeros((3, 1)))
    assert_array_equal(coverage(flat, around), [0, 0, 0])


def test_iou_is_that_of_torchvision_however_the_memory_lies():
    boxes, others = random_boxes(0, 80), random_boxes(1, 60)
    expected = box_iou(torch.from_numpy(boxes), torch.from_numpy(others)).numpy()
    assert 100 < (expected > 0.2).sum() < 4000
    assert_allclose(pairwise_iou(boxes, others), expected, rtol=1e-9)
    by_column = np.asfortranarray(boxes), np.asfortranarray(others)
    assert_array_equal(pairwise_iou(*by_column), pairwise_iou(boxes, others))
    assert_array_equal(
        pairwise_iou(boxes[::2], others[::-1]), pairwise_iou(boxes, others)[::2, ::-1]
    )


@given(corners, corners)
def test_iou_is_symmetric_between_zero_and_one_and_one_with_oneself(first, second):
    boxes, others = sorted_corners(first), sorted_corners(second)
    ious = pairwise_iou(boxes, others)
    assert ((ious >= 0) & (ious <= 1)).all()
    assert_array_equal(ious.T, pairwise_iou(others, boxes))
    own = pairwise_iou(boxes, boxes).diagonal()
    assert_array_equal(own, areas(boxes) > 0)


def test_no_boxes_overlap_nothing():
    assert pairwise_iou(EMPTY, BOXES).shape == (0, 3)
    assert pairwise_iou(BOXES, EMPTY).shape == (3, 0)
    assert coverage(EMPTY, BOXES).shape == (0,)
    assert_array_equal(coverage(BOXES, EMPTY), [0, 0, 0])
    for sides in ((EMPTY, BOXES), (BOXES, EMPTY), (EMPTY, EMPTY)):
        box, other, iou = overlapping_pairs(*sides, 0.2)
        assert len(box) == len(other) == len(iou) == 0
        assert (box.dtype, other.dtype, iou.dtype) == (np.int64, np.int64, np.float64)


def test_overlapping_pairs_by_hand():
    others = np.array([[0, 0, 10, 8], [0, 0, 10, 10], [50, 50, 60, 60]], np.float32)
    box, other, iou = overlapping_pairs(BOXES, others, 0.2)
    assert list(zip(box.tolist(), other.tolist(), strict=True)) == [(0, 0), (0, 1), (2, 0), (2, 1)]
    assert_allclose(iou, [0.8, 1, 1, 0.8])
    # A pair at the least IoU is one; without any overlap it is none, whatever the least.
    assert len(overlapping_pairs(BOXES[:1], np.array([[0, 0, 10, 5]], np.float32), 0.5)[0]) == 1
    assert overlapping_pairs(BOXES[1:2], others, 0.0)[0].tolist() == []


def test_the_coverage_is_that_of_one_region_not_of_all_together():
    halves = np.array([[0, 0, 4, 10], [4, 0, 10, 10]], np.float32)
    assert_allclose(coverage(BOXES, halves), [0.6, 0, 0.6])


def test_the_coverage_is_the_share_of_the_box_not_of_the_region():
    small, large = np.array([[0, 0, 2, 2.0]]), np.array([[0, 0, 4, 4.0]])
    assert coverage(small, large).tolist() == [1.0]
    assert coverage(large, small).tolist() == [0.25]


def test_blocks_of_rows_change_nothing(monkeypatch):
    boxes, others = random_boxes(3, 60), random_boxes(4, 40)
    whole, shares = overlapping_pairs(boxes, others, 0.2), coverage(boxes, others)
    assert len(whole[0]) > 50
    monkeypatch.setattr(boxes_module, "MAX_MATRIX", 100)  # two rows at a time
    for parts, expected in zip(overlapping_pairs(boxes, others, 0.2), whole, strict=True):
        assert_array_equal(parts, expected)
    assert_array_equal(coverage(boxes, others), shares)


@pytest.mark.parametrize(
    ("num_rows", "num_columns", "expected"),
    [(5, 40, [(0, 2), (2, 4), (4, 6)]), (2, 300, [(0, 1), (1, 2)]), (100, 1, [(0, 100)])],
    ids=["a few rows", "a row longer than the limit", "all at once"],
)
def test_a_block_holds_as_many_rows_as_memory_is_meant_for(
    num_rows, num_columns, expected, monkeypatch
):
    monkeypatch.setattr(boxes_module, "MAX_MATRIX", 100)
    blocks = boxes_module._row_blocks(num_rows, num_columns)
    assert [(rows.start, rows.stop) for rows in blocks] == expected
