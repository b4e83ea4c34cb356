import numpy as np

from head_detection.apps.evaluation.table import MEANINGS, table_rows
from head_detection.evaluation.evaluator import measure
from head_detection.structures import Detections, GroundTruth

BOX = np.array([[0, 0, 10, 10]], np.float32)
TRUTH = GroundTruth(BOX, np.zeros(1, np.bool_))


def rows(lowest_score: float | None = 0.02) -> dict[tuple[str, str], tuple[str, ...]]:
    found = Detections.from_arrays(BOX, [0.9], (20, 20))
    measurement = measure([found], [TRUTH], score_threshold=0.25, num_resamples=10)
    return {(row[0], row[4]): row for row in table_rows(measurement, "val", lowest_score)}


def test_every_metric_has_its_line_or_is_the_threshold_of_one() -> None:
    metrics = measure([Detections.empty((20, 20))], [TRUTH], num_resamples=0).metrics
    assert set(metrics) == set(MEANINGS)
    for protocol, values in metrics.items():
        thresholds = {meaning.scores for meaning in MEANINGS[protocol].values()}
        assert set(values) == set(MEANINGS[protocol]) | (thresholds & set(values))


def test_every_line_says_protocol_split_iou_and_score() -> None:
    lines = rows()
    assert len(lines) == sum(map(len, MEANINGS.values()))
    for (protocol, _), row in lines.items():
        assert row[:2] == (protocol, "val")
        assert row[2]
        assert row[3].startswith(">= ")


def test_lines_of_each_kind() -> None:
    lines = rows()
    all_scores = ("coco", "val", ".50", ">= 0.02", "AP50", "1.0000", "1.0000 to 1.0000")
    assert lines["coco", "AP50"] == all_scores
    operating = ("scut", "val", ".50", ">= 0.2500*", "F1", "1.0000", "1.0000 to 1.0000")
    assert lines["scut", "F1"] == operating
    assert lines["scut", "F1, at its best score"][3] == ">= 0.9000"
    assert lines["headhunter", "MODA, mean of pictures"][2] == ".20"
    assert lines["counting", "MAE, heads a picture"][5:] == ("0.0000", "0.0000 to 0.0000")
    # A head of 10 px: there are none of the other sizes.
    assert lines["coco", "recall, heads 8-16 px"][5] == "1.0000"
    assert lines["coco", "recall, heads over 96 px"][5] == "-"


def test_the_lowest_score_may_not_be_known() -> None:
    assert rows(None)["coco", "AP"][3] == ">= any"
