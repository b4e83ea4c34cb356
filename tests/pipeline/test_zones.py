"""Counting at lines and in zones, on paths worked out by hand."""

import json
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import supervision as sv
from hypothesis import given, settings
from hypothesis import strategies as st

from head_detection.config.zones import load_zones
from head_detection.data.sequences import HeadSequence, door_scene
from head_detection.errors import ConfigError
from head_detection.images.zones import draw_regions
from head_detection.inference.batching import PictureResult
from head_detection.pipeline.crossings import Confirmation
from head_detection.pipeline.run import run_pipeline
from head_detection.pipeline.sources import Item, ItemSource
from head_detection.pipeline.tracking import HeadTracker
from head_detection.pipeline.zones import Region, RegionCounter, build_region_counter
from head_detection.results.formats import Sinks
from head_detection.results.record import Origin, Record
from head_detection.structures import Detections, Event, Frame, Point, RegionCount, Sighting

SIZE = (100, 100)
ACROSS = ((0, 50), (100, 50))
"""A line over the whole width: *in* is up."""
BELOW, ABOVE = (50, 60), (50, 40)
LEFT, RIGHT = ((0, 0), (50, 0), (50, 100), (0, 100)), ((50, 0), (100, 0), (100, 100), (50, 100))


def line(
    points: Sequence[Point], min_frames: int = 1, confirm_seconds: float = 0.0, **more: Any
) -> Region:
    more = {"size": None, "confirmation": Confirmation(min_frames, confirm_seconds), **more}
    return Region(None, "door", tuple(points), **more)


def zone(
    points: Sequence[Point] = LEFT,
    name: str = "hall",
    min_frames: int = 1,
    confirm_seconds: float = 0.0,
    **more: Any,
) -> Region:
    more = {"size": None, "confirmation": Confirmation(min_frames, confirm_seconds), **more}
    return Region(None, name, tuple(points), **more)


def frame(
    number: int,
    heads: Mapping[int, Point],
    *,
    file: str = "a.mp4",
    fps: float = 10,
    size: tuple[int, int] = SIZE,
) -> Record:
    boxes = [(x - 4, y - 6, x + 4, y + 6) for x, y in heads.values()]
    found = Detections.from_arrays(boxes, [0.9] * len(boxes), size, ids=list(heads))
    return Record(number, file, found, seconds=number / fps, source=file)


def walk(
    counter: RegionCounter, *paths: Sequence[Point | None], **more: Any
) -> tuple[list[Record], list[Event]]:
    """Let heads 1, 2 ... go along paths, a place a frame; None: not seen."""
    records = []
    for number in range(max(map(len, paths))):
        places = {
            head: path[number]
            for head, path in enumerate(paths, start=1)
            if number < len(path) and path[number] is not None
        }
        records.append(counter.count(frame(number, places, **more)))
    return records, [event for record in records for event in record.events]


def counts(record: Record) -> list[tuple[int | None, int, int]]:
    assert record.regions is not None
    return [(region.now, region.num_in, region.num_out) for region in record.regions]


def sides(letters: str) -> list[Point | None]:
    places = {"A": BELOW, "B": ABOVE, "0": (50, 50), "-": None}
    return [places[letter] for letter in letters]


@pytest.mark.parametrize(
    ("path", "min_frames", "num_in", "num_out"),
    [
        ("AAABAAA", 2, 0, 0),
        ("AAABAAA" * 3, 2, 0, 0),
        ("AAABBAAA", 2, 1, 1),
        ("AAABBBB", 2, 1, 0),
        ("BBAABBAA", 2, 1, 2),
        ("ABABAB", 1, 3, 2),
        ("ABABAB", 2, 0, 0),
        ("AABABBB", 2, 1, 0),
        ("ABB", 2, 1, 0),  # a step from the border of the picture, then beyond
        ("A0000A", 1, 0, 0),
        ("A00B", 1, 1, 0),
        ("A0B0B", 2, 1, 0),
        ("0BB", 1, 0, 0),
        ("A-B", 1, 1, 0),  # unseen on the line itself
        ("AB-B", 2, 1, 0),
        ("A", 1, 0, 0),
        ("B", 1, 0, 0),
    ],
)
def test_a_side_that_is_sure_counts_and_a_flicker_never(
    path: str, min_frames: int, num_in: int, num_out: int
) -> None:
    records, events = walk(RegionCounter([line(ACROSS, min_frames)]), sides(path))
    assert counts(records[-1]) == [(None, num_in, num_out)]
    directions = [event.direction for event in events if event.kind == "crossing"]
    assert (directions.count("in"), directions.count("out")) == (num_in, num_out)


