"""What holds for any pictures, on pictures drawn at random."""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from head_detection.evaluation.evaluator import evaluate
from head_detection.evaluation.measurement import measure
from head_detection.structures import Detections

SIZE = (200, 200)
quick = partial(measure, num_resamples=0)
seeds = st.integers(0, 10**6)
few = settings(max_examples=30, deadline=None)


def has_heads(truths):
    return any(len(truth.head_boxes) for truth in truths)


def perfect(truths):
    heads = [truth.head_boxes for truth in truths]
    return [Detections.from_arrays(h, np.linspace(0.99, 0.91, len(h)), SIZE) for h in heads]


@few
@given(seeds)
def test_training_watches_the_same_figures(scene, seed):
    detections, truths = scene(seed)
    result, watched = quick(detections, truths), evaluate(detections, truths)
    figures = result.figures["scut"] | {
        "ap50": result.figures["coco"]["ap50"],
        "count_mae": result.figures["counting"]["mae"],
    }
    for name, value in watched.items():
        assert value == pytest.approx(figures[name], nan_ok=True), name


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
    figures = quick(perfect(truths), truths).figures
    for name in ("ap", "ap50", "ap75", "recall"):
        assert figures["coco"][name] == pytest.approx(1.0)
    # The toolkit leaves out what is left of the first head.
    num_heads = sum(len(truth.head_boxes) for truth in truths)
    assert figures["crowdhuman"]["ap"] == pytest.approx(1 - 1 / num_heads)
    assert figures["crowdhuman"]["log_average_miss_rate"] == pytest.approx(1e-10)
    assert figures["crowdhuman"]["ji"] == pytest.approx(1.0)
    for protocol in ("mot", "headhunter"):
        assert figures[protocol] == {"moda": pytest.approx(1.0), "modp": pytest.approx(1.0)}
    assert {figures["scut"][name] for name in ("precision", "recall", "f1")} == {1.0}
    assert figures["counting"] == {"mae": 0.0, "rmse": 0.0, "bias": 0.0}


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
