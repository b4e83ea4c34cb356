"""Heads keep their ids: at any frame rate, through misses, apart by video, in bounded memory."""

import sys
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from head_detection.config import TRACKERS, TrackingConfig
from head_detection.data.sequences import HeadSequence, WalkingHead, door_scene
from head_detection.data.simulated_detections import DetectorNoise, SimulatedDetector
from head_detection.errors import MissingPackageError
from head_detection.pipeline.tracking import MOST_SOURCES, HeadTracker, TrackingSettings
from head_detection.structures import Detections, Frame, Sighting

SIZE = (480, 640)
PERFECT = DetectorNoise(score=0.9, score_spread=0, hidden_loss=0, jitter=0, false_alarms=0)
every_tracker = pytest.mark.parametrize("name", TRACKERS)


def found_at(*left_tops: tuple[float, float], side: float = 12, score: float = 0.9) -> Detections:
    boxes = [[x, y, x + side, y + side] for x, y in left_tops]
    return Detections.from_arrays(boxes, [score] * len(boxes), SIZE)


def ids_of(
    tracker: HeadTracker,
    seconds: Sequence[float | None],
    found: Sequence[Detections],
    name: str = "a.mp4",
) -> list[list[int]]:
    ids = []
    for index, (time_, one) in enumerate(zip(seconds, found, strict=True)):
        followed = tracker.follow(Frame(name, index, time_), one)
        assert followed.ids is not None
        ids.append(followed.ids.tolist())
    return ids


@every_tracker
@pytest.mark.parametrize("fps", [5, 10, 30])
def test_tiny_heads_that_move_more_than_their_size(name: str, fps: int) -> None:
    # 12 px squares, 14 px a frame: not once does one overlap where it was. Two, 60 px apart.
    found = [found_at((14 * k, 100), (500 - 14 * k, 160)) for k in range(12)]
    ids = ids_of(HeadTracker(name), [k / fps for k in range(12)], found)
    assert all(sorted(pair) == [1, 2] for pair in ids[2:]), ids
    assert all(pair == ids[2] for pair in ids[3:])


@every_tracker
def test_frame_rates_give_the_same_ids(name: str) -> None:
    walks = (
        WalkingHead(20, (0.0, 3.0), ((20, 100), (320, 140))),
        WalkingHead(20, (0.0, 3.0), ((320, 150), (20, 130))),
        WalkingHead(20, (0.0, 3.0), ((100, 400), (200, 420))),
    )
    for fps in (5, 10, 30):
        sequence = HeadSequence(walks, SIZE, fps, 3)
        tracker = HeadTracker(name)
        held: dict[int, set[int]] = {}
        found = SimulatedDetector(sequence, PERFECT).detections()
        for truth, one in zip(sequence.truths(), found, strict=True):
            ids = tracker.follow(Frame("a", truth.index, truth.seconds), one).ids
            assert ids is not None
            for true_id, given in zip(truth.ids.tolist(), ids.tolist(), strict=True):
                held.setdefault(true_id, set()).add(given)
        held = {key: given - {-1} for key, given in held.items()}
        assert sorted(held.values()) == [{1}, {2}, {3}], fps


@every_tracker
def test_ids_outlive_a_miss_and_a_second_video_starts_anew(name: str) -> None:
    tracker = HeadTracker(name)
    here, nothing = found_at((100, 100)), found_at()
    seconds = [0.0, 0.1, 0.2, 0.3]
    assert ids_of(tracker, seconds, [here, here, nothing, here]) == [[1], [1], [], [1]]
    assert ids_of(tracker, seconds, [here, here, here, here], "b.mp4") == [[1], [1], [1], [1]]
    # Interleaved, as cameras are.
    for index in range(4, 8):
        for camera in ("a.mp4", "b.mp4", "c.mp4"):
            ids = tracker.follow(Frame(camera, index, index / 10), here).ids
            assert ids is not None
            assert ids.tolist() == [1]


