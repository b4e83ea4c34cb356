"""``counts.csv`` of pictures, of frames, and of both."""

import csv

import pytest

from head_detection.results.counts import CountSink
from head_detection.results.record import Failure, Origin
from head_detection.structures import RegionCount

ORIGIN = Origin({}, 0.5)
HALL = ((0, 0), (9, 0), (9, 9))
DOOR = ((0, 0), (9, 0))


@pytest.fixture
def lines(tmp_path):
    """A function that returns the lines of the file."""
    return lambda: (tmp_path / "counts.csv").read_text().splitlines()


def test_pictures_have_a_line_each_and_one_without_heads_too(
    tmp_path, lines, record, failure, put
) -> None:
    put(CountSink, tmp_path, [record(), failure("b.png"), record([], "c,d.png")])
    assert lines() == ["file,count", "a.png,1", "b.png,", '"c,d.png",0']


def test_of_a_camera_that_never_came_the_columns_are_those_of_frames(tmp_path, lines) -> None:
    CountSink(tmp_path, ORIGIN, of_frames=True).close()
    assert lines() == ["time,source,zone,in,out,now"]


def test_frames_are_counted_each_second_with_their_zones_and_lines(
    tmp_path, lines, record, put
) -> None:
    frames = []
    for number in range(8):  # 0, .3, .6, .9, 1.2, 1.5, 1.8, 2.1 s
        hall = RegionCount("hall", HALL, now=number, num_in=number, num_out=0)
        door = RegionCount("door", DOOR, num_in=5, num_out=number)
        boxes = [(1, 2, 3, 4)] * number
        frames.append(record(boxes, "a.mp4", number, seconds=number * 0.3, regions=(hall, door)))
    put(CountSink, tmp_path, frames)
    assert lines() == [
        "time,source,zone,in,out,now",
        "0.0,a.mp4,,,,0", "0.0,a.mp4,hall,0,0,0", "0.0,a.mp4,door,5,0,",
        "1.2,a.mp4,,,,4", "1.2,a.mp4,hall,4,0,4", "1.2,a.mp4,door,5,4,",
        "2.1,a.mp4,,,,7", "2.1,a.mp4,hall,7,0,7", "2.1,a.mp4,door,5,7,",
    ]  # fmt: skip


def test_who_came_is_not_known_where_nobody_is_followed(tmp_path, lines, record, put) -> None:
    hall = RegionCount("hall", HALL, now=1, is_followed=False)
    door = RegionCount("door", DOOR, is_followed=False)
    put(CountSink, tmp_path, [record([], "a.mp4", 0, seconds=0.0, regions=(hall, door))])
    assert lines()[2:] == ["0.0,a.mp4,hall,,,1", "0.0,a.mp4,door,,,"]
    assert (hall.text, door.text) == ("hall: 1 now", "door")


@pytest.mark.parametrize(
    ("every", "times"),
    [
        (0.0, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (0.3, [0, 3, 6, 9]),
        (0.5, [0, 5, 9]),  # the last frame has a row too
        (60.0, [0, 9]),
    ],
)
def test_how_often_is_told_in_seconds(tmp_path, lines, record, every, times) -> None:
    sink = CountSink(tmp_path, ORIGIN, every)
    for number in range(10):
        sink.write(record([], "a.mp4", number, seconds=number / 10))
    sink.close()
    assert [float(line.split(",")[0]) for line in lines()[1:]] == [time / 10 for time in times]


def test_a_row_is_in_the_file_at_once(tmp_path, lines, record) -> None:
    sink = CountSink(tmp_path, ORIGIN)
    sink.write(record([], "a.mp4", 0, seconds=0.0))
    assert lines() == ["time,source,zone,in,out,now", "0.0,a.mp4,,,,0"]
    sink.close()


def test_pictures_beside_videos_are_rows_of_the_same_file(
    tmp_path, lines, record, failure, put
) -> None:
    video = [record([], "v.mp4", n, seconds=n / 2) for n in range(3)]
    bad = Failure(1, "v.mp4", "damaged", failure().error, 0.5)
    first = [record(file="é\udcff.png"), failure("b.png")]
    put(CountSink, tmp_path, [*first, video[0], bad, record([], "c.png"), *video[1:], failure()])
    text = (tmp_path / "counts.csv").read_bytes().decode(errors="surrogateescape")
    assert text.splitlines() == [
        "time,source,zone,in,out,now",
        ",é\udcff.png,,,,1",
        ",b.png,,,,",
        "0.0,v.mp4,,,,0",
        ",c.png,,,,0",
        "1.0,v.mp4,,,,0",
        ",c.png,,,,",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["counts.csv"]


def test_a_name_with_ends_of_lines_is_one_field(tmp_path, record, put) -> None:
    names = ["a\r.png", "b\n.png", "c\r\n.png"]
    put(CountSink, tmp_path, [*map(record, [()] * 3, names), record((), "d\r.mp4", seconds=0.0)])
    with (tmp_path / "counts.csv").open(newline="") as file:
        found = [line["source"] for line in csv.DictReader(file)]
    assert found == [*names, "d\r.mp4"]


def test_sources_take_turns_and_time_may_go_back(tmp_path, lines, record, put) -> None:
    times = [("a", 5.0), ("b", 5.2), ("a", 5.4), ("b", 6.0), ("a", 0.0), ("a", 0.2)]
    put(CountSink, tmp_path, [record([], name, 0, seconds=seconds) for name, seconds in times])
    assert [line.split(",,")[0] for line in lines()[1:]] == [
        "5.0,a", "5.2,b", "6.0,b", "0.0,a", "0.2,a",
    ]  # fmt: skip


def test_of_endless_videos_few_wait(tmp_path, lines, record, put, monkeypatch) -> None:
    monkeypatch.setattr("head_detection.results.counts.MAX_SOURCES", 1)
    frames = [record([], name, 0, seconds=s) for name in "abc" for s in (0.0, 0.5)]
    put(CountSink, tmp_path, frames)
    times = [line.split(",")[:2] for line in lines()[1:]]
    assert sorted(times) == [[time, name] for time in ("0.0", "0.5") for name in "abc"]


def test_nothing_is_a_head_line(tmp_path, lines, put) -> None:
    put(CountSink, tmp_path, [])
    assert lines() == ["file,count"]


def test_the_last_frame_of_a_file_is_there_once_the_next_file_begins(
    tmp_path, lines, record
) -> None:
    sink = CountSink(tmp_path, ORIGIN)
    for number in range(3):
        sink.write(record([], "a.mp4", number, seconds=number / 10, path=tmp_path / "a.mp4"))
    sink.write(record([], "b.mp4", 0, seconds=0.0, path=tmp_path / "b.mp4"))
    assert lines()[1:] == ["0.0,a.mp4,,,,0", "0.2,a.mp4,,,,0", "0.0,b.mp4,,,,0"]
    sink.close()
    assert len(lines()) == 4


def test_a_video_that_ends_early_gets_no_row_of_a_picture(
    tmp_path, lines, record, failure, put
) -> None:
    put(
        CountSink, tmp_path, [record(file="v.mp4", seconds=0.0), failure("v.mp4"), failure("w.mp4")]
    )
    assert lines()[1:] == ["0.0,v.mp4,,,,1", ",w.mp4,,,,"]
