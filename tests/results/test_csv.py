import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import supervision as sv

from head_detection.data.annotations import AnnotatedSet
from head_detection.errors import DetectionFileError
from head_detection.results.csv import CsvSink
from head_detection.results.formats import read_detection_file
from head_detection.results.record import Record

HEADER = "file,frame,seconds,id,x1,y1,x2,y2,score\n"
Label = Callable[..., AnnotatedSet]
Put = Callable[..., None]
Make = Callable[..., Record]


def test_a_line_a_head_and_names_in_quotes(tmp_path: Path, record: Make, put: Put) -> None:
    boxes = [(10, 5, 30, 45), (0.123456, 1, 2, 3.00006)]
    put(CsvSink, tmp_path, [record(boxes, 'a,"b"\n.png'), record([], "b.png")])
    with (tmp_path / "detections.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["file", "frame", "seconds", "id", "x1", "y1", "x2", "y2", "score"],
            ['a,"b"\n.png', "", "", "", "10.0", "5.0", "30.0", "45.0", "0.5"],
            ['a,"b"\n.png', "", "", "", "0.1235", "1.0", "2.0", "3.0001", "0.5"],
        ]


def test_frames_and_ids_have_their_columns(tmp_path: Path, frames: list[Record], put: Put) -> None:
    put(CsvSink, tmp_path, frames)
    assert (tmp_path / "detections.csv").read_text() == HEADER + (
        "a.mp4,0,0.0,7,10.0,5.0,30.0,45.0,0.5\na.mp4,0,0.0,-1,0.0,0.0,2.0,2.0,0.5\n"
    )


def test_what_was_written_is_read(tmp_path: Path, record: Make, put: Put, labelled: Label) -> None:
    names = ['a,"b".png', os.fsdecode(b"\xff.png"), "c.png", "d\re.png", "f\r\n"]
    heads = [record(file=name) for name in (names[0], *names[3:])]
    put(CsvSink, tmp_path, [*heads, record([(1, 2, 3, 4)], names[1])])
    assert b"\n\xff.png,,,,1.0" in (tmp_path / "detections.csv").read_bytes()
    read = read_detection_file(tmp_path / "detections.csv", labelled(*names))
    assert read.form == "detections.csv"
    assert [found.boxes.tolist() for found in read.detections] == [
        [[10, 5, 30, 45]],
        [[1, 2, 3, 4]],
        [],
        [[10, 5, 30, 45]],
        [[10, 5, 30, 45]],
    ]
    assert read.detections[0].scores.tolist() == [0.5]
    assert read.without == ("c.png",)


@pytest.mark.parametrize(
    ("sink_class", "form"), [(sv.CSVSink, "detections.csv"), (sv.JSONSink, "rows of JSON")]
)
def test_a_table_of_supervision_with_other_classes(
    tmp_path: Path, labelled: Label, sink_class: Any, form: str
) -> None:
    path = tmp_path / "found"
    detections = sv.Detections(
        xyxy=np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32),
        confidence=np.array([0.75, 0.5], np.float32),
        class_id=np.array([1, 0]),
        data={"class_name": np.array(["head", "person"])},
    )
    with sink_class(str(path)) as sink:
        sink.append(detections, custom_data={"image": "a.png"})
    read = read_detection_file(path, labelled("a.png"))
    assert read.form == form
    (found,) = read.detections
    assert (found.boxes.tolist(), found.scores.tolist()) == ([[1, 2, 3, 4]], [0.75])
    assert read.notes == ("detections of the class 'person', no heads, left out: 1",)


@pytest.mark.parametrize("sink_class", [sv.CSVSink, sv.JSONSink])
def test_a_table_of_supervision_without_names_or_classes(
    tmp_path: Path, labelled: Label, sink_class: Any
) -> None:
    detections = sv.Detections(np.array([[1, 2, 3, 4]], np.float32), confidence=np.array([0.75]))
    for name, given in (("with", {"file": "a.png"}), ("without", None)):
        with sink_class(str(tmp_path / name)) as sink:
            sink.append(detections, custom_data=given)
    (found,) = read_detection_file(tmp_path / "with", labelled("a.png")).detections
    assert (found.boxes.tolist(), found.scores.tolist()) == ([[1, 2, 3, 4]], [0.75])
    with pytest.raises(DetectionFileError, match=r"expected a column with the picture's name"):
        read_detection_file(tmp_path / "without", labelled("a.png"))


ROW = {"file": "a.png", "xmin": 1, "ymin": 2, "xmax": 3, "ymax": 4, "conf": 0.5, "class_id": 0}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (7, r"\[1\]: expected an object; got 7"),
        ({**ROW, "file": 3}, r"\[1\]: expected the picture's name as file; got 3"),
        ({"file": "a.png", "class_id": 0}, r"\[1\]: expected a box of four finite numbers"),
        ({**ROW, "xmin": [1]}, r"\[1\]: expected a box of four finite numbers"),
        ({**ROW, "conf": None}, r"\[1\]: expected a score from 0 to 1; got None"),
        ({**ROW, "class_id": 1}, r"which class is the head; got 0, 1"),
    ],
)
def test_a_bad_row_of_json_is_named(
    tmp_path: Path, entry: Any, message: str, labelled: Label
) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([ROW, entry]))
    with pytest.raises(DetectionFileError, match=message):
        read_detection_file(path, labelled("a.png"))


def test_a_table_without_boxes_is_none(tmp_path: Path, labelled: Label) -> None:
    (tmp_path / "counts.csv").write_text("file,count\na.png,3\n")
    with pytest.raises(DetectionFileError, match=r"expected .*; not JSON"):
        read_detection_file(tmp_path / "counts.csv", labelled("a.png"))


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_table_that_a_spreadsheet_saved(tmp_path: Path, labelled: Label, ends: str) -> None:
    text = ("\ufeff" + HEADER + "a.png,,,,1,2,3,4,1\n").replace("\n", ends)
    (tmp_path / "table").write_bytes(text.encode())
    (found,) = read_detection_file(tmp_path / "table", labelled("a.png")).detections
    assert found.boxes.tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.png,,,,1,2,3,four,0.5", r"line 2: expected a box of four finite numbers; got .*'four'"),
        ("a.png,,,,1,2,3", r"line 2: expected a box of four finite numbers; got .*None"),
        ("a.png,,,,1,2,3,4", "line 2: expected a score from 0 to 1; got None"),
        ("a.png,,,,1,2,3,4,nan", "line 2: expected a score from 0 to 1; got nan"),
        ("a.png,,,,5,2,3,4,0.5", "line 2: expected a box with x1 <= x2"),
        ("x.png,,,,1,2,3,4,0.5", "1 of its pictures are not labelled, the first: x.png"),
        (f"{'a' * 200_000},,,,1,2,3,4,0.5", "after line 1: field larger than"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str, labelled: Label) -> None:
    path = tmp_path / "d.csv"
    path.write_text(f"{HEADER}{line}\n")
    with pytest.raises(DetectionFileError, match=message):
        read_detection_file(path, labelled("a.png"))


def test_columns_may_be_fewer(tmp_path: Path, labelled: Label) -> None:
    path = tmp_path / "d.csv"
    path.write_text("file,x1,y1,x2,y2,score\na.png,1,2,3,4,0.5\n")
    (found,) = read_detection_file(path, labelled("a.png")).detections
    assert found.boxes.tolist() == [[1, 2, 3, 4]]
