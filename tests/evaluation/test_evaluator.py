import math

import numpy as np
import pytest

from head_detection.evaluation.evaluator import SIZE_NAMES, evaluate
from head_detection.structures import Detections, GroundTruth

SIZE = (200, 200)


def square(x, y, side):
    return [x, y, x + side, y + side]


def truth_of(boxes, ignore=None):
    array = np.array(boxes, np.float32).reshape(-1, 4)
    flags = np.zeros(len(array), bool) if ignore is None else np.array(ignore, bool)
    return GroundTruth(array, flags)


def test_all_figures_by_hand():
    # Heads of 7, 8, 20, 40 and 100 px; found: 8, 20, 100 and one thing that is none.
    heads = [square(0, 0, 7), square(10, 0, 8), square(20, 0, 20), square(50, 0, 40)]
    heads.append(square(100, 100, 100))
    found = [heads[1], heads[2], heads[4], square(0, 150, 30)]
    figures = evaluate(
        [Detections.from_arrays(found, [0.9, 0.9, 0.9, 0.2], SIZE)], [truth_of(heads)]
    )
    assert figures["best_threshold"] == pytest.approx(0.9)
    assert figures["precision"] == 1.0
    assert figures["recall"] == 3 / 5
    assert figures["best_f1"] == pytest.approx(2 * 0.6 / 1.6)
    assert figures["count_mae"] == 2.0
    assert [figures[f"recall_{name}"] for name in SIZE_NAMES] == [0, 1, 1, 0, 1]
    assert figures["ap50"] == pytest.approx(61 / 101, abs=1e-6)  # recall .6: points 0 to .60


def test_counts_are_wrong_both_ways_and_leave_ignored_detections_out():
    crowd, head = square(100, 100, 90), square(0, 0, 20)
    truths = [truth_of([head, crowd], [False, True]), truth_of([head, square(40, 0, 20)])]
    found = [
        Detections.from_arrays([head, square(60, 60, 20), square(120, 120, 20)], [0.9] * 3, SIZE),
        Detections.from_arrays([head], [0.9], SIZE),
    ]
    # First picture: 2 counted, 1 there. Second: 1 counted, 2 there.
    assert evaluate(found, truths)["count_mae"] == 1.0


def test_a_picture_without_heads_does_not_crash():
    """HeadHunter's evaluation crashed on it (its fault 8)."""
    empty, head = truth_of([]), square(0, 0, 20)
    figures = evaluate(
        [Detections.empty(SIZE), Detections.from_arrays([head], [0.9], SIZE)],
        [empty, truth_of([head])],
    )
    assert figures["ap50"] == pytest.approx(1.0)
    assert figures["count_mae"] == 0.0


@pytest.mark.parametrize("num_pictures", [0, 1])
def test_nothing_to_measure_is_nan(num_pictures):
    figures = evaluate([Detections.empty(SIZE)] * num_pictures, [truth_of([])] * num_pictures)
    assert math.isnan(figures["ap50"])
    assert math.isnan(figures["recall"])
    assert all(math.isnan(figures[f"recall_{name}"]) for name in SIZE_NAMES)


def test_only_ignore_regions_is_nothing_to_find():
    region = truth_of([square(0, 0, 50)], [True])
    figures = evaluate([Detections.from_arrays([square(5, 5, 20)], [0.9], SIZE)], [region])
    assert figures["count_mae"] == 0.0
    assert math.isnan(figures["ap50"])
