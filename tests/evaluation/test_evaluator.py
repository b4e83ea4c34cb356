import math
from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from head_detection.evaluation.evaluator import PROTOCOLS, evaluate, measure
from head_detection.evaluation.precision_recall import SIZE_NAMES
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


def test_every_protocol_by_hand():
    """Two heads and a region; one head found (IoU .8), one false alarm, one in the region."""
    heads = [square(0, 0, 10), square(40, 0, 20)]
    truths = [truth_of([*heads, square(100, 100, 80)], [False, False, True]), truth_of([])]
    found = [
        found_of([[0, 0, 10, 8], square(150, 10, 10), square(110, 110, 10)], [0.9, 0.6, 0.7]),
        Detections.empty(SIZE),
    ]
    result = quick(found, truths, score_threshold=0.5)
    metrics = result.metrics
    assert metrics["coco"]["ap50"] == pytest.approx(51 / 101)
    assert metrics["coco"]["ap75"] == pytest.approx(51 / 101)
    assert metrics["coco"]["ap"] == pytest.approx(7 / 10 * 51 / 101)  # .50 to .80
    assert metrics["coco"]["recall"] == 0.5
    assert metrics["coco"]["recall_8_to_16"] == 1.0
    assert metrics["coco"]["recall_16_to_32"] == 0.0
    assert metrics["crowdhuman"]["log_average_miss_rate"] == pytest.approx(0.5)
    assert metrics["crowdhuman"]["ji"] == 0.5  # above .6 the false alarm is gone
    assert metrics["mot"] == {"moda": 0.0, "modp": pytest.approx(0.8)}
    assert metrics["scut"]["precision"] == metrics["scut"]["recall"] == metrics["scut"]["f1"] == 0.5
    assert metrics["scut"]["best_f1"] == pytest.approx(2 / 3)
    assert metrics["scut"]["best_threshold"] == pytest.approx(0.9)
    assert metrics["headhunter"] == {"moda": 0.0, "modp": pytest.approx(0.8)}
    assert metrics["counting"] == {"mae": 0.0, "rmse": 0.0, "bias": 0.0}
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
    assert chosen.score_threshold == chosen.metrics["scut"]["best_threshold"]
    assert chosen.metrics["scut"]["f1"] == pytest.approx(chosen.metrics["scut"]["best_f1"])
    given_one = quick(detections, truths, score_threshold=0.9)
    assert given_one.score_threshold == 0.9
    assert given_one.metrics["scut"]["f1"] < chosen.metrics["scut"]["f1"]


def test_a_false_alarm_below_the_first_hit_never_helps_the_toolkits_average_precision(scene):
    truth = truth_of([square(0, 0, 10), square(40, 0, 20)])
    heads, false = truth.head_boxes.tolist(), square(150, 150, 20)
    values = [
        quick([found_of([*heads, *extra], [0.9, 0.6, *scores])], [truth])
        for extra, scores in [([], []), ([false], [0.5]), ([false], [0.7])]
    ]
    values = [value.metrics["crowdhuman"]["ap"] for value in values]
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
    metrics = flat(result)
    for name in ("coco ap", "coco ap50", "coco recall", "crowdhuman ap", "crowdhuman ji",
                 "crowdhuman log_average_miss_rate", "mot moda", "headhunter moda"):  # fmt: skip
        assert math.isnan(metrics[name]), name
    assert math.isnan(result.intervals["ap50"][0])
    assert len(result.images) == len(result.counts) == len(truths)
    if truths:
        is_counted = len(detections[0]) > 0 and not truths[0].ignore.any()
        assert metrics["counting mae"] == is_counted


def test_nothing_found(flat):
    result = measure([Detections.empty(SIZE)], [truth_of([square(0, 0, 9)])], num_resamples=5)
    metrics = flat(result)
    for name in ("coco ap", "coco recall", "crowdhuman ap", "crowdhuman ji", "mot moda",
                 "scut recall", "scut f1", "headhunter moda"):  # fmt: skip
        assert metrics[name] == 0.0, name
    assert metrics["crowdhuman log_average_miss_rate"] == 1.0
    assert math.isnan(metrics["scut precision"])
    assert result.intervals == {"ap50": (0.0, 0.0), "f1": (0.0, 0.0), "mae": (1.0, 1.0)}


def test_intervals_hold_the_metrics_and_the_seed_repeats_them(scene):
    detections, truths = scene(2, num_pictures=60)
    result = measure(detections, truths, num_resamples=200, seed=1)
    metrics = {
        "ap50": result.metrics["coco"]["ap50"],
        "f1": result.metrics["scut"]["f1"],
        "mae": result.metrics["counting"]["mae"],
    }
    for name, (low, high) in result.intervals.items():
        assert low < metrics[name] < high
    assert measure(detections, truths, num_resamples=200, seed=1).intervals == result.intervals
    assert measure(detections, truths, num_resamples=200, seed=2).intervals != result.intervals


