import math

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from head_detection.evaluation.crowdhuman import (
    REFERENCE_FPPI,
    jaccard_counts,
    jaccard_index,
    log_average_miss_rate,
    match_as_crowdhuman,
    miss_rate_curve,
    reference_miss_rates,
    trapezoid_average_precision,
)
from head_detection.evaluation.matching import Matching, Overlap
from head_detection.structures import Detections, GroundTruth

SIZE = (100, 100)
HEAD = [0, 0, 10, 10]


def matching_of(found, num_heads):
    scores = np.linspace(0.9, 0.1, len(found)).astype(np.float32)
    return Matching(np.array(found, np.int64), scores, num_heads)


def curve_of(*matchings):
    return miss_rate_curve(matchings)


def truth_of(boxes, ignore):
    return GroundTruth(np.array(boxes, np.float32).reshape(-1, 4), np.array(ignore, bool))


def test_a_curve_that_ends_early_is_read_at_its_end():
    """HeadHunter gave 0.0 for any curve that stops before 1 false positive an image (fault 10)."""
    # Five pictures, one false alarm: the curve ends at FPPI .2 with 1 of 4 heads missed.
    pictures = [matching_of([0, 1, -1, 2], 4), *[matching_of([], 0)] * 4]
    curve = miss_rate_curve(pictures)
    assert curve.fppi[-1] == pytest.approx(0.2)
    assert curve.miss_rate[-1] == 0.25
    # FPPI 0 until the false alarm, which is read up to .2; the end is read beyond.
    assert reference_miss_rates(curve).tolist() == [0.5] * 6 + [0.25] * 3
    expected = math.exp((6 * math.log(0.5) + 3 * math.log(0.25)) / 9)
    assert log_average_miss_rate(curve) == pytest.approx(expected)


def test_the_first_point_that_reaches_a_reference_is_read():
    # Two pictures: FPPI .5 after the first false alarm, 1 after the second.
    curve = curve_of(matching_of([0, -1, 1, -1, 2], 4), matching_of([], 0))
    assert curve.fppi.tolist() == [0, 0.5, 0.5, 1, 1]
    rates = dict(zip(REFERENCE_FPPI, reference_miss_rates(curve).tolist(), strict=True))
    assert rates[0.3162] == 0.75
    assert rates[0.5623] == 0.5
    assert rates[1.0] == 0.5


def test_average_precision_is_the_area_under_the_raw_curve():
    # (recall, precision): (1/2, 1), (1/2, 1/2), (1, 2/3); no envelope, nothing left of 1/2.
    curve = curve_of(matching_of([0, -1, 1], 2))
    assert trapezoid_average_precision(curve) == pytest.approx((1 / 2 + 2 / 3) / 2 / 2)


def test_perfect_but_for_the_first_head_that_opens_the_curve():
    curve = curve_of(matching_of([0, 1, 2, 3], 4))
    assert trapezoid_average_precision(curve) == pytest.approx(3 / 4)
    assert log_average_miss_rate(curve) == pytest.approx(1e-10)


def test_exactly_half_is_no_match_and_not_inside():
    half = Detections.from_arrays([[0, 0, 10, 5]], [0.9], SIZE)
    heads = truth_of([HEAD], [False])
    assert match_as_crowdhuman(Overlap(half, heads)).found.tolist() == [-1]
    beside = Detections.from_arrays([[5, 0, 15, 10]], [0.9], SIZE)
    region = truth_of([HEAD], [True])
    assert match_as_crowdhuman(Overlap(beside, region)).found.tolist() == [-1]


def test_boxes_are_clipped_to_the_picture():
    # Outside the picture they differ (IoU .4), inside they are the same.
    head, found = [-15, 0, 10, 10], [0, 0, 10, 10]
    truth = truth_of([head], [False])
    overlap = Overlap(Detections.from_arrays([found], [0.9], SIZE), truth)
    assert match_as_crowdhuman(overlap).found.tolist() == [0]


