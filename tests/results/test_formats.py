import json

import pytest

from head_detection.errors import DetectionFileError, OutputError
from head_detection.results.format_names import OUTPUTS, parse_formats
from head_detection.results.formats import SINKS, Sinks, read_detection_file
from head_detection.results.record import Origin

ORIGIN = Origin({}, 0.4)


def test_formats_are_a_list_with_commas():
    assert parse_formats("json") == ("json",)
    assert parse_formats(" csv , images,csv,") == ("csv", "images")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "xml",
            r"^expected some of json,csv,.*,yolo-data,images,video,blur,crops,heatmap; got 'xml'",
        ),
        ("", "got ''"),
        ("json,JSON", "got 'json,JSON'"),
        ("yolo-data", "expected yolo beside it"),
        ("yolo,yolo-data,images", "and no images"),
    ],
)
def test_unknown_formats_are_one_line(text, line):
    with pytest.raises(OutputError, match=line):
        parse_formats(text)


@pytest.mark.parametrize("name", SINKS)
def test_each_sink_takes_heads_no_heads_frames_and_failures(
    tmp_path, record, frames, failure, name
):
    with Sinks([name], tmp_path, ORIGIN) as sinks:
        assert sinks.needs_pixels == (name in ("images", "video", "blur", "crops", "heatmap"))
        for outcome in (record(), record([], "b.png", 1), failure(), *frames):
            sinks.take(outcome)
    (output,) = sinks.outputs
    for one in output.split(", "):
        assert (tmp_path / one).exists()
        assert one in OUTPUTS[name]
    written = {f"{path.name}/" if path.is_dir() else path.name for path in tmp_path.iterdir()}
    assert written <= set(OUTPUTS[name])


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_all_files_are_whole_after_the_work_is_cut_short(tmp_path, record, error):
    def work():
        with Sinks(["json", "coco", "csv", "yolo", "lines"], tmp_path, ORIGIN) as sinks:
            sinks.take(record())
            raise error

    with pytest.raises(error):
        work()
    assert len(json.loads((tmp_path / "detections.json").read_text())["images"]) == 1
    assert len(json.loads((tmp_path / "coco.json").read_text())) == 1
    assert len((tmp_path / "detections.ndjson").read_text().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "coco-images.json",
        "coco.json",
        "detections.csv",
        "detections.json",
        "detections.ndjson",
        "labels",
    ]


def test_one_sink_that_fails_does_not_keep_the_others_from_ending(tmp_path, record, monkeypatch):
    def full_disk(path, content, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("head_detection.results.sink.write_bytes", full_disk)
    with (
        pytest.raises(OSError, match="No space"),
        Sinks(["json", "yolo"], tmp_path, ORIGIN) as sinks,
    ):
        sinks.take(record())
    assert len(json.loads((tmp_path / "detections.json").read_text())["images"]) == 1


def test_a_sink_that_cannot_begin_leaves_no_temporary_files(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/mine.jpg").write_bytes(b"")
    with pytest.raises(OutputError):
        Sinks(["json", "images"], tmp_path, ORIGIN)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("names", [["json"], ["lines", "json"], []])
def test_standard_output_takes_lines_alone(names):
    with pytest.raises(OutputError, match=r"^standard output: expected lines alone; got"):
        Sinks(names, None, ORIGIN)


def test_frames_are_drawn_once_where_a_video_is_made_of_them(tmp_path, record, frames):
    with Sinks(["images", "video"], tmp_path, ORIGIN) as sinks:
        for outcome in (record(), *frames):
            sinks.take(outcome)
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*g*"))
    assert [name for name in written if "/." not in name] == ["images/a.png"]
    assert (tmp_path / "video/a.mp4").is_file()


def test_nothing_to_write_is_nothing(tmp_path, record):
    with Sinks([], tmp_path / "new", ORIGIN) as sinks:
        sinks.take(record())
        assert (sinks.needs_pixels, sinks.outputs) == (False, [])
    assert not (tmp_path / "new").exists()


def test_what_is_no_results_at_all(tmp_path, labelled):
    for name, content in (("a.bin", b"\xff\xfe\x00"), ("b.json", b""), ("c.md", b"# text")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DetectionFileError, match=r"expected detections\.json, \.csv or"):
            read_detection_file(tmp_path / name, labelled("a.png"))