def test_only_the_protocols_asked_for(scene):
    detections, truths = scene(4)
    whole = quick(detections, truths)
    assert tuple(whole.metrics) == (*PROTOCOLS, "counting")
    for protocol in PROTOCOLS:
        part = quick(detections, truths, protocols=(protocol,))
        assert set(part.metrics) == {protocol, "counting"}
        assert part.metrics[protocol] == pytest.approx(whole.metrics[protocol], nan_ok=True)
        assert set(part.curves) == {"precision_recall", "miss_rate_fppi", "f1_threshold"}


def test_distractors_are_removed_by_motchallenges_rule_alone():
    other = square(100, 100, 20)
    truth = truth_of([square(0, 0, 20), other], [False, True], [False, True])
    found = found_of([square(0, 0, 20), other, [100, 100, 120, 105]], [0.9, 0.8, 0.7])
    result = quick([found], [truth], score_threshold=0.5)
    # The third lies inside the distractor without matching it: false for MOTChallenge only.
    assert result.metrics["mot"]["moda"] == 0.0
    assert result.metrics["headhunter"]["moda"] == 1.0
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
    assert result.metrics["coco"]["recall"] == 1.0


def test_float64_is_taken_as_it_is():
    # In float32 the scores are one and the same, and the first would go first.
    heads = truth_of([square(0, 0, 10)])
    boxes = np.array([square(0, 0, 10), square(50, 50, 10)], np.float64)
    found = Detections(boxes[::-1], np.array([0.5 + 1e-12, 0.5]), SIZE)
    result = quick([found], [heads])
    assert result.metrics["coco"]["ap50"] == pytest.approx(0.5)
    assert_array_equal(result.images[0].matching.scores, found.scores)


def test_mistakes_of_the_caller():
    with pytest.raises(ValueError, match="as many detections as truths: 0, 1"):
        measure([], [truth_of([])])
    with pytest.raises(ValueError, match=r"expected some of coco, .*, got 'voc'"):
        measure([], [], protocols=("coco", "voc"))


def test_the_metrics_that_training_watches_by_hand():
    # Heads of 7, 8, 20, 40 and 100 px; found: 8, 20, 100 and one thing that is none.
    heads = [square(0, 0, 7), square(10, 0, 8), square(20, 0, 20), square(50, 0, 40)]
    heads.append(square(100, 100, 100))
    found = [heads[1], heads[2], heads[4], square(0, 150, 30)]
    metrics = evaluate(
        [Detections.from_arrays(found, [0.9, 0.9, 0.9, 0.2], SIZE)], [truth_of(heads)]
    )
    assert metrics["best_threshold"] == pytest.approx(0.9)
    assert metrics["precision"] == 1.0
    assert metrics["recall"] == 3 / 5
    assert metrics["best_f1"] == pytest.approx(2 * 0.6 / 1.6)
    assert metrics["count_mae"] == 2.0
    assert [metrics[f"recall_{name}"] for name in SIZE_NAMES] == [0, 1, 1, 0, 1]
    assert metrics["ap50"] == pytest.approx(61 / 101, abs=1e-6)  # recall .6: points 0 to .60


def test_counts_are_wrong_both_ways_and_leave_ignored_detections_out():
    crowd, head = square(100, 100, 90), square(0, 0, 20)
    truths = [truth_of([head, crowd], [False, True]), truth_of([head, square(40, 0, 20)])]
    found = [
        Detections.from_arrays([head, square(60, 60, 20), square(120, 120, 20)], [0.9] * 3, SIZE),
        Detections.from_arrays([head], [0.9], SIZE),
    ]
    # First picture: 2 counted, 1 there. Second: 1 counted, 2 there.
    assert evaluate(found, truths)["count_mae"] == 1.0


def test_training_watches_an_image_without_heads_too():
    """HeadHunter's evaluation crashed on it (its fault 8)."""
    empty, head = truth_of([]), square(0, 0, 20)
    metrics = evaluate(
        [Detections.empty(SIZE), Detections.from_arrays([head], [0.9], SIZE)],
        [empty, truth_of([head])],
    )
    assert metrics["ap50"] == pytest.approx(1.0)
    assert metrics["count_mae"] == 0.0


