"""Heads on frames that nobody found them on, by numbers worked out by hand."""

import numpy as np
import pytest

from head_detection.results.gap_filler import (
    BRIDGE_SECONDS,
    REACH,
    CoveredFrame,
    GapFiller,
    _first_of_both,
    _near,
)
from head_detection.structures import Detections

SIZE = (100, 1000)
Box = tuple[float, float, float, float]


def square(left: float, side: float = 10, top: float = 40) -> Box:
    return (left, top, left + side, top + side)


def run(
    frames: list[list[Box]],
    *,
    fps: float = 10,
    scores: list[list[float]] | None = None,
    ids: list[list[int]] | None = None,
    bridge_seconds: float = BRIDGE_SECONDS,
) -> list[CoveredFrame]:
    """Fill the gaps of frames; heads score .9 unless stated, and .5 counts."""
    filler, covered = GapFiller(0.5, bridge_seconds), []
    for number, boxes in enumerate(frames):
        own = [0.9] * len(boxes) if scores is None else scores[number]
        array = np.array(boxes, np.float32).reshape(-1, 4)
        given = None if ids is None else np.array(ids[number], np.int64)
        filler.add(
            number / fps, Detections(array, np.array(own, np.float32).reshape(-1), SIZE, given)
        )
        covered += filler.ready()
    covered += filler.rest()
    assert [frame.seconds for frame in covered] == [n / fps for n in range(len(frames))]
    return covered


def is_hidden(frame: CoveredFrame, box: Box) -> bool:
    x1, y1, x2, y2 = box
    within = (frame.boxes[:, :2] <= (x1, y1)) & (frame.boxes[:, 2:] >= (x2, y2))
    return bool(within.all(axis=1).any())


@pytest.mark.parametrize("step", [3, 14, -14])
@pytest.mark.parametrize("has_ids", [True, False])
def test_a_moving_head_is_hidden_where_the_detector_was_blind(step: int, has_ids: bool) -> None:
    """The steps are shorter and longer than the head: 14 pixels a frame, of a head of 10."""
    way = [square(500 + step * n) for n in range(20)]
    blind = (10, 11, 12)
    frames = [[] if n in blind else [box] for n, box in enumerate(way)]
    covered = run(frames, ids=[[7] * len(boxes) for boxes in frames] if has_ids else None)
    for n in blind:
        assert is_hidden(covered[n], way[n]), n
        assert covered[n].is_missing_in(covered[n].between)
    assert not covered[5].between + covered[5].around


def test_two_heads_that_pass_each_other_are_both_hidden() -> None:
    ways = [[square(100 + 5 * n, top=10), square(200 - 5 * n, top=24)] for n in range(20)]
    frames = [[] if n in (9, 10) else boxes for n, boxes in enumerate(ways)]
    covered = run(frames)
    for n in (9, 10):
        assert all(is_hidden(covered[n], box) for box in ways[n])


def test_a_head_is_held_before_it_is_found_and_after() -> None:
    """At 10 frames a second, half a second is 5 frames; it stands still."""
    frames = [[square(50)] if 8 <= n < 12 else [] for n in range(22)]
    covered = run(frames)
    hidden = [n for n, frame in enumerate(covered) if is_hidden(frame, square(50))]
    assert hidden == list(range(3, 17))


def test_a_head_that_comes_and_goes_is_held_along_its_way() -> None:
    way = [square(100 + 5 * n) for n in range(20)]
    covered = run([[way[n]] if 8 <= n < 12 else [] for n in range(20)])
    hidden = [n for n, frame in enumerate(covered) if is_hidden(frame, way[n])]
    assert hidden == list(range(3, 17))


def test_less_likely_heads_are_hidden_where_they_are_and_not_held() -> None:
    frames = [[square(50)] if n in (8, 10) else [] for n in range(20)]
    scores = [[0.1] * len(boxes) for boxes in frames]
    hidden = [n for n, frame in enumerate(run(frames, scores=scores)) if len(frame.boxes)]
    assert hidden == [8, 9, 10]
    scores[10] = [0.8]  # one that counts at last was one before
    hidden = [n for n, frame in enumerate(run(frames, scores=scores)) if len(frame.boxes)]
    assert hidden == list(range(3, 16))


