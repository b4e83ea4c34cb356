import numpy as np
import pytest

from head_detection.evaluation.comparison import compare
from head_detection.evaluation.matching import Matching, match_detections


def matching_of(found, scores, num_heads):
    return Matching(np.array(found, np.int64), np.array(scores, np.float32), num_heads)


def matched(scene, seed):
    return [match_detections(*pair) for pair in zip(*scene(seed, num_pictures=30), strict=True)]


def test_by_hand():
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
    matchings = matched(scene, 5)
    for difference in compare(matchings, matchings, (0.4, 0.4), num_resamples=50):
        assert (difference.difference, difference.low, difference.high) == (0, 0, 0)


def test_both_sides_are_drawn_alike_and_turn_around(scene):
    first = matched(scene, 7)
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


def test_no_pictures():
    assert all(np.isnan(difference.low) for difference in compare([], [], (0.5, 0.5)))
