"""What a reader repairs or ignores is counted."""

from pathlib import Path

import numpy as np
import numpy.testing as npt

from head_detection.data.annotations import build_truth, find_problems
from head_detection.data.formats.collector import NO_HEADS, Collector
from head_detection.structures import GroundTruth


def test_boxes_outside_are_kept_and_counted() -> None:
    collector = Collector()
    boxes = [(-1, 0, 9, 9), (-5, 0, 9, 9), (0, 0, 9, 99)]
    collector.add(Path("a"), "a", build_truth([(box, False) for box in boxes]), (30, 40))
    collector.add(Path("b"), "b", build_truth([((0, 0, 999, 9), False)]), None)
    annotated = collector.finish("mine")
    assert annotated.notes == ("boxes that reach outside their picture, kept: 2",)
    assert annotated.num_heads == 4


def test_empty_boxes_stay_or_go() -> None:
    rows = [((1.0, 1.0, 1.0, 9.0), False), ((1.0, 1.0, 2.0, 2.0), True)]
    keeper = Collector()
    keeper.add(Path("a"), "a", build_truth(rows))
    assert keeper.finish("mine").notes == ("regions to ignore: 1",)
    leaver = Collector(leaves_out_empty=True)
    leaver.add(Path("a"), "a", build_truth(rows))
    annotated = leaver.finish("mine")
    left_out = ("boxes without area, left out: 1", "regions to ignore: 1")
    assert annotated.notes == (f"{NO_HEADS}: 1", *left_out)
    npt.assert_array_equal(annotated.images[0].truth.boxes, [[1, 1, 2, 2]])


def test_distractors_are_no_regions_and_survive() -> None:
    flags = np.array([True, False, True])
    boxes = np.array([[0, 0, 5, 5], [0, 0, 0, 0], [1, 1, 1, 1]], np.float32)
    collector = Collector(leaves_out_empty=True)
    collector.add(Path("a"), "a", GroundTruth(boxes, flags, flags.copy()))
    (image,) = collector.finish("mine").images
    npt.assert_array_equal(image.truth.distractor, [True])


def test_names_that_come_again() -> None:
    collector = Collector()
    for name in ("a/1.jpg", "b/1.jpg", "a/1.jpg"):
        collector.add(Path(name), name, build_truth([]))
    annotated = collector.finish("mine")
    again = "pictures under a name that is there already, kept: 1"
    assert annotated.notes == (f"{NO_HEADS}: 3", again)
    assert len(annotated) == 3


def test_boxes_that_may_reach_outside_are_no_problem(tmp_path: Path, picture: object) -> None:
    assert callable(picture)
    path = picture("a.png")
    for may, expected in ((True, 0), (False, 1)):
        collector = Collector(boxes_may_reach_outside=may)
        collector.add(path, "a.png", build_truth([((-9, 0, 9, 9), False)]))
        assert len(find_problems([collector.finish("mine")])) == expected
