"""Made sequences: heads are where they were sent, hide where something covers them, and return."""

import numpy as np
import pytest

from head_detection.data.sequences import (
    HeadSequence,
    WalkingHead,
    crossing_heads,
    door_scene,
)


def level_walk(size: float, y: float) -> WalkingHead:
    """Ten pixels a second to the right, for ten seconds."""
    return WalkingHead(size, (0.0, 10.0), ((0.0, y), (100.0, y)))


def centers_of(sequence: HeadSequence, head_id: int) -> list[list[float]]:
    return [
        ((truth.boxes[:, :2] + truth.boxes[:, 2:]) / 2)[truth.ids == head_id][0].tolist()
        for truth in sequence.truths()
    ]


def test_heads_walk_as_told_at_any_rate() -> None:
    sequence = HeadSequence((level_walk(10, 50),), (100, 200), fps=1, duration=8)
    assert centers_of(sequence, 1)[2:4] == [[20, 50], [30, 50]]
    assert len(sequence) == 8
    assert centers_of(sequence.at_fps(5), 1)[10:16:5] == [[20, 50], [30, 50]]
    box = sequence.truth(4).boxes[0]
    assert np.sqrt((box[2] - box[0]) * (box[3] - box[1])) == pytest.approx(10, abs=1e-4)


def test_the_later_head_covers_the_earlier_and_hides_it() -> None:
    heads = (level_walk(10, 50), WalkingHead(20, (0.0, 8.0), ((50.0, 50.0), (50.0, 50.0))))
    sequence = HeadSequence(heads, (100, 200), fps=1, duration=9)
    shown = [truth.ids.tolist() for truth in sequence.truths()]
    # The nearer one is 17 pixels wide: at 50 +- 10 the other, 8.5 wide, is half covered; at 50 all.
    assert shown == [[1, 2]] * 5 + [[2]] + [[1, 2]] * 3
    assert sequence.truth(4).visibility[0] == pytest.approx(0.67, abs=0.02)
    assert sequence.truth(0).visibility.tolist() == [1, 1]


def test_walls_hide_and_edges_end() -> None:
    sequence = HeadSequence((level_walk(10, 50),), (100, 70), 1, 10, walls=((20, 40, 60, 60),))
    shown = [truth.ids.tolist() for truth in sequence.truths()]
    assert shown == [[1], [1], [1], [], [], [], [1], [], [], []]
    assert sequence.truth(0).boxes[0, 0] == 0  # cut at the edge
    assert len(HeadSequence((), (10, 10), 1, 1).truth(0).ids) == 0


def test_the_door_tells_its_story() -> None:
    crossings = []
    was_right: dict[int, bool] = {}
    for truth in door_scene().truths():
        middles = (truth.boxes[:, 0] + truth.boxes[:, 2]) / 2
        for head_id, is_right in zip(truth.ids.tolist(), (middles > 160).tolist(), strict=True):
            if was_right.get(head_id, is_right) != is_right:
                crossings.append((head_id, is_right))
            was_right[head_id] = is_right
    rightwards, leftwards = True, False
    assert sorted(crossings) == [
        (1, rightwards), (2, rightwards), (3, leftwards), (4, leftwards), (4, rightwards),
        (5, rightwards),
    ]  # fmt: skip


def test_frames_show_the_heads() -> None:
    frames = list(door_scene(fps=2).frames())
    assert [frame.seconds for frame in frames[:3]] == [0, 0.5, 1]
    empty, first = frames[0].pixels, frames[1].pixels
    assert empty is not None
    assert first is not None
    changed = (first != empty).any(axis=2)
    x1, y1, x2, y2 = door_scene(fps=2).truth(1).boxes[0].astype(int)
    assert changed[y1:y2, x1:x2].mean() > 0.8
    assert not changed[:, 150:200].any()  # nobody is in the middle yet
    assert (empty[140:150, 60:100] == empty[150, 60]).all(), "a wall"


def test_a_crowd_stays_as_large() -> None:
    sequence = crossing_heads(20, (540, 960), fps=5, duration=10, seed=3)
    numbers = [len(truth.ids) for truth in sequence.truths()]
    assert 16 <= min(numbers) <= max(numbers) <= 20  # some are hidden
    everybody = {head_id for truth in sequence.truths() for head_id in truth.ids.tolist()}
    assert len(everybody) > 25, "some leave, others come"
    again = crossing_heads(20, (540, 960), fps=5, duration=10, seed=3)
    assert again == sequence


def test_points_need_a_time_each() -> None:
    with pytest.raises(ValueError, match="as many points as rising seconds"):
        WalkingHead(10, (1.0, 0.0), ((0, 0), (1, 1)))