def test_a_head_that_is_away_for_long_is_two() -> None:
    frames = [[square(50)] if n in (0, 40) else [] for n in range(41)]
    hidden = [n for n, frame in enumerate(run(frames)) if len(frame.boxes)]
    assert hidden == [*range(6), *range(35, 41)]


def test_a_head_that_stays_is_hidden_through_a_long_gap_of_a_file() -> None:
    """8 seconds; it sways by 2 pixels, and another one walks by and is gone."""
    seen = (0, 1, 2, 82, 83)
    still = [square(50 + (n > 40) * 2) for n in range(84)]
    frames = [[still[n], square(400 + 30 * n)] if n < 3 else [still[n]] for n in range(84)]
    frames = [boxes if n in seen else [] for n, boxes in enumerate(frames)]
    covered = run(frames, bridge_seconds=10)
    assert all(is_hidden(covered[n], still[n]) for n in range(84))
    assert all((covered[n].boxes[:, 0] < 100).all() for n in range(10, 77))


def test_a_head_with_an_id_is_hidden_through_a_long_gap_of_a_file() -> None:
    """It walks 1 pixel a frame, and was away for 5 seconds."""
    way = [square(50 + n) for n in range(70)]
    frames = [[] if 10 <= n < 60 else [box] for n, box in enumerate(way)]
    covered = run(frames, ids=[[3] * len(boxes) for boxes in frames], bridge_seconds=10)
    assert all(is_hidden(covered[n], way[n]) for n in range(70))
    covered = run(frames, ids=[[3] * len(boxes) for boxes in frames])
    assert not covered[35].boxes.size  # a camera's frames do not wait so long


def test_unlike_heads_are_not_taken_for_one() -> None:
    covered = run([[square(50)], [], [square(46, 30, 36)]])
    assert not covered[1].between


def test_a_clock_that_is_set_back_forgets() -> None:
    filler = GapFiller(0.5)
    head = Detections.from_arrays([square(50)], [0.9], SIZE)
    for seconds in (5.0, 5.1, 0.0):
        filler.add(seconds, head)
    assert [frame.seconds for frame in filler.ready()] == [5.0, 5.1]
    (last,) = filler.rest()
    assert last.boxes.tolist() == [[*square(50)]]


def test_of_a_crowd_the_nearest_are_the_same_head_first() -> None:
    """As if all pairs were looked at, one after the other: heads of 8 to 30 pixels, some gone."""
    rng = np.random.default_rng(7)
    for _ in range(20):
        centres, sides = rng.uniform(0, 300, (60, 2)), rng.uniform(8, 30, 60)
        before = np.concatenate([centres - sides[:, None] / 2, centres + sides[:, None] / 2], 1)
        after = (before + rng.normal(0, 8, (60, 4)))[rng.permutation(60)[:50]].astype(np.float32)
        before = before.astype(np.float32)
        rows, columns, distances = _near(before, after, np.full(60, REACH))
        own, other = (before[:, 2:] - before[:, :2]).max(1), (after[:, 2:] - after[:, :2]).max(1)
        apart = np.linalg.norm(
            (before[:, None, :2] + before[:, None, 2:] - after[:, :2] - after[:, 2:]) / 2, axis=2
        ) / np.maximum(own[:, None], other)
        is_alike = np.maximum(own[:, None], other) <= 2 * np.minimum(own[:, None], other)
        expected = {*zip(*np.nonzero((apart <= REACH) & is_alike), strict=True)}
        assert {*zip(rows.tolist(), columns.tolist(), strict=True)} == expected
        assert distances == pytest.approx(apart[rows, columns], abs=1e-5)

        order = np.argsort(distances, kind="stable")
        left_rows, left_columns, one_by_one = {*range(60)}, {*range(50)}, []
        for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
            is_free = row in left_rows and column in left_columns
            one_by_one.append(is_free)
            if is_free:
                left_rows.remove(row)
                left_columns.remove(column)
        assert _first_of_both(rows[order], columns[order]).tolist() == one_by_one
    assert not len(_first_of_both(np.empty(0, np.int64), np.empty(0, np.int64)))


def test_memory_does_not_grow() -> None:
    filler = GapFiller(0.5)
    for number in range(3000):
        filler.add(number / 25, Detections.from_arrays([square(number % 900)], [0.9], SIZE))
        assert sum(1 for _ in filler.ready()) <= 2
    assert len(filler._frames) <= 52
    assert len(filler._heads) <= 52
