import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from head_detection.evaluation.average_precision import average_precision, match_as_coco
from head_detection.evaluation.bootstrap import Difference, Sample, compare, resample
from head_detection.evaluation.matching import Matching, Overlap, match_detections, match_overlap
from head_detection.evaluation.precision_recall import (
    counting_error,
    head_counts,
    precision_recall,
)


def matched(detections, truths):
    overlaps = [Overlap(*pair) for pair in zip(detections, truths, strict=True)]
    return [match_as_coco(o, [0.5])[0] for o in overlaps], [match_overlap(o) for o in overlaps]


@pytest.mark.parametrize("seed", range(20))
def test_metrics_of_a_draw_are_those_of_the_drawn_images(scene, seed):
    detections, truths = scene(seed, num_pictures=12)
    sample = Sample.of(*matched(detections, truths), 0.4)
    drawn = np.random.default_rng(seed).integers(12, size=12)
    repeats = np.bincount(drawn, minlength=12)
    ap50, f1, mae = sample.metrics(repeats)
    # In the order of pictures, as ties between copies have it.
    again = [detections[number] for number in sorted(drawn)], [truths[n] for n in sorted(drawn)]
    kept = [matching.above(0.4) for matching in matched(*again)[1]]
    assert ap50 == pytest.approx(average_precision(*again), abs=1e-12)
    assert f1 == pytest.approx(precision_recall(kept).f1)
    assert mae == pytest.approx(counting_error(head_counts(kept)).mae)


def test_the_interval_of_a_mean_is_the_one_that_theory_gives():
    values = np.random.default_rng(1).normal(10, 2, 400)
    ((low, high),) = resample(lambda r: np.array([r @ values / r.sum()]), 400, num_resamples=4000)
    half_width = 1.96 * values.std() / math.sqrt(400)
    assert_allclose([low, high], values.mean() + np.array([-half_width, half_width]), atol=0.02)


def test_each_draw_is_of_as_many_pictures_and_the_seed_decides():
    drawn = []

    def keep(repeats):
        drawn.append(repeats.tolist())
        return np.array([float(repeats[0])])

    first = resample(keep, 30, num_resamples=50, seed=3)
    again = resample(keep, 30, num_resamples=50, seed=3)
    assert first == again
    resample(keep, 30, num_resamples=50, seed=4)
    # Each call begins with the pictures as they are.
    assert drawn[1:51] == drawn[52:102] != drawn[103:153]
    assert {sum(repeats) for repeats in drawn} == {30}


def test_draws_without_a_value_are_left_out():
    ((low, high),) = resample(
        lambda repeats: np.array([1.0 if repeats[0] else math.nan]), 3, num_resamples=100
    )
    assert (low, high) == (1.0, 1.0)


@pytest.mark.parametrize(("num_pictures", "num_resamples"), [(0, 100), (3, 0)])
def test_nothing_to_draw_is_nan(num_pictures, num_resamples):
    intervals = resample(lambda _: np.zeros(2), num_pictures, num_resamples=num_resamples)
    assert_allclose(intervals, np.full((2, 2), np.nan))


def test_no_heads_have_no_average_precision():
    sample = Sample.of([], [], 0.5)
    assert_allclose(sample.metrics(np.zeros(0, np.int64)), np.full(3, np.nan))


def matching_of(found, scores, num_heads):
    return Matching(np.array(found, np.int64), np.array(scores, np.float32), num_heads)


def greedy_of(scene, seed):
    return [match_detections(*pair) for pair in zip(*scene(seed, num_pictures=30), strict=True)]


def test_differences_by_hand():
    # Of two heads a picture the first finds one, the second both with a false alarm below.
    first = [matching_of([0], [0.9], 2)] * 4
    second = [matching_of([0, 1, -1], [0.9, 0.8, 0.3], 2)] * 4
    ap50, f1, mae = compare(first, second, (0.5, 0.2), num_resamples=20)
    assert (ap50.name, ap50.first, ap50.second) == ("ap50", pytest.approx(51 / 101), 1.0)
    assert (f1.first, f1.second) == (pytest.approx(2 / 3), pytest.approx(4 / 5))
    assert f1.difference == pytest.approx(4 / 5 - 2 / 3)
    assert (mae.first, mae.second, mae.difference) == (1.0, 1.0, 0.0)
    # All pictures are alike, so no draw differs.
    assert (f1.low, f1.high) == (pytest.approx(f1.difference), pytest.approx(f1.difference))


def test_a_detector_does_not_differ_from_itself(scene):
    matchings = greedy_of(scene, 5)
    for difference in compare(matchings, matchings, (0.4, 0.4), num_resamples=50):
        assert (difference.difference, difference.low, difference.high) == (0, 0, 0)


def test_both_sides_are_drawn_alike_and_turn_around(scene):
    first = greedy_of(scene, 7)
    second = [
        Matching(np.where(np.arange(len(m.found)) == 0, -1, m.found), m.scores, m.num_heads)
        for m in first
    ]
    there = compare(first, second, (0.3, 0.3), num_resamples=100, seed=2)
    back = compare(second, first, (0.3, 0.3), num_resamples=100, seed=2)
    for one, other in zip(there, back, strict=True):
        assert one.low <= one.difference <= one.high
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    # The second is worse on every draw, though either alone varies by more than they differ.
    assert there[0].high < 0


def test_other_pictures_are_refused():
    one, two = matching_of([0], [0.9], 1), matching_of([0], [0.9], 2)
    with pytest.raises(ValueError, match="the same pictures twice: 1 and 2 of them"):
        compare([one], [one, one], (0.5, 0.5))
    with pytest.raises(ValueError, match="picture 2 has 1 heads the first time and 2 the second"):
        compare([one, one], [one, two], (0.5, 0.5))


def test_no_images_differ_by_nothing():
    assert all(np.isnan(difference.low) for difference in compare([], [], (0.5, 0.5)))


@pytest.mark.parametrize(
    ("name", "low", "high", "better"),
    [
        ("ap50", 0.1, 0.2, "second"),
        ("ap50", -0.2, -0.1, "first"),
        ("mae", 0.1, 0.2, "first"),
        ("mae", -0.2, -0.1, "second"),
        ("f1", -0.1, 0.2, None),
        ("f1", 0.0, 0.2, None),
        ("f1", 0.0, 0.0, None),
        ("f1", math.nan, math.nan, None),
    ],
)
def test_the_better_one_is_that_of_an_interval_without_zero(name, low, high, better):
    assert Difference(name, 0.0, 0.0, (low + high) / 2, low, high).better == better