def test_a_crossing_tells_who_when_and_where_it_was_before_it_was_sure() -> None:
    _, events = walk(RegionCounter([line(ACROSS, 3)]), [], [(20, 60), (22, 40), (23, 38), (24, 37)])
    assert events == [Event("crossing", "door", 2, 1, 0.1, (22, 40), "in")]


def at_rate(fps: float, seconds: float, place_at: Callable[[float], Point]) -> list[Point | None]:
    return [place_at(number / fps) for number in range(round(seconds * fps))]


def swaying(time: float) -> Point:
    """Return a place that is now before the line, now beyond, a tenth of a second each."""
    return ABOVE if int(time * 10 + 1e-6) % 2 else BELOW


@pytest.mark.parametrize("fps", [10, 15, 25, 30, 60])
def test_who_sways_about_a_line_or_a_side_is_not_counted_at_any_rate(fps: float) -> None:
    """For 2 seconds; by frames alone it was 10 in and 9 out at 30 a second."""
    counter = RegionCounter(
        [line(ACROSS, 2, 0.2), zone([(0, 0), (99, 0), (99, 50), (0, 50)], "up", 2, 0.2)]
    )
    records, events = walk(counter, at_rate(fps, 2, swaying), fps=fps)
    assert [count[1:] for count in counts(records[-1])] == [(0, 0), (0, 0)]
    assert events == []


@pytest.mark.parametrize("fps", [2, 5, 10, 25, 30, 60])
def test_each_rate_counts_alike(fps: float) -> None:
    """Up from 1 to 2.5 seconds, seen there for more than .2 seconds at each rate."""
    path = at_rate(fps, 4, lambda time: ABOVE if 1 <= time < 2.5 else BELOW)
    records, events = walk(RegionCounter([line(ACROSS, 2, 0.2)]), path, fps=fps)
    assert counts(records[-1]) == [(None, 1, 1)]
    times = [event.seconds for event in events]
    assert times == pytest.approx([1, 2.5], abs=1 / fps)  # the first frame on the other side


@pytest.mark.parametrize(("fps", "num_frames"), [(1, 2), (5, 2), (10, 3), (25, 6), (30, 7)])
def test_a_crossing_is_sure_after_so_many_frames(fps: float, num_frames: int) -> None:
    """Two frames at least, and .2 seconds, from the first beyond; times are to a millisecond."""
    counter = RegionCounter([line(ACROSS, 2, 0.2)])
    seen = []
    for number, place in enumerate([BELOW, *[ABOVE] * 9]):
        record = frame(number, {1: place}, fps=fps)
        record = counter.count(replace(record, seconds=round(number / fps + 0.0004, 3)))
        seen.append(counts(record)[0][1])
    assert seen.index(1) == num_frames


@pytest.mark.parametrize("angle", range(0, 360, 30))
def test_five_cross_at_once_and_two_come_back_at_any_angle(angle: int) -> None:
    """For each angle the same walk, turned; the other order of the ends swaps in and out."""
    turn = np.array(
        [
            [np.cos(np.radians(angle)), -np.sin(np.radians(angle))],
            [np.sin(np.radians(angle)), np.cos(np.radians(angle))],
        ]
    )

    def turned(points: Iterable[Point]) -> list[Point]:
        return [(float(x), float(y)) for x, y in (np.array(list(points)) - 50) @ turn.T + 50]

    ends = turned([(10, 50), (90, 50)])
    there = [turned([(x, 60), (x, 55), (x, 45), (x, 40)]) for x in (20, 30, 40)]
    back = [turned([(x, 60), (x, 55), (x, 45), (x, 40), (x, 55), (x, 60)]) for x in (60, 70)]
    for points, expected in ((ends, (None, 5, 2)), (ends[::-1], (None, 2, 5))):
        records, events = walk(RegionCounter([line(points, 2)]), *there, *back)
        assert counts(records[-1]) == [expected]
        assert [event.frame for event in events if event.kind == "crossing"] == [2] * 5 + [4] * 2


