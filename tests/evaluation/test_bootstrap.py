import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from head_detection.evaluation.average_precision import average_precision, match_as_coco
from head_detection.evaluation.bootstrap import Sample, resample
from head_detection.evaluation.counting import counting_error, head_counts
from head_detection.evaluation.detection_accuracy import accuracy
from head_detection.evaluation.matching import match_overlap
from head_detection.evaluation.overlap import Overlap


def matched(detections, truths):
    overlaps = [Overlap(*pair) for pair in zip(detections, truths, strict=True)]
    return [match_as_coco(o, [0.5])[0] for o in overlaps], [match_overlap(o) for o in overlaps]


@pytest.mark.parametrize("seed", range(20))
def test_figures_of_a_draw_are_those_of_the_drawn_pictures(scene, seed):
    detections, truths = scene(seed, num_pictures=12)
    sample = Sample.of(*matched(detections, truths), 0.4)
    drawn = np.random.default_rng(seed).integers(12, size=12)
    repeats = np.bincount(drawn, minlength=12)
    ap50, f1, mae = sample.figures(repeats)
    # In the order of pictures, as ties between copies have it.
    again = [detections[number] for number in sorted(drawn)], [truths[n] for n in sorted(drawn)]
    kept = [matching.above(0.4) for matching in matched(*again)[1]]
    assert ap50 == pytest.approx(average_precision(*again), abs=1e-12)
    assert f1 == pytest.approx(accuracy(kept).f1)
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
    assert_allclose(sample.figures(np.zeros(0, np.int64)), np.full(3, np.nan))
