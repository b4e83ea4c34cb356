import contextlib
import io
import math

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from head_detection.evaluation.average_precision import (
    COCO_IOU_THRESHOLDS,
    average_precision,
    match_as_coco,
)
from head_detection.evaluation.matching import Overlap
from head_detection.structures import Detections, GroundTruth

HEADS = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], np.float32)
ELSEWHERE = np.array([[60, 60, 70, 70]], np.float32)
SIZE = (100, 100)


def truth_of(boxes, ignore=False):
    return GroundTruth(boxes, np.full(len(boxes), ignore))


def test_by_hand():
    # True, false, true: precision 1 up to recall .5 (51 points), 2/3 up to recall 1 (50 points).
    boxes = np.concatenate([HEADS[:1], ELSEWHERE, HEADS[1:]])
    found = Detections.from_arrays(boxes, [0.9, 0.8, 0.7], SIZE)
    value = average_precision([found], [truth_of(HEADS)])
    assert value == pytest.approx((51 + 50 * 2 / 3) / 101, abs=1e-6)


def test_mean_over_iou_thresholds_by_hand():
    # IoU .72 counts at .50 ... .70: five of the ten thresholds.
    head, loose = np.array([[0, 0, 10, 10]], np.float32), np.array([[0, 0, 10, 7.2]], np.float32)
    found = Detections.from_arrays(loose, [0.9], SIZE)
    value = average_precision([found], [truth_of(head)], COCO_IOU_THRESHOLDS)
    assert value == pytest.approx(0.5, abs=1e-6)


def test_crowds_beyond_a_hundred_heads_count_in_full():
    corners = np.array([(x, y) for x in range(0, 150, 10) for y in range(0, 100, 10)], np.float32)
    boxes = np.concatenate([corners, corners + 8], axis=1)
    found = Detections.from_arrays(boxes, np.linspace(1, 0.1, len(boxes)), (100, 150))
    assert average_precision([found], [truth_of(boxes)]) == pytest.approx(1.0)
    # 100 of the 150: recall .66 is reached at precision 1, 67 points of 101.
    limited = average_precision([found], [truth_of(boxes)], max_detections=100)
    assert limited == pytest.approx(67 / 101, abs=1e-6)


def test_ignore_regions_take_any_number_of_detections():
    region = np.array([[50, 50, 90, 90]], np.float32)
    truth = GroundTruth(np.concatenate([HEADS, region]), np.array([False, False, True]))
    boxes = np.concatenate([ELSEWHERE, ELSEWHERE + 1, HEADS])
    found = Detections.from_arrays(boxes, [0.9, 0.8, 0.7, 0.6], SIZE)
    assert average_precision([found], [truth]) == pytest.approx(1.0)


def test_pictures_without_heads_or_detections_count_their_false_positives():
    empty = truth_of(HEADS[:0])
    false = Detections.from_arrays(ELSEWHERE, [0.9], SIZE)
    right = Detections.from_arrays(HEADS, [0.8, 0.8], SIZE)
    nothing = Detections.empty(SIZE)
    value = average_precision([false, right, nothing], [empty, truth_of(HEADS), empty])
    # One false before two true: precision 2/3 everywhere.
    assert value == pytest.approx(2 / 3, abs=1e-6)


def test_nothing_found_is_zero_and_nothing_to_find_is_nan():
    assert average_precision([Detections.empty(SIZE)], [truth_of(HEADS)]) == 0.0
    assert math.isnan(average_precision([Detections.empty(SIZE)], [truth_of(HEADS[:0])]))
    assert math.isnan(average_precision([], []))


def test_one_picture_too_few_is_refused():
    with pytest.raises(ValueError, match="as many detections as truths: 0, 1"):
        average_precision([], [truth_of(HEADS)])


def test_it_is_silent(capsys):
    average_precision([Detections.from_arrays(HEADS, [0.9, 0.8], SIZE)], [truth_of(HEADS)])
    assert capsys.readouterr() == ("", "")


def coco_index(rows, num_pictures):
    index = COCO()
    index.dataset = {
        "images": [{"id": number} for number in range(num_pictures)],
        "categories": [{"id": 1}],
        # An id of 0 would read as "not matched".
        "annotations": [
            {"id": number, "category_id": 1, **row} for number, row in enumerate(rows, 1)
        ],
    }
    index.createIndex()
    return index


def coco_rows(boxes, **columns):
    for number, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
        yield box | {name: column[number] for name, column in columns.items()}