def test_a_line_ends_where_its_ends_are() -> None:
    short = line([(40, 50), (60, 50)])
    path = [(20, 60), (20, 40), (50, 40), (50, 60)]  # around its end, and back through it
    records, _ = walk(RegionCounter([short]), path)
    assert [counts(record)[0][1:] for record in records] == [(0, 0)] * 3 + [(0, 1)]
    over_the_end, _ = walk(RegionCounter([short]), [(60, 60), (60, 40)])
    assert counts(over_the_end[-1]) == [(None, 1, 0)]


def test_a_line_near_the_border_of_the_picture_counts() -> None:
    top = line([(0, 10), (100, 10)], 2)
    records, _ = walk(RegionCounter([top]), [(50, 20), (50, 14), (50, 8), (50, 4)])
    assert counts(records[-1]) == [(None, 1, 0)]
    records, _ = walk(RegionCounter([top]), [(50, 6), (50, 14), (50, 20)])
    assert counts(records[-1]) == [(None, 0, 1)]


def test_who_is_first_seen_beyond_is_told_and_not_counted() -> None:
    counter = RegionCounter([line([(40, 50), (60, 50)])])
    _, events = walk(counter, [(50, 40)], [(50, 60)], [(90, 40)])  # the last is beside its end
    assert events == [Event("appearance", "door", 1, 0, 0.0, (50, 40))]
    assert counter.summary() == ["door: 0 in, 0 out; 1 first seen on the in side"]


def test_the_drawn_arrow_points_to_where_in_is() -> None:
    ends = ((30, 70), (60, 30))
    inward = RegionCount("door", ends).inward
    middle = np.mean(ends, axis=0)
    path = [tuple(middle - np.array(inward) / 4), tuple(middle + np.array(inward) / 4)]
    records, _ = walk(RegionCounter([line(ends)]), path)
    assert counts(records[-1]) == [(None, 1, 0)]


WHOLE = st.integers(0, 12)
PLACES = st.tuples(WHOLE, WHOLE)


@settings(max_examples=40)
@given(
    ends=st.tuples(PLACES, PLACES).filter(lambda ends: ends[0] != ends[1]),
    path=st.lists(PLACES, min_size=1, max_size=12),
    min_frames=st.integers(1, 3),
)
def test_the_other_order_of_the_ends_swaps_in_and_out(
    ends: tuple[Point, Point], path: list[Point | None], min_frames: int
) -> None:
    one, _ = walk(RegionCounter([line(ends, min_frames)]), path)
    other, _ = walk(RegionCounter([line(ends[::-1], min_frames)]), path)
    for first, second in zip(one, other, strict=True):
        assert counts(first)[0][1:] == counts(second)[0][:0:-1]


@settings(max_examples=40)
@given(heights=st.lists(st.integers(0, 100), min_size=1, max_size=30))
def test_crossings_of_a_line_over_the_whole_picture_are_the_changes_of_sign(
    heights: list[int],
) -> None:
    records, _ = walk(RegionCounter([line(ACROSS)]), [(50, y) for y in heights])
    signs = [y < 50 for y in heights if y != 50]
    changes = sum(a != b for a, b in pairwise(signs))
    assert sum(counts(records[-1])[0][1:]) == changes


@settings(max_examples=40)
@given(path=st.lists(st.tuples(st.integers(0, 100), st.sampled_from((45, 55))), max_size=20))
def test_supervision_counts_the_same_in_the_middle_of_a_line(path: list[Point]) -> None:
    """Its own faults are elsewhere: beyond the ends, and before a side is sure."""
    theirs = sv.LineZone(sv.Point(-50, 50), sv.Point(150, 50), [sv.Position.CENTER])
    ours = RegionCounter([line(((-50, 50), (150, 50)), size=SIZE)])
    for number, (x, y) in enumerate(path):
        box = np.array([[x - 2, y - 2, x + 2, y + 2]], float)
        theirs.trigger(sv.Detections(box, tracker_id=np.array([1])))
        record = ours.count(frame(number, {1: (x, y)}))
        assert counts(record) == [(None, theirs.in_count, theirs.out_count)]


def test_a_head_on_the_border_of_two_zones_is_in_one() -> None:
    counter = RegionCounter([zone(LEFT, "left"), zone(RIGHT, "right")])
    record = counter.count(frame(0, {1: (50, 30), 2: (50, 0), 3: (49.5, 30)}))
    assert record.zones == {"left": 1, "right": 2}
    assert counter.count(frame(1, {})).zones == {"left": 0, "right": 0}


