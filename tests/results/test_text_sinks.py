import csv
import json
import os

import pytest

from head_detection.results.record import Origin
from head_detection.results.text_sinks import CocoSink, CsvSink, JsonSink, MotSink

ORIGIN = Origin({"weights": "a.safetensors"}, 0.4)
BOXES = [(10, 5, 30, 45), (0.123456, 1, 2, 3.00006)]


def written(sink_class, folder, records, failed=()):
    sink = sink_class(folder, ORIGIN)
    for record in records:
        sink.write(record)
    for name, error in failed:
        sink.fail(name, error)
    sink.close()
    return (folder / sink_class.file_name).read_text(encoding="utf-8")


def test_json_holds_all_that_the_schema_names(tmp_path, record):
    records = [record(BOXES, "a/ä.png"), record([], "b.png", 2)]
    text = written(JsonSink, tmp_path, records, [("c.png", 'bad "one"')])
    assert json.loads(text) == {
        "schema": "head-detection/detections/1",
        "model": {"weights": "a.safetensors"},
        "score_threshold": 0.4,
        "images": [
            {
                "file": "a/ä.png",
                "width": 100,
                "height": 50,
                "count": 2,
                "boxes": [[10, 5, 30, 45], [0.1235, 1, 2, 3.0001]],
                "scores": [0.5, 0.5],
            },
            {"file": "b.png", "width": 100, "height": 50, "count": 0, "boxes": [], "scores": []},
        ],
        "failed": [{"file": "c.png", "error": 'bad "one"'}],
    }


@pytest.mark.parametrize("failed", [[], [("a.png", "empty")]])
def test_json_without_pictures_is_json(tmp_path, failed):
    content = json.loads(written(JsonSink, tmp_path, [], failed))
    assert content["images"] == []
    assert len(content["failed"]) == len(failed)


def test_csv_has_a_line_a_head_and_quotes_names(tmp_path, record):
    text = written(CsvSink, tmp_path, [record(BOXES, 'a,"b"\n.png'), record([], "b.png")])
    assert list(csv.reader(text.splitlines(keepends=True))) == [
        ["file", "x1", "y1", "x2", "y2", "score"],
        ['a,"b"\n.png', "10.0", "5.0", "30.0", "45.0", "0.5"],
        ['a,"b"\n.png', "0.1235", "1.0", "2.0", "3.0001", "0.5"],
    ]


def test_coco_boxes_are_left_top_width_height(tmp_path, record):
    records = [record([], "a.png", 1), record([(10, 5, 30, 45)] * 2, "b.png", 2)]
    head = {
        "image_id": 2,
        "file_name": "b.png",
        "category_id": 1,
        "bbox": [10, 5, 20, 40],
        "score": 0.5,
    }
    assert json.loads(written(CocoSink, tmp_path, records)) == [head, head]
    assert json.loads(written(CocoSink, tmp_path, [])) == []


def test_coco_results_are_read_by_its_own_tool(tmp_path, record, capsys):
    coco = pytest.importorskip("pycocotools.coco")
    written(CocoSink, tmp_path, [record()])
    truth = coco.COCO()
    truth.dataset = {"images": [{"id": 1}], "annotations": [], "categories": [{"id": 1}]}
    truth.createIndex()
    results = truth.loadRes(str(tmp_path / "coco.json"))
    assert results.anns[1]["area"] == 20 * 40


def test_mot_counts_frames_and_pixels_from_one(tmp_path, record):
    text = written(MotSink, tmp_path, [record([(10, 5, 30, 45)], number=3)])
    assert text == "3,-1,11.0,6.0,20.0,40.0,0.5,-1,-1,-1\n"


@pytest.mark.parametrize("sink_class", [JsonSink, CsvSink, CocoSink, MotSink])
def test_a_file_appears_whole_or_not_at_all(tmp_path, record, sink_class):
    target = tmp_path / sink_class.file_name
    target.write_text("earlier")
    sink = sink_class(tmp_path, ORIGIN)
    sink.write(record())
    assert target.read_text() == "earlier"
    sink.close()
    assert target.read_text() != "earlier"
    assert [path.name for path in tmp_path.iterdir()] == [sink_class.file_name]


def test_what_cannot_be_written_leaves_the_earlier_file(tmp_path, record, monkeypatch):
    (tmp_path / "detections.json").write_text("earlier")
    sink = JsonSink(tmp_path, ORIGIN)
    sink.write(record())

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        sink.close()
    assert (tmp_path / "detections.json").read_text() == "earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["detections.json"]


def test_names_that_are_not_unicode_are_kept(tmp_path, record):
    name = os.fsdecode(b"\xff.png")
    content = json.loads(written(JsonSink, tmp_path, [record(name=name)]))
    assert os.fsencode(content["images"][0]["file"]) == b"\xff.png"
    sink = CsvSink(tmp_path, ORIGIN)
    sink.write(record(name=name))
    sink.close()
    assert b"\n\xff.png,10.0" in (tmp_path / "detections.csv").read_bytes()