def by_pycocotools(detections, truths, max_detections):
    """Return precision, (10, 101), as pycocotools has it; -1 without heads."""
    heads, found = [], []
    for number, (detection, truth) in enumerate(zip(detections, truths, strict=True)):
        image = [number] * (len(detection) + len(truth.boxes))
        crowd = truth.ignore.astype(int).tolist()
        heads += coco_rows(truth.boxes, iscrowd=crowd, image_id=image)
        found += coco_rows(detection.boxes, score=detection.scores.tolist(), image_id=image)
    with contextlib.redirect_stdout(io.StringIO()):
        sides = [coco_index(rows, len(truths)) for rows in (heads, found)]
        measure = COCOeval(*sides, "bbox")
        measure.params.maxDets = [max_detections]
        measure.params.areaRng, measure.params.areaRngLbl = [[0, 1e10]], ["all"]
        measure.evaluate()
        measure.accumulate()
    return measure.eval["precision"][:, :, 0, 0, 0]


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize(
    "options",
    [{}, {"num_levels": 5}, {"is_grid": True}, {"is_grid": True, "num_levels": 3}],
    ids=["free", "tied scores", "equal overlaps", "both"],
)
def test_equal_to_pycocotools(scene, seed, options):
    detections, truths = scene(seed, num_pictures=6, max_boxes=14, **options)
    max_detections = 5 if seed % 3 == 0 else 1000
    precision = by_pycocotools(detections, truths, max_detections)
    for iou_threshold, row in zip(COCO_IOU_THRESHOLDS, precision, strict=True):
        ours = average_precision(detections, truths, iou_threshold, max_detections)
        assert ours == pytest.approx(row.mean(), abs=1e-12)
    ours = average_precision(detections, truths, COCO_IOU_THRESHOLDS, max_detections)
    assert ours == pytest.approx(precision.mean(), abs=1e-12)


def test_equal_to_pycocotools_on_a_crowd(scene):
    detections, truths = scene(1, num_pictures=3, max_boxes=250)
    precision = by_pycocotools(detections, truths, 1000)
    ours = average_precision(detections, truths, COCO_IOU_THRESHOLDS)
    assert ours == pytest.approx(precision.mean(), abs=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_equal_to_pycocotools_in_float64_where_rounding_decides(seed):
    # Tenths are not exact in binary, and many of these IoUs lie on a threshold.
    generator = np.random.default_rng(seed)
    corners = generator.integers(0, 4, (2, 60, 2)) * 0.1 + 0.1
    boxes = np.concatenate([corners, corners + generator.integers(1, 5, (2, 60, 2)) * 0.1], axis=2)
    scores = np.sort(generator.random(60))[::-1]
    detections = [Detections(boxes[0, n::20], scores[n::20], SIZE) for n in range(20)]
    truths = [GroundTruth(boxes[1, n::20], np.zeros(3, bool)) for n in range(20)]
    precision = by_pycocotools(detections, truths, 1000)
    ours = average_precision(detections, truths, COCO_IOU_THRESHOLDS)
    assert ours == pytest.approx(precision.mean(), abs=1e-12)


def test_all_but_equal_boxes_match_at_every_threshold():
    head = GroundTruth(np.array([[0, 0, 10, 10.0]]), np.array([False]))
    found = Detections(np.array([[0, 0, 10, 10 - 1e-12]]), np.array([0.9]), SIZE)
    assert average_precision([found], [head], 1.0) == pytest.approx(1.0)


def test_thresholds_are_those_of_pycocotools():
    np.testing.assert_array_equal(COCO_IOU_THRESHOLDS, COCOeval(iouType="bbox").params.iouThrs)


def test_of_equal_overlaps_the_last_head_is_taken():
    # The detection covers both heads by half; pycocotools lets the later one replace the first.
    heads = truth_of(np.array([[0, 0, 10, 5], [0, 5, 10, 10]], np.float32))
    found = Detections.from_arrays([[0, 0, 10, 10]], [0.9], SIZE)
    (matching,) = match_as_coco(Overlap(found, heads), [0.5])
    assert matching.found.tolist() == [1]


def test_an_ignore_region_takes_what_is_inside_by_the_iou_threshold():
    # 60 % inside: left out at .5, a false alarm at .75.
    region = truth_of(np.array([[0, 0, 6, 10]], np.float32), ignore=True)
    found = Detections.from_arrays([[0, 0, 10, 10]], [0.9], SIZE)
    matchings = match_as_coco(Overlap(found, region), [0.5, 0.75])
    assert [matching.found.tolist() for matching in matchings] == [[-2], [-1]]


def test_scores_that_rise_are_refused():
    rising = Detections(HEADS, np.array([0.1, 0.2], np.float32), SIZE)
    with pytest.raises(ValueError, match="falling scores"):
        average_precision([rising], [truth_of(HEADS)])