@settings(max_examples=40)
@given(
    corner=st.tuples(st.integers(1, 11), st.integers(1, 11)),
    place=st.tuples(st.integers(0, 47), st.integers(0, 47)),
)
def test_of_four_zones_around_a_corner_each_place_is_in_one(corner: Point, place: Point) -> None:
    """Slanted sides too: the middle of the picture is anywhere."""
    x, y = corner
    rim = [(0, 0), (12, 0), (12, 12), (0, 12)]
    zones = [
        zone([rim[n], rim[(n + 1) % 4], (x, y)][:: 1 if n % 2 else -1], str(n)) for n in range(4)
    ]
    record = RegionCounter(zones).count(frame(0, {1: (place[0] / 4, place[1] / 4)}))
    assert record.zones is not None
    assert sum(record.zones.values()) == 1


def test_heads_are_counted_in_zones_without_ids_and_in_pictures() -> None:
    counter = RegionCounter([zone(size=SIZE), line(ACROSS, size=SIZE)])
    found = Detections.from_arrays([(8, 8, 12, 12), (60, 8, 64, 12)], [0.9, 0.8], SIZE)
    picture = counter.count(Record(0, "a.jpg", found))
    assert (picture.zones, picture.events) == ({"hall": 1}, ())
    assert counter.count(Record(0, "b.jpg", Detections.empty((50, 50)))).zones == {"hall": 0}
    assert counter.count(Record(0, "a.mp4", found, seconds=0.0)).zones == {"hall": 1}


def test_a_stay_is_from_the_first_frame_inside_to_the_first_outside() -> None:
    inside, outside = (20.0, 50.0), (80.0, 50.0)
    counter = RegionCounter([zone(min_frames=2)])
    path = [outside] * 2 + [inside] * 5 + [outside] * 3
    records, events = walk(counter, path, [None, None, inside, None, *[inside] * 6])
    assert [counts(record)[0] for record in records] == [
        (0, 0, 0), (0, 0, 0), (2, 0, 0), (1, 1, 0), (2, 2, 0), (2, 2, 0), (2, 2, 0),
        (1, 2, 0), (1, 2, 1), (1, 2, 1),
    ]  # fmt: skip
    assert events == [
        Event("entry", "hall", 1, 2, 0.2, inside),
        Event("entry", "hall", 2, 2, 0.2, inside),
        Event("exit", "hall", 1, 7, 0.7, outside, dwell=0.5),
    ]
    # The second is still there: .2 to .9 s.
    assert counter.summary() == ["hall: 1 now, 2 in, 1 out; stayed 0.6 s on average, 0.7 s at most"]


def test_a_stay_that_is_too_short_and_a_flicker_do_not_count() -> None:
    inside, outside = (20.0, 50.0), (80.0, 50.0)
    counter = RegionCounter([zone(min_frames=2, min_seconds=0.4)])
    short = [outside, *[inside] * 4, *[outside] * 3]
    flicker = [inside, outside] * 4
    gap = [*[inside] * 3, outside, *[inside] * 4]
    records, events = walk(counter, short, flicker, gap)
    assert counts(records[-1]) == [(1, 1, 0)]
    assert [(event.kind, event.head) for event in events] == [("entry", 3)]


def test_who_is_seen_no_more_left_when_last_seen() -> None:
    counter = RegionCounter([zone(), line(ACROSS)], forget_seconds=1.0)
    _, events = walk(counter, [(20, 60)] * 4 + [None] * 20)
    exits = [event for event in events if event.kind == "exit"]
    assert exits == [Event("exit", "hall", 1, 3, 0.3, (20, 60), dwell=0.3, is_lost=True)]


def test_a_stay_whose_end_is_not_known_yet_is_as_long_as_the_head_was_seen() -> None:
    counter = RegionCounter([zone()])
    walk(counter, [(20, 60)] * 4 + [None] * 50, [None] * 53 + [(20, 60)])  # seen from 0 to .3 s
    stayed = "stayed 0.1 s on average, 0.3 s at most"  # .3 and, at 5.3 s for the first time, 0
    assert counter.summary() == [f"hall: 1 now, 2 in, 0 out; {stayed}"]