@pytest.mark.parametrize("num_pictures", [0, 1])
def test_training_has_nothing_to_measure(num_pictures):
    metrics = evaluate([Detections.empty(SIZE)] * num_pictures, [truth_of([])] * num_pictures)
    assert math.isnan(metrics["ap50"])
    assert math.isnan(metrics["recall"])
    assert all(math.isnan(metrics[f"recall_{name}"]) for name in SIZE_NAMES)


def test_only_ignore_regions_is_nothing_to_find():
    region = truth_of([square(0, 0, 50)], [True])
    metrics = evaluate([Detections.from_arrays([square(5, 5, 20)], [0.9], SIZE)], [region])
    assert metrics["count_mae"] == 0.0
    assert math.isnan(metrics["ap50"])


seeds = st.integers(0, 10**6)
few = settings(max_examples=30, deadline=None)


def has_heads(truths):
    return any(len(truth.head_boxes) for truth in truths)


def perfect(truths):
    heads = [truth.head_boxes for truth in truths]
    return [Detections.from_arrays(h, np.linspace(0.99, 0.91, len(h)), SIZE) for h in heads]


@few
@given(seeds)
def test_training_watches_the_same_metrics(scene, seed):
    detections, truths = scene(seed)
    result, watched = quick(detections, truths), evaluate(detections, truths)
    metrics = result.metrics["scut"] | {
        "ap50": result.metrics["coco"]["ap50"],
        "count_mae": result.metrics["counting"]["mae"],
    }
    for name, value in watched.items():
        assert value == pytest.approx(metrics[name], nan_ok=True), name


@few
@given(seeds)
def test_the_order_of_detections_and_of_pictures_does_not_matter(flat, scene, seed):
    detections, truths = scene(seed)
    generator = np.random.default_rng(seed)
    shuffled = []
    for found in detections:
        order = generator.permutation(len(found))
        shuffled.append(
            Detections.from_arrays(found.boxes[order], found.scores[order], found.image_size)
        )
    order = generator.permutation(len(truths))
    again = quick([shuffled[n] for n in order], [truths[n] for n in order])
    expected = flat(quick(detections, truths))
    assert flat(again) == {k: pytest.approx(v, nan_ok=True) for k, v in expected.items()}


@few
@given(seeds)
def test_a_perfect_detector_scores_one(scene, seed):
    _, truths = scene(seed)
    assume(has_heads(truths))
    metrics = quick(perfect(truths), truths).metrics
    for name in ("ap", "ap50", "ap75", "recall"):
        assert metrics["coco"][name] == pytest.approx(1.0)
    # The toolkit leaves out what is left of the first head.
    num_heads = sum(len(truth.head_boxes) for truth in truths)
    assert metrics["crowdhuman"]["ap"] == pytest.approx(1 - 1 / num_heads)
    assert metrics["crowdhuman"]["log_average_miss_rate"] == pytest.approx(1e-10)
    assert metrics["crowdhuman"]["ji"] == pytest.approx(1.0)
    for protocol in ("mot", "headhunter"):
        assert metrics[protocol] == {"moda": pytest.approx(1.0), "modp": pytest.approx(1.0)}
    assert {metrics["scut"][name] for name in ("precision", "recall", "f1")} == {1.0}
    assert metrics["counting"] == {"mae": 0.0, "rmse": 0.0, "bias": 0.0}


@few
@given(seeds, st.floats(0, 1), st.integers(0, 3))
def test_adding_a_false_alarm_never_helps(flat, scene, seed, score, place):
    detections, truths = scene(seed)
    before = quick(detections, truths, score_threshold=0.4)
    picture = detections[place]
    # Far from everything: the others end at 110.
    boxes = np.concatenate([picture.boxes, [[150, 150, 160, 160]]])
    worse = list(detections)
    worse[place] = Detections.from_arrays(boxes, [*picture.scores, score], SIZE)
    # The same pictures, of the same size, with and without.
    larger = [Detections(found.boxes, found.scores, SIZE) for found in detections]
    worse = [Detections(found.boxes, found.scores, SIZE) for found in worse]
    before = flat(quick(larger, truths, score_threshold=0.4))
    after = flat(quick(worse, truths, score_threshold=0.4))
    higher_is_better = (
        "coco ap", "coco ap50", "coco ap75", "coco recall", "crowdhuman ji", "mot moda",
        "mot modp", "scut precision", "scut f1", "scut best_f1", "headhunter moda",
    )  # fmt: skip
    for name in higher_is_better:
        if not math.isnan(before[name]) and not math.isnan(after[name]):
            assert after[name] <= before[name] + 1e-12, name
    name = "crowdhuman log_average_miss_rate"
    assert math.isnan(after[name]) or after[name] >= before[name] - 1e-12
    assert after["counting bias"] >= before["counting bias"]
