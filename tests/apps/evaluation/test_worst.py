from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from head_detection.apps.evaluation.predictions import Predictions
from head_detection.apps.evaluation.result import EvaluationResult
from head_detection.apps.evaluation.worst import draw_worst, find_worst, outcome_boxes, safe_name
from head_detection.data.annotations import AnnotatedImage, AnnotatedSet, build_truth
from head_detection.errors import EvaluationError
from head_detection.evaluation.evaluator import measure
from head_detection.evaluation.matching import match_detections
from head_detection.images.drawing import OutcomeBoxes
from head_detection.images.finding import OUTPUT_MARKER
from head_detection.structures import Detections, GroundTruth

SIZE = (40, 60)
MISSES = (0, 2, 1, 3)
"""Of each picture; nothing is detected anywhere."""


@pytest.fixture
def result(tmp_path: Path) -> EvaluationResult:
    images = []
    for number, misses in enumerate(MISSES):
        path = tmp_path / f"p {number}.png"
        Image.new("RGB", SIZE[::-1]).save(path)
        rows = [([10 * n, 0, 10 * n + 8, 8], False) for n in range(misses)]
        images.append(AnnotatedImage(path, f"sub/p {number}.png", build_truth(rows), SIZE))
    nothing = [Detections.empty(SIZE)] * len(images)
    measurement = measure(nothing, [image.truth for image in images], num_resamples=0)
    return EvaluationResult(
        labelled=AnnotatedSet("set/val", tuple(images)),
        data={},
        split="val",
        predictions=Predictions(Path("w"), "w", {}, nothing, None, "", 0.02),
        measurement=measurement,
        notes=(),
    )


def test_the_worst_come_first_and_the_faultless_not_at_all(result: EvaluationResult) -> None:
    assert find_worst(result, 20) == [3, 1, 2]
    assert find_worst(result, 2) == [3, 1]


def test_pictures_are_drawn_and_those_of_an_earlier_run_go(
    result: EvaluationResult, tmp_path: Path
) -> None:
    worst = tmp_path / "out" / "worst"
    assert draw_worst(tmp_path / "out", result)[0].startswith("worst/: 3 drawn")
    names = ["01-p-3.jpg", "02-p-1.jpg", "03-p-2.jpg"]
    assert sorted(file.name for file in worst.glob("*.jpg")) == names
    (worst / "mine.jpg").write_bytes(b"")
    draw_worst(tmp_path / "out", result, 1)
    assert sorted(file.name for file in worst.glob("*.jpg")) == ["01-p-3.jpg", "mine.jpg"]
    assert (worst / OUTPUT_MARKER).exists()  # these are no pictures to search
    with Image.open(worst / names[0]) as image:
        assert image.size[0] == 480
        assert (np.asarray(image)[:40] > 100).any()  # a box of a miss


def test_pictures_that_are_not_there_are_said(result: EvaluationResult, tmp_path: Path) -> None:
    result.labelled.images[3].path.unlink()
    drawn, unread = draw_worst(tmp_path / "out", result)
    assert drawn.startswith("worst/: 2 drawn")
    assert unread.startswith("worst/: 1 cannot be drawn, the first: ")
    assert "p 3.png" in unread


def test_pictures_too_wide_to_draw_are_said(result: EvaluationResult, tmp_path: Path) -> None:
    Image.new("RGB", (65_501, 2)).save(result.labelled.images[3].path)
    drawn, unread = draw_worst(tmp_path / "out", result)
    assert drawn.startswith("worst/: 2 drawn")
    assert unread.startswith("worst/: 1 cannot be drawn, the first: sub/p 3.png: expected sides of")


def test_a_folder_of_other_files_is_left_alone(result: EvaluationResult, tmp_path: Path) -> None:
    (tmp_path / "out" / "worst").mkdir(parents=True)
    (tmp_path / "out" / "worst" / "01-mine.jpg").write_bytes(b"")
    with pytest.raises(EvaluationError, match="it holds other files"):
        draw_worst(tmp_path / "out", result)
    assert (tmp_path / "out" / "worst" / "01-mine.jpg").exists()


@pytest.mark.parametrize(
    ("text", "name"), [("a b/c", "a-b-c"), ("", "picture"), ("..", "picture"), ("x" * 99, "x" * 60)]
)
def test_names_for_files(text: str, name: str) -> None:
    assert safe_name(text) == name


HEADS = [[10, 10, 50, 50], [100, 10, 140, 50]]
REGION = [200, 100, 300, 200]
FALSE = [100, 120, 140, 160]
OUTCOME_SIZE = (400, 800)


def outcome(score_threshold: float = 0.5) -> OutcomeBoxes:
    truth = GroundTruth(np.array([*HEADS, REGION], np.float32), np.array([False, False, True]))
    boxes = [HEADS[0], FALSE, [210, 110, 250, 150], HEADS[1]]
    found = Detections.from_arrays(boxes, [0.9, 0.8, 0.7, 0.3], OUTCOME_SIZE)
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
