import math

import numpy as np
import pytest

from head_detection.evaluation.matching import Overlap
from head_detection.evaluation.motchallenge import (
    FrameCounts,
    frame_as_headhunter,
    frame_as_motchallenge,
    mean_accuracy,
    pooled_accuracy,
)
from head_detection.structures import Detections, GroundTruth

SIZE = (100, 100)
HEAD, NEXT, FAR = [0, 0, 10, 10], [20, 0, 30, 10], [60, 60, 70, 70]


def overlap_of(found, heads, regions=(), distractors=()):
    boxes = np.array([*heads, *regions, *distractors], np.float32).reshape(-1, 4)
    is_ignored = np.arange(len(boxes)) >= len(heads)
    is_distractor = np.arange(len(boxes)) >= len(heads) + len(regions)
    scores = np.linspace(0.9, 0.5, len(found))
    return Overlap(
        Detections.from_arrays(found, scores, SIZE), GroundTruth(boxes, is_ignored, is_distractor)
    )


def test_by_hand():
    # One found with IoU .8, one missed, one false.
    frame = frame_as_motchallenge(overlap_of([[0, 0, 10, 8], FAR], [HEAD, NEXT]))
    assert frame == FrameCounts(2, num_missed=1, num_false=1, matched_iou=pytest.approx(0.8))
    assert pooled_accuracy([frame]) == (0.0, pytest.approx(0.8))


def test_more_pairs_go_before_better_pairs():
    # The first detection is head 0 itself; a second one can only have head 0.
    heads, found = [HEAD, [0, 3, 10, 13]], [HEAD, [0, -3, 10, 7]]
    frame = frame_as_motchallenge(overlap_of(found, heads))
    assert (frame.num_missed, frame.num_false) == (0, 0)
    assert frame.matched_iou == pytest.approx(2 * 7 / 13)
    # Greedy by score gives head 0 to the first, as HeadHunter did, and the other gets IoU 4/16.
    frame = frame_as_headhunter(overlap_of(found, heads))
    assert frame.matched_iou == pytest.approx(1 + 4 / 16)


def test_at_the_iou_threshold_a_pair_matches():
    half = overlap_of([[0, 0, 10, 5]], [HEAD])
    assert frame_as_motchallenge(half).num_missed == 0
    less = overlap_of([[0, 0, 10, 4.9]], [HEAD])
    assert frame_as_motchallenge(less).num_missed == 1
    assert frame_as_headhunter(less).num_missed == 0


def test_a_detection_on_a_thing_of_another_class_is_removed_first():
    # IoU .4 with the distractor: removed. Below: a false alarm, even inside it.
    removed = frame_as_motchallenge(overlap_of([[60, 60, 70, 64]], [HEAD], distractors=[FAR]))
    assert (removed.num_false, removed.num_removed) == (0, 1)
    small = frame_as_motchallenge(overlap_of([[60, 60, 70, 63]], [HEAD], distractors=[FAR]))
    assert (small.num_false, small.num_removed) == (1, 0)


def test_a_distractor_takes_one_detection():
    frame = frame_as_motchallenge(overlap_of([FAR, FAR], [HEAD], distractors=[FAR]))
    assert (frame.num_false, frame.num_removed) == (1, 1)


def test_a_head_keeps_its_detection_from_a_distractor_behind_it():
    frame = frame_as_motchallenge(overlap_of([HEAD], [HEAD], distractors=[[0, 2, 10, 12]]))
    assert (frame.num_missed, frame.num_removed) == (0, 0)


def test_ignore_regions_take_what_is_left_over():
    region = [50, 50, 90, 90]
    overlap = overlap_of([HEAD, FAR, FAR], [HEAD], regions=[region])
    for frame in (frame_as_motchallenge(overlap), frame_as_headhunter(overlap)):
        assert (frame.num_missed, frame.num_false, frame.num_ignored) == (0, 0, 2)


def test_pooling_and_means_differ():
    # 9 of 10 in one frame, 0 of 1 in the other; .8 and nothing matched.
    frames = [FrameCounts(10, 1, 0, 7.2), FrameCounts(1, 1, 1, 0.0)]
    assert pooled_accuracy(frames) == (pytest.approx(1 - 3 / 11), pytest.approx(0.8))
    assert mean_accuracy(frames) == (pytest.approx((0.9 - 1) / 2), pytest.approx(0.8))


def test_a_frame_without_heads_adds_its_false_alarms_and_has_no_moda_of_its_own():
    frames = [FrameCounts(4, 0, 0, 4.0), FrameCounts(0, 0, 2, 0.0)]
    assert pooled_accuracy(frames)[0] == 0.5
    assert mean_accuracy(frames)[0] == 1.0


@pytest.mark.parametrize("frames", [[], [FrameCounts(0, 0, 0, 0.0)], [FrameCounts(0, 0, 3, 0.0)]])
def test_nothing_to_find_is_nan(frames):
    assert all(math.isnan(value) for value in pooled_accuracy(frames))
    assert all(math.isnan(value) for value in mean_accuracy(frames))


def test_no_detections_and_no_heads():
    assert frame_as_motchallenge(overlap_of([], [HEAD])) == FrameCounts(1, 1, 0, 0.0)
    assert frame_as_motchallenge(overlap_of([], [])) == FrameCounts(0, 0, 0, 0.0)
    assert frame_as_headhunter(overlap_of([HEAD], [])) == FrameCounts(0, 0, 1, 0.0)
