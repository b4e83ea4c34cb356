import numpy as np
import pytest

from head_detection.apps.evaluation.outcome_drawing import (
    FALSE_ALARM,
    FOUND,
    MISSED,
    NOT_COUNTED,
    OutcomeBoxes,
    draw_outcome,
)
from head_detection.apps.evaluation.worst import outcome_boxes
from head_detection.evaluation.matching import match_detections
from head_detection.structures import Detections, GroundTruth

HEADS = [[10, 10, 50, 50], [100, 10, 140, 50]]
REGION = [200, 100, 300, 200]
FALSE = [100, 120, 140, 160]
SIZE = (400, 800)


def outcome(score_threshold: float = 0.5) -> OutcomeBoxes:
    truth = GroundTruth(np.array([*HEADS, REGION], np.float32), np.array([False, False, True]))
    boxes = [HEADS[0], FALSE, [210, 110, 250, 150], HEADS[1]]
    found = Detections.from_arrays(boxes, [0.9, 0.8, 0.7, 0.3], SIZE)
    matching = match_detections(found, truth)
    return outcome_boxes(found, truth, matching, score_threshold)


def test_boxes_are_sorted_by_what_became_of_them() -> None:
    sorted_boxes = outcome()
    assert sorted_boxes.found.tolist() == [HEADS[0]]
    assert sorted_boxes.missed.tolist() == [HEADS[1]]
    assert sorted_boxes.false_alarms.tolist() == [FALSE]
    assert sorted_boxes.false_scores.tolist() == [np.float32(0.8)]
    assert sorted_boxes.not_counted.tolist() == [REGION, [210, 110, 250, 150]]


def test_a_lower_threshold_finds_more() -> None:
    assert outcome(0.3).found.tolist() == HEADS
    assert len(outcome(0.3).missed) == 0


def test_nothing_at_all() -> None:
    truth = GroundTruth(np.zeros((0, 4), np.float32), np.zeros(0, np.bool_))
    nothing = Detections.empty(SIZE)
    empty = outcome_boxes(nothing, truth, match_detections(nothing, truth), 0.5)
    drawn = draw_outcome(np.zeros((*SIZE, 3), np.uint8), empty, ["a.jpg"])
    assert drawn.shape[1] == 1600
    assert not (drawn[:800] != 0).any()  # the picture itself is left as it was


def test_each_kind_has_its_colour_on_the_enlarged_picture() -> None:
    pixels = np.full((*SIZE, 3), 90, np.uint8)
    drawn = draw_outcome(pixels, outcome(), ["a.jpg"])
    assert (pixels == 90).all()
    assert drawn.shape[:2] > (800, 1600)  # twice as large, and the legend below
    for x, y, stroke in ((60, 20, FOUND), (200, 22, MISSED), (240, 240, FALSE_ALARM)):
        patch = drawn[y - 6 : y + 6, x - 6 : x + 6].reshape(-1, 3)
        assert (patch == stroke.color).all(axis=1).any()
    edge = drawn[199:202, 400:600].reshape(-1, 3)
    assert (edge == NOT_COUNTED.color).all(axis=1).any()


def test_dashes_tell_misses_from_the_rest_without_colour() -> None:
    drawn = draw_outcome(np.full((*SIZE, 3), 90, np.uint8), outcome(), ["a.jpg"])
    upper_edges = [drawn[20, 30:90], drawn[20, 210:270]]  # found, missed
    broken = [bool((edge == 90).all(axis=1).any()) for edge in upper_edges]
    assert broken == [False, True]


@pytest.mark.parametrize("size", [(3, 3), (40, 900), (900, 40), (2000, 3000)])
def test_pictures_of_every_shape_get_a_readable_legend(size: tuple[int, int]) -> None:
    drawn = draw_outcome(np.zeros((*size, 3), np.uint8), outcome(), ["a.jpg", "x" * 30])
    zoom = min(4.0, max(1.0, 1600 / max(size)))
    assert drawn.shape[0] > size[0] * zoom + 50
    assert drawn.shape[1] == max(480, round(size[1] * zoom))
    assert drawn.dtype == np.uint8
