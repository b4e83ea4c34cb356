import json

import pytest

from head_detection.errors import OutputError
from head_detection.results.record import Origin
from head_detection.results.sinks import SINKS, Sinks, parse_formats

ORIGIN = Origin({}, 0.4)


def test_formats_are_a_list_with_commas():
    assert parse_formats("json") == ("json",)
    assert parse_formats(" csv , images,csv,") == ("csv", "images")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("xml", "expected some of json,csv,coco,mot,yolo,images,blur; got 'xml'"),
        ("", "got ''"),
        ("json,JSON", "got 'json,JSON'"),
        ("images,blur", "choose one of them"),
    ],
)
def test_unknown_formats_are_one_line(text, line):
    with pytest.raises(OutputError, match=line):
        parse_formats(text)


@pytest.mark.parametrize("name", SINKS)
def test_each_sink_takes_heads_no_heads_and_failures(tmp_path, record, name):
    with Sinks([name], tmp_path, ORIGIN) as sinks:
        assert sinks.needs_pixels == (name in ("images", "blur"))
        sinks.write(record(name="a.png"))
        sinks.write(record([], "b.png", 2))
        sinks.fail("c.png", "empty")
    (output,) = sinks.outputs
    assert (tmp_path / output).exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_all_files_are_whole_after_the_work_is_cut_short(tmp_path, record, error):
    def work():
        with Sinks(["json", "coco", "csv", "yolo"], tmp_path, ORIGIN) as sinks:
            sinks.write(record())
            raise error

    with pytest.raises(error):
        work()
    assert len(json.loads((tmp_path / "detections.json").read_text())["images"]) == 1
    assert len(json.loads((tmp_path / "coco.json").read_text())) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "coco.json",
        "detections.csv",
        "detections.json",
        "labels",
    ]


def test_one_sink_that_fails_does_not_keep_the_others_from_ending(tmp_path, record, monkeypatch):
    def full_disk(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("head_detection.results.picture_sinks.write_bytes", full_disk)
    with (
        pytest.raises(OSError, match="No space"),
        Sinks(["json", "yolo"], tmp_path, ORIGIN) as sinks,
    ):
        sinks.write(record())
    assert len(json.loads((tmp_path / "detections.json").read_text())["images"]) == 1


def test_a_sink_that_cannot_begin_leaves_no_temporary_files(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/mine.jpg").write_bytes(b"")
    with pytest.raises(OutputError):
        Sinks(["json", "images"], tmp_path, ORIGIN)
    assert not list(tmp_path.glob(".*"))