@every_tracker
def test_heads_of_the_first_frame_have_ids_at_once_and_later_flickers_none(name: str) -> None:
    for number in (2, 3):
        tracker = HeadTracker(name, TrackingSettings(min_detections=number))
        found = [
            found_at((100, 100), (300, 300)),
            *[
                found_at((100, 100), (300, 300), place)
                for place in ((20, 400), (600, 20), (20, 20))
            ],
        ]
        ids = ids_of(tracker, [k / 5 for k in range(4)], found)
        assert ids == [[1, 2], *[[1, 2, -1]] * 3]
    unlikely = found_at((100, 100), score=0.3)
    assert ids_of(HeadTracker(name), [0.0], [unlikely]) == [[-1]]


@every_tracker
def test_a_head_with_an_id_tells_where_it_was_before(name: str) -> None:
    tracker = HeadTracker(name, TrackingSettings(min_detections=3))
    told = []
    for index in range(5):
        walker = [(100 + 10 * index, 100)] if index else []
        heads = found_at((400, 400), *walker, side=20)
        tracker.follow(Frame("a", index, index / 10), heads)
        told.append(tracker.sightings("a"))
    assert told[:3] == [(), (), ()]
    assert told[4] == ()
    first, second = told[3]
    # The centres of 20 px squares whose left tops are 110 and 120, the second as it was filtered.
    assert first == Sighting(2, 1, 0.1, (120.0, 110.0))
    assert (second.head, second.frame, second.seconds) == (2, 2, 0.2)
    assert second.position == pytest.approx((130, 110), abs=3)
    assert tracker.sightings("b") == ()


@pytest.mark.parametrize("name", ["bytetrack", "cbiou", "botsort"])
def test_an_id_outlives_a_miss_in_the_second_frame(name: str) -> None:
    here, nothing = found_at((100, 100)), found_at()
    assert ids_of(HeadTracker(name), [0.0, 0.1, 0.2], [here, nothing, here]) == [[1], [], [1]]


@every_tracker
def test_no_detection_is_dropped_or_moved(name: str) -> None:
    generator = np.random.default_rng(0)
    tracker = HeadTracker(name)
    for index in range(20):
        corners = generator.uniform(0, 400, (30, 2))
        boxes = np.concatenate([corners, corners + generator.uniform(0, 40, (30, 2))], axis=1)
        found = Detections.from_arrays(boxes, generator.random(30), SIZE)
        followed = tracker.follow(Frame("a", index, index / 10), found)
        assert np.array_equal(followed.boxes, found.boxes)
        assert np.array_equal(followed.scores, found.scores)
        ids = followed.ids
        assert ids is not None
        given = ids[ids != -1]
        assert len(np.unique(given)) == len(given)
        assert (given >= 1).all()
        assert (ids[found.scores < 0.1] == -1).all()


@every_tracker
def test_an_unlikely_head_is_followed_but_starts_no_track(name: str) -> None:
    found = [found_at((100, 100), score=score) for score in (0.9, 0.9, 0.9, 0.3, 0.3)]
    ids = ids_of(HeadTracker(name), [k / 10 for k in range(5)], found)
    if name != "ocsort":  # it goes by likely heads alone
        assert ids[3:] == [[1], [1]]
    unlikely = [found_at((100, 100), score=0.3)] * 5
    assert ids_of(HeadTracker(name), [k / 10 for k in range(5)], unlikely) == [[-1]] * 5


@every_tracker
def test_lost_for_longer_is_somebody_else(name: str) -> None:
    here, nothing = found_at((100, 100)), found_at()
    settings = TrackingSettings(lost_seconds=0.5)
    frames = [here, here, here, nothing, here, here]
    soon = ids_of(HeadTracker(name, settings), [0, 0.1, 0.2, 0.3, 0.6, 0.7], frames)
    late = ids_of(HeadTracker(name, settings), [0, 0.1, 0.2, 0.3, 0.9, 1.0], frames)
    assert soon[-1] == [1]
    assert late[-1] == [2]


