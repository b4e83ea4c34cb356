import math
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from head_detection.evaluation.measurement import PROTOCOLS, measure
from head_detection.structures import Detections, GroundTruth

SIZE = (200, 200)
quick = partial(measure, num_resamples=0)


def square(x, y, side):
    return [x, y, x + side, y + side]


def truth_of(boxes, ignore=None, distractor=None):
    array = np.array(boxes, np.float32).reshape(-1, 4)
    flags = np.zeros(len(array), bool) if ignore is None else np.array(ignore, bool)
    return GroundTruth(
        array, flags, np.zeros(0, bool) if distractor is None else np.array(distractor)
    )


def found_of(boxes, scores):
    return Detections.from_arrays(boxes, scores, SIZE)


def test_by_hand():
    """Two heads and a region; one head found (IoU .8), one false alarm, one in the region."""
    heads = [square(0, 0, 10), square(40, 0, 20)]
    truths = [truth_of([*heads, square(100, 100, 80)], [False, False, True]), truth_of([])]
    found = [
        found_of([[0, 0, 10, 8], square(150, 10, 10), square(110, 110, 10)], [0.9, 0.6, 0.7]),
        Detections.empty(SIZE),
    ]
    result = quick(found, truths, score_threshold=0.5)
    figures = result.figures
    assert figures["coco"]["ap50"] == pytest.approx(51 / 101)
    assert figures["coco"]["ap75"] == pytest.approx(51 / 101)
    assert figures["coco"]["ap"] == pytest.approx(7 / 10 * 51 / 101)  # .50 to .80
    assert figures["coco"]["recall"] == 0.5
    assert figures["coco"]["recall_8_to_16"] == 1.0
    assert figures["coco"]["recall_16_to_32"] == 0.0
    assert figures["crowdhuman"]["log_average_miss_rate"] == pytest.approx(0.5)
    assert figures["crowdhuman"]["ji"] == 0.5  # above .6 the false alarm is gone
    assert figures["mot"] == {"moda": 0.0, "modp": pytest.approx(0.8)}
    assert figures["scut"]["precision"] == figures["scut"]["recall"] == figures["scut"]["f1"] == 0.5
    assert figures["scut"]["best_f1"] == pytest.approx(2 / 3)
    assert figures["scut"]["best_threshold"] == pytest.approx(0.9)
    assert figures["headhunter"] == {"moda": 0.0, "modp": pytest.approx(0.8)}
    assert figures["counting"] == {"mae": 0.0, "rmse": 0.0, "bias": 0.0}
    assert result.ignored == {
        "ignore regions": 1,
        "distractors": 0,
        "detections in ignore regions": 1,
        "mot: detections on distractors, removed": 0,
        "headhunter: pictures without heads, not in its means": 1,
    }
    outcome = result.images[0]
    assert (outcome.num_heads, outcome.num_predicted) == (2, 2)
    assert (outcome.num_missed, outcome.num_false) == (1, 1)
    assert outcome.matching.found.tolist() == [0, -2, -1]
    assert result.counts.tolist() == [[2, 2], [0, 0]]


def test_the_operating_point_is_the_best_one_unless_given(scene):
    detections, truths = scene(11, num_pictures=10)
    chosen = quick(detections, truths)
    assert chosen.score_threshold == chosen.figures["scut"]["best_threshold"]
    assert chosen.figures["scut"]["f1"] == pytest.approx(chosen.figures["scut"]["best_f1"])
    given_one = quick(detections, truths, score_threshold=0.9)
    assert given_one.score_threshold == 0.9
    assert given_one.figures["scut"]["f1"] < chosen.figures["scut"]["f1"]


def test_a_false_alarm_below_the_first_hit_never_helps_the_toolkits_average_precision(scene):
    truth = truth_of([square(0, 0, 10), square(40, 0, 20)])
    heads, false = truth.head_boxes.tolist(), square(150, 150, 20)
    values = [
        quick([found_of([*heads, *extra], [0.9, 0.6, *scores])], [truth])
        for extra, scores in [([], []), ([false], [0.5]), ([false], [0.7])]
    ]
    values = [value.figures["crowdhuman"]["ap"] for value in values]
    assert values == [0.5, 0.5, pytest.approx((1 / 2 + 2 / 3) / 2 / 2)]


@pytest.mark.parametrize(
    ("detections", "truths"),
    [
        ([], []),
        ([Detections.empty(SIZE)], [truth_of([])]),
        ([found_of([square(5, 5, 20)], [0.9])], [truth_of([])]),
        ([found_of([square(5, 5, 20)], [0.9])], [truth_of([square(0, 0, 50)], [True])]),
        ([Detections.empty(SIZE)], [truth_of([square(0, 0, 50)], [True])]),
    ],
    ids=["no pictures", "empty picture", "no heads", "only a region", "an empty region"],
)
def test_nothing_to_find(detections, truths, flat):
    result = measure(detections, truths, num_resamples=5)
    figures = flat(result)
    for name in ("coco ap", "coco ap50", "coco recall", "crowdhuman ap", "crowdhuman ji",
                 "crowdhuman log_average_miss_rate", "mot moda", "headhunter moda"):  # fmt: skip
        assert math.isnan(figures[name]), name
    assert math.isnan(result.intervals["ap50"][0])
    assert len(result.images) == len(result.counts) == len(truths)
    if truths:
        is_counted = len(detections[0]) > 0 and not truths[0].ignore.any()
        assert figures["counting mae"] == is_counted


