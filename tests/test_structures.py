import numpy as np
import pytest

from head_detection.structures import Detections, Frame, GroundTruth

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


def test_ids_stay_with_their_heads() -> None:
    found = Detections.from_arrays(BOXES, [0.5, 0.75, 0.25], (20, 20), ids=[7, -1, 2**40])
    assert found.ids is not None
    assert found.ids.tolist() == [-1, 7, 2**40]
    assert found.ids.dtype == np.int64
    kept = found.above(0.5).scaled_to((40, 40))
    assert kept.ids is not None
    assert kept.ids.tolist() == [-1, 7]
    assert kept.boxes.tolist() == [[10, 10, 18, 18], [0, 0, 8, 8]]
    empty = found.above(0.9).ids
    assert empty is not None
    assert empty.shape == (0,)


def test_heads_that_are_not_followed_have_no_ids() -> None:
    assert Detections.from_arrays(BOXES, [0.5] * 3, (20, 20)).above(0.1).ids is None
    assert Detections.empty((20, 20)).scaled_to((10, 10)).ids is None


@pytest.mark.parametrize(("scores", "ids"), [([0.5] * 2, [1] * 3), ([0.5] * 3, [1] * 2)])
def test_scores_and_ids_are_one_a_head(scores: list[float], ids: list[int]) -> None:
    with pytest.raises(ValueError, match=r"expected shape \(3,\), got \(2,\)"):
        Detections(BOXES, np.array(scores, np.float32), (20, 20), np.array(ids))


def test_frames_are_told_apart_by_place_not_by_pixels() -> None:
    pixels = np.zeros((2, 2, 3), np.uint8)
    assert Frame("a.mp4", 1, 0.04, pixels) == Frame("a.mp4", 1, 0.04)
    assert Frame("a.mp4", 1, 0.04) != Frame("a.mp4", 2, 0.08)


def test_detections_can_be_compared_and_kept_in_sets():
    one, other = Detections.empty((4, 4)), Detections.empty((4, 4))
    assert one == one  # noqa: PLR0124 - it raised, for arrays have no single answer
    assert one != other
    assert len({one, other, one}) == 2