@every_tracker
def test_clocks_that_jump_or_stand_do_no_harm(name: str) -> None:
    here = found_at((100, 100))
    seconds = [5.0, 5.1, 5.2, 5.2, 1.0, 1.1, float("nan"), None, 1.2, 1e9]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ids = ids_of(HeadTracker(name), seconds, [here] * 10)
    assert ids[1:9] == [[1]] * 8


@every_tracker
def test_frames_without_heads(name: str) -> None:
    tracker = HeadTracker(name)
    assert ids_of(tracker, [0.0, 0.1, 0.2], [found_at()] * 3) == [[]] * 3
    assert ids_of(tracker, [0.3, 0.4], [found_at((5, 5))] * 2)[1] == [1]


@every_tracker
@pytest.mark.parametrize("gap", [1 / 30, 0.0])
def test_new_heads_without_end_cost_no_more(name: str, gap: float) -> None:
    # A new head in each frame, as long videos bring them; also where the clock stands still.
    tracker = HeadTracker(name)
    held = []
    for index in range(150):
        x, y = (index % 9) * 70, (index // 9 % 7) * 68
        tracker.follow(Frame("a", index, index * gap), found_at((x, y)))
        held.append(len(tracker._followers["a"]._tracker.tracks))
    assert max(held[50:]) <= 32  # of the last second: it is all that a frame costs


def test_the_heads_of_many_videos_are_forgotten() -> None:
    tracker = HeadTracker()
    for number in range(MOST_SOURCES + 10):
        tracker.follow(Frame(f"{number}.mp4", 0, 0.0), found_at((5, 5)))
    assert len(tracker._followers) == MOST_SOURCES


def test_botsort_takes_the_camera_motion_out() -> None:
    # Nobody moves but the camera: by 30 px a frame, to and fro, which no speed foretells.
    generator = np.random.default_rng(1)
    ground = generator.integers(0, 255, (60, 90, 3), np.uint8)
    ground = np.kron(ground, np.ones((10, 10, 1), np.uint8))
    heads = [(300.0 + 25 * k, 200.0) for k in range(6)]
    settings = TrackingSettings(buffer=0, buffer_per_second=0)
    ids: dict[str, list[Any]] = {}
    for name in ("botsort", "bytetrack"):
        tracker = HeadTracker(name, settings)
        for index in range(8):
            shift = 30 * (index % 2)
            pixels = np.ascontiguousarray(ground[:480, shift : shift + 640])
            found = found_at(*((x - shift, y) for x, y in heads))
            followed = tracker.follow(Frame("a", index, index / 10, pixels), found)
            assert followed.ids is not None
            ids.setdefault(name, []).append(followed.ids.tolist())
    assert ids["botsort"][2:] == [[1, 2, 3, 4, 5, 6]] * 6
    assert ids["bytetrack"][7] != ids["bytetrack"][6]


def test_the_door_keeps_its_people_apart() -> None:
    sequence = door_scene()
    tracker = HeadTracker()
    held: dict[int, set[int]] = {}
    for truth, found in zip(
        sequence.truths(), SimulatedDetector(sequence, PERFECT).detections(), strict=True
    ):
        ids = tracker.follow(Frame("door", truth.index, truth.seconds), found).ids
        assert ids is not None
        for true_id, given in zip(truth.ids.tolist(), ids.tolist(), strict=True):
            held.setdefault(true_id, set()).add(given)
    held = {key: given - {-1} for key, given in held.items()}
    assert all(len(held[key]) == 1 for key in (1, 2, 3)), held
    assert len(held[4]) == 2  # away for two seconds


def test_a_config_says_all_of_it() -> None:
    config = TrackingConfig(lost_seconds=2.0, start_score=None, lowest_score=0.2)
    tracker = HeadTracker.from_config(config, "bytetrack", 0.15)
    assert tracker.lowest_score == 0.15
    assert HeadTracker.from_config(config, "bytetrack", 0.4).lowest_score == 0.2
    with pytest.raises(ValueError, match="expected one of bytetrack"):
        HeadTracker("sort")


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'head-detection\[track\]'"):
        HeadTracker()
