import numpy as np
import pytest

from head_detection.structures import Detections, GroundTruth

BOXES = np.array([[0, 0, 4, 4], [5, 5, 9, 9], [10, 0, 14, 4]], np.float32)


def test_a_truth_has_no_distractors_unless_told() -> None:
    truth = GroundTruth(BOXES, np.array([False, True, False]))
    assert truth.distractor.tolist() == [False, False, False]
    assert truth.head_boxes.tolist() == BOXES[[0, 2]].tolist()
    assert truth.ignore_boxes.tolist() == BOXES[[1]].tolist()


def test_an_empty_truth_is_a_truth() -> None:
    truth = GroundTruth(BOXES[:0], np.zeros(0, bool))
    assert truth.head_boxes.shape == truth.ignore_boxes.shape == (0, 4)
    assert truth.distractor.shape == (0,)


@pytest.mark.parametrize(
    ("ignore", "distractor", "message"),
    [
        ([True], [], "ignore: expected shape"),
        ([True, True, True], [True], "distractor: expected shape"),
        ([True, False, True], [False, True, False], "expected boxes that are ignored too"),
    ],
)
def test_a_truth_that_does_not_fit_is_refused(ignore, distractor, message) -> None:
    with pytest.raises(ValueError, match=message):
        GroundTruth(BOXES, np.array(ignore), np.array(distractor, bool))


def test_detections_are_sorted_and_equal_scores_keep_their_order() -> None:
    found = Detections.from_arrays(BOXES, [0.5, 0.75, 0.5], (20, 20))
    assert found.boxes.tolist() == BOXES[[1, 0, 2]].tolist()
    assert found.above(0.5).scores.tolist() == [0.75, 0.5, 0.5]
    assert found.boxes_xywh.tolist()[0] == [5, 5, 4, 4]