def test_nothing_found(flat):
    result = measure([Detections.empty(SIZE)], [truth_of([square(0, 0, 9)])], num_resamples=5)
    figures = flat(result)
    for name in ("coco ap", "coco recall", "crowdhuman ap", "crowdhuman ji", "mot moda",
                 "scut recall", "scut f1", "headhunter moda"):  # fmt: skip
        assert figures[name] == 0.0, name
    assert figures["crowdhuman log_average_miss_rate"] == 1.0
    assert math.isnan(figures["scut precision"])
    assert result.intervals == {"ap50": (0.0, 0.0), "f1": (0.0, 0.0), "mae": (1.0, 1.0)}


def test_intervals_hold_the_figures_and_the_seed_repeats_them(scene):
    detections, truths = scene(2, num_pictures=60)
    result = measure(detections, truths, num_resamples=200, seed=1)
    figures = {
        "ap50": result.figures["coco"]["ap50"],
        "f1": result.figures["scut"]["f1"],
        "mae": result.figures["counting"]["mae"],
    }
    for name, (low, high) in result.intervals.items():
        assert low < figures[name] < high
    assert measure(detections, truths, num_resamples=200, seed=1).intervals == result.intervals
    assert measure(detections, truths, num_resamples=200, seed=2).intervals != result.intervals


def test_only_the_protocols_asked_for(scene):
    detections, truths = scene(4)
    whole = quick(detections, truths)
    assert tuple(whole.figures) == (*PROTOCOLS, "counting")
    for protocol in PROTOCOLS:
        part = quick(detections, truths, protocols=(protocol,))
        assert set(part.figures) == {protocol, "counting"}
        assert part.figures[protocol] == pytest.approx(whole.figures[protocol], nan_ok=True)
        assert set(part.curves) == {"precision_recall", "miss_rate_fppi", "f1_threshold"}


def test_distractors_are_removed_by_motchallenges_rule_alone():
    other = square(100, 100, 20)
    truth = truth_of([square(0, 0, 20), other], [False, True], [False, True])
    found = found_of([square(0, 0, 20), other, [100, 100, 120, 105]], [0.9, 0.8, 0.7])
    result = quick([found], [truth], score_threshold=0.5)
    # The third lies inside the distractor without matching it: false for MOTChallenge only.
    assert result.figures["mot"]["moda"] == 0.0
    assert result.figures["headhunter"]["moda"] == 1.0
    assert result.ignored["distractors"] == 1
    assert result.ignored["mot: detections on distractors, removed"] == 1
    assert result.ignored["detections in ignore regions"] == 2


def test_curves_go_down_the_ranking(scene):
    curves = quick(*scene(6, num_pictures=8)).curves
    for curve in curves.values():
        assert len(curve.x) == len(curve.y) > 10
    assert (np.diff(curves["precision_recall"].x) >= 0).all()
    assert (np.diff(curves["miss_rate_fppi"].x) >= 0).all()
    assert (np.diff(curves["miss_rate_fppi"].y) <= 0).all()


def test_more_than_a_thousand_boxes_of_a_picture_all_count():
    corners = np.array([(x, y) for x in range(0, 200, 5) for y in range(0, 200, 5)], np.float32)
    boxes = np.concatenate([corners, corners + 4], axis=1)
    result = quick([found_of(boxes, np.linspace(1, 0.1, len(boxes)))], [truth_of(boxes)])
    assert len(boxes) == 1600
    assert result.figures["coco"]["recall"] == 1.0


def test_float64_is_taken_as_it_is():
    # In float32 the scores are one and the same, and the first would go first.
    heads = truth_of([square(0, 0, 10)])
    boxes = np.array([square(0, 0, 10), square(50, 50, 10)], np.float64)
    found = Detections(boxes[::-1], np.array([0.5 + 1e-12, 0.5]), SIZE)
    result = quick([found], [heads])
    assert result.figures["coco"]["ap50"] == pytest.approx(0.5)
    assert_array_equal(result.images[0].matching.scores, found.scores)


def test_mistakes_of_the_caller():
    with pytest.raises(ValueError, match="as many detections as truths: 0, 1"):
        measure([], [truth_of([])])
    with pytest.raises(ValueError, match=r"expected some of coco, .*, got 'voc'"):
        measure([], [], protocols=("coco", "voc"))