def test_a_head_is_counted_from_where_it_was_before_it_had_an_id() -> None:
    counter = RegionCounter([line(ACROSS, 2), zone(min_frames=2)])
    before = Sighting(1, 0, 0.0, (20, 60))
    record = frame(1, {1: (20, 40)})
    events = [*counter.count(replace(record, sightings=(before,))).events]
    events += counter.count(frame(2, {1: (20, 30)})).events
    assert events == [
        Event("entry", "hall", 1, 0, 0.0, (20, 60)),
        Event("crossing", "door", 1, 1, 0.1, (20, 40), "in"),
    ]


def test_where_a_head_was_in_a_picture_of_another_size_is_not_known() -> None:
    counter = RegionCounter([line(ACROSS, 1)])
    counter.count(frame(0, {}))
    record = replace(
        frame(1, {1: (20, 40)}, size=(100, 200)), sightings=(Sighting(1, 0, 0.0, (20, 60)),)
    )
    assert counter.count(record).events == (Event("appearance", "door", 1, 1, 0.1, (20, 40)),)


def test_sources_are_counted_apart_and_summed() -> None:
    counter = RegionCounter([line(ACROSS)])
    for number, place in enumerate([BELOW, ABOVE, BELOW]):
        counter.count(frame(number, {1: place}, file="a.mp4"))
        record = counter.count(frame(number, {1: BELOW if number else ABOVE}, file="b.mp4"))
    assert counts(record) == [(None, 0, 1)]
    assert counter.summary() == [
        "a.mp4: door: 1 in, 1 out",
        "b.mp4: door: 0 in, 1 out; 1 first seen on the in side",
        "all sources: door: 1 in, 2 out; 1 first seen on the in side",
    ]


def test_a_picture_that_changes_its_size_keeps_its_counts() -> None:
    counter = RegionCounter([Region(None, "door", ((0, 0.5), (1, 0.5))), zone(LEFT, size=SIZE)])
    walk(counter, [(20, 60), (20, 40)])
    record = counter.count(frame(2, {1: (20, 60)}, size=(200, 200)))  # 60 is above the line now
    assert counts(record) == [(None, 1, 0), (1, 2, 1)]
    assert record.regions is not None
    assert record.regions[0].points == ((0, 100), (200, 100))


def test_time_that_goes_back_begins_anew() -> None:
    counter = RegionCounter([zone()])
    counter.count(frame(1000, {1: (20, 50)}))
    record = counter.count(frame(0, {2: (20, 50)}))
    assert [(event.kind, event.head) for event in record.events] == [("exit", 1), ("entry", 2)]


def test_a_new_head_in_every_frame_leaves_no_more_than_the_last_seconds() -> None:
    counter = RegionCounter([zone(), line(ACROSS)])
    for number in range(1_000):
        record = counter.count(frame(number, {number + 1: (20, 60)}, fps=25))
    (source,) = counter._sources.values()
    held = [source._seen]
    held += [value for part in source._counters for value in vars(part).values()]
    sizes = [len(value) for value in held if isinstance(value, dict)]
    assert sizes == [251, 251, 251]  # 10 s of 25 frames, in the zone and at the line
    assert counts(record)[0] == (1, 1_000, 749)


def test_sources_without_end_are_kept_as_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("head_detection.pipeline.zones.MAX_SOURCES", 2)
    counter = RegionCounter([line(ACROSS)])
    for number in range(5):
        walk(counter, sides("AB"), file=f"{number}.mp4")
    assert len(counter._sources) == 2
    assert counter.summary()[-1] == "all sources: door: 5 in, 0 out"
    for number in range(5):
        counter.count(Record(number, f"{number}.jpg", Detections.empty(SIZE)))
    assert len(counter._sources) == 2  # a picture leaves nothing behind


def test_a_file_says_which_sources_have_which_zones(tmp_path: Path) -> None:
    path = tmp_path / "zones.yaml"
    path.write_text(
        "lines: {door: [[0, 0.5], [1, 0.5]]}\n"
        "sources:\n"
        "  a*: {units: pixels, size: [200, 200], zones: {hall: [[0, 0], [100, 0], [100, 200]]}}\n"
        "  c: {zones: {desk: {points: [[0, 0], [1, 0], [1, 1]], min_frames: 5, min_seconds: 7}}}\n"
    )
    counter = build_region_counter(load_zones(path))
    a, b = (counter.count(frame(0, {}, file=file)).regions or () for file in ("a.mp4", "b.mp4"))
    assert [(region.name, region.points) for region in a] == [
        ("door", ((0, 50), (100, 50))),
        ("hall", ((0, 0), (50, 0), (50, 100))),
    ]
    assert [region.name for region in b] == ["door"]
    assert counter.summary()[-1] == "no source is called c: nothing counted"
    desk = counter._choose("c")[1]
    assert (desk.confirmation, desk.min_seconds) == (Confirmation(5, 0.2), 7)
    assert draw_regions(np.zeros((*SIZE, 3), np.uint8), counter.regions_in("c", SIZE)).any()


