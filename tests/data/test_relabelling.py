import numpy as np
import pytest

from head_detection.data.relabelling import RelabelRules, relabel
from head_detection.structures import Detections, GroundTruth

SIZE = (100, 100)
RULES = RelabelRules()


def truth(*boxes, ignored=()):
    every = np.array([*boxes, *ignored], np.float32).reshape(-1, 4)
    return GroundTruth(every, np.arange(len(every)) >= len(boxes))


def found(*rows):
    rows = np.array(rows, np.float32).reshape(-1, 5)
    return Detections.from_arrays(rows[:, :4], rows[:, 4], SIZE)


def test_a_close_pair_moves_towards_the_detection_by_hand():
    changed, counts = relabel(truth([0, 0, 10, 10]), found([0, 0, 10, 20, 0.9]), RULES)
    # IoU 0.5; 0.65 * 20 + 0.35 * 10.
    np.testing.assert_allclose(changed.boxes, [[0, 0, 10, 16.5]])
    assert counts["placed anew"] == 1


def test_a_loose_pair_meets_in_the_middle_by_hand():
    changed, counts = relabel(truth([0, 0, 10, 10]), found([0, 0, 10, 30, 0.9]), RULES)
    np.testing.assert_allclose(changed.boxes, [[0, 0, 10, 20]])
    assert counts["placed between"] == 1


def test_what_was_not_found_stays_and_what_was_not_labelled_comes():
    labels = truth([0, 0, 10, 10], ignored=[[80, 80, 90, 90]])
    detections = found(
        [30, 30, 40, 40, 0.7], [50, 50, 60, 60, 0.5], [60, 0, 70, 10, 0.3], [0, 0, 9, 9, 0.05]
    )
    changed, counts = relabel(labels, detections, RULES)
    assert changed.head_boxes.tolist() == [[0, 0, 10, 10], [30, 30, 40, 40]]
    assert changed.ignore_boxes.tolist() == [[80, 80, 90, 90], [50, 50, 60, 60]]
    assert counts == {"kept": 1, "added": 1, "ignored": 1}


def test_a_detection_that_hardly_touches_a_label_is_another_head():
    labels, detections = truth([0, 0, 10, 10]), found([8, 0, 18, 10, 0.9])  # IoU 2 / 18
    changed, counts = relabel(labels, detections, RULES)
    assert changed.head_boxes.tolist() == [[0, 0, 10, 10], [8, 0, 18, 10]]
    assert counts == {"kept": 1, "added": 1, "ignored": 0}


def test_a_detection_near_a_label_of_another_is_no_new_head():
    detections = found([0, 0, 10, 10, 0.9], [0, 3, 10, 13, 0.8])
    changed, _ = relabel(truth([0, 0, 10, 10]), detections, RULES)
    assert len(changed.boxes) == 1


def test_a_distractor_stays_one():
    boxes = np.array([[0, 0, 5, 5], [20, 20, 30, 30], [40, 40, 50, 50]], np.float32)
    labels = GroundTruth(boxes, np.array([True, False, True]), np.array([True, False, False]))
    changed, _ = relabel(labels, found([60, 60, 70, 70, 0.5]), RULES)
    assert changed.boxes[changed.distractor].tolist() == [[0, 0, 5, 5]]
    assert changed.ignore.tolist() == [False, True, True, True]


@pytest.mark.parametrize("labels", [truth(), truth([0, 0, 5, 5])])
def test_nothing_found_changes_nothing(labels):
    changed, counts = relabel(labels, found(), RULES)
    assert changed.boxes.tolist() == labels.boxes.tolist()
    assert counts["kept"] == len(labels.boxes)


def test_boxes_end_at_the_picture():
    changed, _ = relabel(truth(), found([90, 90, 130, 120, 0.9], [-9, 0, 0, 9, 0.9]), RULES)
    assert changed.boxes.tolist() == [[90, 90, 100, 100]]