def test_a_discarded_detection_counts_neither_way():
    region = truth_of([[50, 50, 90, 90], HEAD], [True, False])
    found = Detections.from_arrays([[55, 55, 65, 65], HEAD], [0.9, 0.8], SIZE)
    curve = miss_rate_curve([match_as_crowdhuman(Overlap(found, region))])
    assert curve.fppi.tolist() == [0]


def test_nothing_found_misses_everything():
    curve = curve_of(matching_of([], 3))
    assert log_average_miss_rate(curve) == 1.0
    assert trapezoid_average_precision(curve) == 0.0


@pytest.mark.parametrize("matchings", [[], [matching_of([], 0)], [matching_of([-1], 0)]])
def test_no_head_has_neither_miss_rate_nor_average_precision(matchings):
    curve = miss_rate_curve(matchings)
    assert math.isnan(log_average_miss_rate(curve))
    assert math.isnan(trapezoid_average_precision(curve))


def count(boxes, scores, truth_boxes, ignore):
    truth = GroundTruth(np.array(truth_boxes, np.float32).reshape(-1, 4), np.array(ignore, bool))
    return jaccard_counts(Overlap(Detections.from_arrays(boxes, scores, SIZE), truth))


def test_jaccard_counts_by_hand():
    # One head found, one missed, one false alarm of .45: counts up to .4.
    head, missed, false = [0, 0, 10, 10], [20, 0, 30, 10], [50, 50, 60, 60]
    counts = count([head, false], [0.95, 0.45], [head, missed], [False, False])
    assert_array_equal(counts[:5], [[1, 2, 2]] * 5)
    assert_array_equal(counts[5:], [[1, 1, 2]] * 5)
    assert jaccard_index([counts]) == (1 / 2, 0.5)


def test_the_heaviest_matching_not_the_greedy_one():
    # The better detection prefers head 0 (IoU 1); only it can take head 1 (IoU 2/3 as well).
    heads = [[0, 0, 10, 10], [0, 2, 10, 12]]
    found = [[0, 0, 10, 10], [0, -2, 10, 8]]
    counts = count(np.array(found) + 20, [0.9, 0.8], np.array(heads) + 20, [False, False])
    assert counts[0].tolist() == [2, 2, 2]


def test_what_is_left_over_in_an_ignore_region_leaves_the_count():
    region, head = [40, 40, 80, 80], [0, 0, 10, 10]
    inside = [45, 45, 55, 55]
    counts = count(
        [head, inside], [0.9, 0.8], [head, [60, 60, 70, 70], region], [False, False, True]
    )
    # Neither the detection nor the missed head inside the region is there.
    assert counts[0].tolist() == [1, 1, 1]
    found_inside = count([inside], [0.9], [inside, region], [False, True])
    assert found_inside[0].tolist() == [1, 1, 1]


def test_a_score_at_the_threshold_is_out():
    counts = count([[0, 0, 10, 10]], [0.5], [[0, 0, 10, 10]], [False])
    assert counts[:, 0].tolist() == [1] * 5 + [0] * 5


def test_an_empty_picture_left_empty_does_not_count_and_a_false_alarm_there_does():
    head, nothing = [[0, 0, 10, 10]], np.zeros((0, 4))
    right = count(head, [0.95], head, [False])
    assert jaccard_index([right, count(nothing, [], nothing, [])])[0] == 1.0
    assert jaccard_index([right, count(head, [0.95], nothing, [])])[0] == 0.5


@pytest.mark.parametrize("with_region", [True, False])
def test_no_head_has_no_jaccard_index(with_region):
    region = [[0, 0, 50, 50]] if with_region else np.zeros((0, 4))
    counts = count([[5, 5, 20, 20]], [0.9], region, [True] * with_region)
    assert all(math.isnan(value) for value in jaccard_index([counts]))
    assert math.isnan(jaccard_index([])[0])


def test_nothing_found_has_a_jaccard_index_of_zero():
    assert jaccard_index([count(np.zeros((0, 4)), [], [[0, 0, 9, 9]], [False])]) == (0.0, 0.0)
