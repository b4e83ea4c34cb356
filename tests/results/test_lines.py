import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from head_detection.data.annotations import AnnotatedSet
from head_detection.errors import DetectionFileError
from head_detection.results.formats import read_detection_file
from head_detection.results.lines import LineSink
from head_detection.results.record import Failure, Origin, Record

ORIGIN = Origin({}, 0.4)
Label = Callable[..., AnnotatedSet]
Put = Callable[..., None]


def written(folder: Path) -> list[Any]:
    text = (folder / "detections.ndjson").read_text(encoding="utf-8")
    assert text.endswith("\n")
    return [json.loads(line) for line in text.split("\n")[:-1]]


def test_each_line_is_there_at_once(
    tmp_path: Path, record: Callable[..., Record], failure: Callable[..., Failure]
) -> None:
    sink = LineSink(tmp_path / "new", ORIGIN)
    sink.write(record([(10, 5, 30, 45)], "a\u2028b.png"))
    line = {
        "file": "a\u2028b.png",
        "width": 100,
        "height": 50,
        "count": 1,
        "boxes": [[10, 5, 30, 45]],
        "scores": [0.5],
    }
    assert written(tmp_path / "new") == [line]
    sink.fail(failure("c.png", "the file is empty"))
    assert written(tmp_path / "new") == [line, {"file": "c.png", "error": "the file is empty"}]
    sink.close()
    assert sink.output == "detections.ndjson"


def test_frames_have_their_place_time_and_ids(
    tmp_path: Path, frames: list[Record], put: Put
) -> None:
    put(LineSink, tmp_path, frames)
    assert [(line["frame"], line["seconds"], line["ids"]) for line in written(tmp_path)] == [
        (0, 0.0, [7, -1]),
        (2, 0.666667, []),
    ]


def test_an_earlier_file_is_begun_anew(
    tmp_path: Path, record: Callable[..., Record], put: Put
) -> None:
    put(LineSink, tmp_path, [record()] * 2)
    put(LineSink, tmp_path, [record()])
    assert len(written(tmp_path)) == 1


def test_standard_output_takes_lines_and_stays_open(
    monkeypatch: pytest.MonkeyPatch, record: Callable[..., Record]
) -> None:
    output = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", output)
    sink = LineSink(None, ORIGIN)
    sink.write(record(file=os.fsdecode(b"\xff\xc3\xa4.png")))
    sink.close()
    assert not output.buffer.closed
    content = output.buffer.getvalue()  # type: ignore[attr-defined] - it is a BytesIO
    assert os.fsencode(json.loads(content)["file"]) == b"\xff\xc3\xa4.png"


def test_what_was_written_is_read(
    tmp_path: Path,
    record: Callable[..., Record],
    failure: Callable[..., Failure],
    put: Put,
    labelled: Label,
) -> None:
    outcomes = [record(file="b\u2028.png"), failure("c.png"), record([], "a.png")]
    put(LineSink, tmp_path, outcomes)
    read = read_detection_file(
        tmp_path / "detections.ndjson", labelled("a.png", "b\u2028.png", "c.png", "d.png")
    )
    assert read.form == "detections.ndjson"
    assert [found.boxes.tolist() for found in read.detections] == [[], [[10, 5, 30, 45]], [], []]
    assert read.detections[1].image_size == (50, 100)
    assert (read.failed, read.without, read.score_threshold) == (("c.png",), ("d.png",), None)


def test_a_line_that_a_kill_cut_short_is_left_out(
    tmp_path: Path, record: Callable[..., Record], put: Put, labelled: Label
) -> None:
    put(LineSink, tmp_path, [record(file="a.png"), record(file="b.png")])
    path = tmp_path / "detections.ndjson"
    path.write_bytes(path.read_bytes()[:-10])
    read = read_detection_file(path, labelled("a.png", "b.png"))
    assert read.without == ("b.png",)
    assert read.notes == ("detections.ndjson: the last line was cut short, left out",)


def test_one_line_without_the_name_of_such_a_file(
    tmp_path: Path, record: Callable[..., Record], put: Put, labelled: Label
) -> None:
    put(LineSink, tmp_path, [record(file="a.png")])
    path = (tmp_path / "detections.ndjson").rename(tmp_path / "found")
    assert read_detection_file(path, labelled("a.png")).form == "detections.ndjson"
    (tmp_path / "none.jsonl").touch()
    assert read_detection_file(tmp_path / "none.jsonl", labelled("a.png")).without == ("a.png",)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"line 1: expected one record as JSON"),
        ("3", r"line 1: expected an object; got int"),
        ("{}", r"line 1: expected file, boxes and scores"),
        ('{"file": 3, "error": "x"}\n{"file": "3"}', "line 2: expected file, boxes and scores"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str, labelled: Label) -> None:
    path = tmp_path / "d.ndjson"
    path.write_text(f"{line}\n")
    with pytest.raises(DetectionFileError, match=message):
        read_detection_file(path, labelled("a.png"))