def test_pixels_outside_the_picture_and_names_of_two_patterns_are_one_line() -> None:
    far = RegionCounter([line([(0, 50), (120, 50)])])
    with pytest.raises(ConfigError, match=r"^door: expected points inside a\.mp4, 100x100 pixels"):
        far.count(frame(0, {}))
    twice = RegionCounter([Region(pattern, "door", ACROSS) for pattern in ("a*", "*.mp4")])
    with pytest.raises(ConfigError, match=r"^door: expected each name once for a\.mp4"):
        twice.count(frame(0, {}))


def test_frames_that_do_not_hold_the_points_count_nothing_and_what_was_counted_goes_on() -> None:
    counter = RegionCounter([line(ACROSS), zone()])
    walk(counter, [(20, 60), (20, 40)])
    for number in (2, 3):
        with pytest.raises(
            ConfigError, match=r"^door: expected points inside a\.mp4, 50x50 pixels"
        ):
            counter.count(frame(number, {1: (10, 20), 2: (10, 20)}, size=(50, 50)))
    # Nobody knows where head 1, or who is told of now, was in these pixels: nobody crosses.
    record = replace(
        frame(4, {1: (20, 60), 3: (20, 40)}), sightings=(Sighting(3, 3, 0.3, (10, 80)),)
    )
    record = counter.count(record)
    assert counts(record) == [(None, 1, 0), (2, 3, 1)]
    assert [(event.kind, event.head, event.frame) for event in record.events] == [
        ("exit", 1, 1),
        ("appearance", 3, 4),
        ("entry", 1, 4),
        ("entry", 3, 4),
    ]
    assert counts(counter.count(frame(5, {1: (20, 40)})))[0] == (None, 2, 0)


class Knowing:
    """Finds the heads of a made sequence where they are."""

    score_threshold = 0.5

    def __init__(self, sequence: HeadSequence) -> None:
        self.sequence = sequence

    def stream(self, images: Iterable[Item], *_: Any, **__: Any) -> Generator[PictureResult]:
        for truth, image in zip(self.sequence.truths(), images, strict=True):
            scores = np.full(len(truth.boxes), 0.9, np.float32)
            yield PictureResult(
                image, Detections(truth.boxes, scores, self.sequence.image_size), None, None
            )


@pytest.mark.parametrize("fps", [5, 10, 30])
def test_a_door_is_counted_from_heads_to_files_at_any_rate(fps: int, tmp_path: Path) -> None:
    """The story of ``door_scene``: 4 cross to the right, 2 to the left."""
    sequence = door_scene(fps)
    frames = [
        Frame("door.mp4", truth.index, truth.seconds, path=Path("door.mp4"))
        for truth in sequence.truths()
    ]
    counter = RegionCounter(
        [Region(None, "door", ((0.5, 0), (0.5, 1)), confirmation=Confirmation(2))]
    )
    with Sinks(["counts", "events"], tmp_path, Origin({}, 0.5)) as sinks:
        outcomes = run_pipeline(
            ItemSource.of(frames), Knowing(sequence), sinks, tracker=HeadTracker(), counter=counter
        )
        assert sum(1 for _ in outcomes) == 8 * fps
    assert counter.summary() == ["door: 4 in, 2 out; 2 first seen on the in side"]
    events = [json.loads(line) for line in (tmp_path / "events.ndjson").read_text().splitlines()]
    crossings = [event for event in events if event["event"] == "crossing"]
    assert [event["direction"] for event in crossings].count("in") == 4
    assert all(abs(event["x"] - 160) < 40 for event in crossings)
    rows = (tmp_path / "counts.csv").read_text().splitlines()
    last = (8 * fps - 1) / fps
    assert rows[-1].startswith(f"{last:.7g},door.mp4,door,4,2")
    assert len(rows) == 1 + 2 * 9  # at 0 to 7 s, and the last frame
