import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from head_detection.data.annotations import AnnotatedSet
from head_detection.errors import DetectionFileError
from head_detection.results.formats import Sinks, read_detection_file
from head_detection.results.json import FAILURES_IN_MEMORY, JsonSink
from head_detection.results.record import Failure, Origin, Record
from head_detection.structures import Detections

Label = Callable[..., AnnotatedSet]
Put = Callable[..., None]
SCHEMA = "head-detection/detections/2"


def write(path: Path, content: Any) -> Path:
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


def picture(name: str, boxes: list[Any], scores: list[Any]) -> dict[str, Any]:
    return {"file": name, "width": 20, "height": 10, "boxes": boxes, "scores": scores}


def own(*images: dict[str, Any], **more: Any) -> dict[str, Any]:
    head = {"schema": SCHEMA, "model": {"weights": "w"}, "score_threshold": 0.3}
    return {**head, "images": list(images), "failed": [], **more}


def rows(found: Detections) -> list[tuple[list[float], float]]:
    return [(b, round(s, 4)) for b, s in zip(found.boxes.tolist(), found.scores.tolist())]  # noqa: B905


def test_our_json_by_name_in_the_order_of_the_labels(tmp_path: Path, labelled: Label) -> None:
    content = own(
        picture("images/b.jpg", [[0, 0, 2, 2], [1, 1, 4, 5.5]], [0.5, 0.75]),
        picture("images/a.jpg", [], []),
    )
    path = write(tmp_path / "detections.json", content)
    read = read_detection_file(path, labelled("a.jpg", "b.jpg"))
    empty, found = read.detections
    assert len(empty) == 0
    assert rows(found) == [([1, 1, 4, 5.5], 0.75), ([0, 0, 2, 2], 0.5)]  # best first
    assert found.image_size == (10, 20)
    assert read.score_threshold == 0.3
    assert read.model == {"weights": "w"}
    assert (read.without, read.failed) == ((), ())


def test_pictures_that_failed_or_are_not_in_the_file_are_named(
    tmp_path: Path, labelled: Label
) -> None:
    content = own(
        picture("a.jpg", [], []),
        failed=[{"file": "b.jpg", "error": "empty"}, {"file": "unlabelled.jpg", "error": "empty"}],
    )
    path = write(tmp_path / "d.json", content)
    read = read_detection_file(path, labelled("a.jpg", "b.jpg", "c.jpg"))
    assert read.failed == ("b.jpg",)
    assert read.without == ("c.jpg",)
    assert [len(found) for found in read.detections] == [0, 0, 0]
    assert read.detections[1].image_size == (100, 200)  # as the labels say


def test_pictures_that_are_not_labelled_are_counted(tmp_path: Path, labelled: Label) -> None:
    content = own(picture("x.jpg", [], []), picture("a.jpg", [], []), picture("y.jpg", [], []))
    path = write(tmp_path / "d.json", content)
    with pytest.raises(DetectionFileError, match=r"2 of its pictures are not labelled.*x.jpg"):
        read_detection_file(path, labelled("a.jpg"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (own(picture("a.jpg", [[0, 0, 1]], [0.5])), r"images\[0\]: boxes\[0\]: .*four finite"),
        (own(picture("a.jpg", [[0, 0, 1, 1], [0, 0, 1, "x"]], [0.5, 0.5])), r"boxes\[1\]"),
        (own(picture("a.jpg", [[0, 0, 1, float("nan")]], [0.5])), "four finite numbers"),
        (own(picture("a.jpg", [[0, 0, 1e300, 1]], [0.5])), "four finite numbers"),
        (own(picture("a.jpg", [[5, 0, 1, 1]], [0.5])), "x1 <= x2 and y1 <= y2"),
        (own(picture("a.jpg", [[0, 0, 1, 1]], [float("nan")])), r"score from 0 to 1; got nan"),
        (own(picture("a.jpg", [[0, 0, 1, 1]], [87.5])), "score from 0 to 1; got 87.5"),
        (own(picture("a.jpg", [[0, 0, 1, 1]], [None])), "score from 0 to 1; got None"),
        (own(picture("a.jpg", [[0, 0, 1, 1]], [])), "0 scores for 1 boxes"),
        (own(picture("a.jpg", [], []) | {"boxes": 3}), "expected file, boxes and scores"),
        (own(picture("a.jpg", [], []) | {"width": 0}), "expected height and width"),
        (own(picture("a.jpg", [], []), picture("a.jpg", [], [])), "names the picture a.jpg again"),
        (own(picture("a.jpg", [], []), failed=[{"file": "a.jpg"}]), "among the images too"),
        (own(score_threshold=None), "score_threshold from 0 to 1; got None"),
        (own(images=[3]), "list of objects under 'images'"),
        ({"images": [], "annotations": []}, "got COCO labels"),
        (own(schema="head-detection/detections/1"), "got .*detections/1': run `test` again"),
        (own(schema="head-detection/detections/9"), "expected schema .*/2'.*; got .*/9'"),
        ({"schema": "head-detection/metrics/2"}, "got JSON of schema 'head-detection/metrics/2'"),
        ("{", "not JSON"),
        ("3", "got JSON of schema None"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_its_place(
    tmp_path: Path, content: Any, message: str, labelled: Label
) -> None:
    path = write(tmp_path / "d.json", content)
    with pytest.raises(DetectionFileError, match=message) as error:
        read_detection_file(path, labelled("a.jpg"))
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(path))


def test_no_such_file(tmp_path: Path, labelled: Label) -> None:
    with pytest.raises(DetectionFileError, match="No such file"):
        read_detection_file(tmp_path / "none.json", labelled("a.jpg"))


BOXES = [(10, 5, 30, 45), (0.123456, 1, 2, 3.00006)]


def written(folder: Path) -> Any:
    return json.loads((folder / "detections.json").read_text(encoding="utf-8"))


def test_a_file_holds_all_that_the_schema_names(
    tmp_path: Path,
    record: Callable[..., Record],
    failure: Callable[..., Failure],
    put: Put,
) -> None:
    records = [record(BOXES, "a/ä.png"), record([], "b.png", 1)]
    put(JsonSink, tmp_path, [*records, failure("c.png", 'bad "one"')])
    assert written(tmp_path) == {
        "schema": "head-detection/detections/2",
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


def test_frames_have_their_place_and_time(tmp_path: Path, frames: list[Record], put: Put) -> None:
    put(JsonSink, tmp_path, frames)
    first, third = written(tmp_path)["images"]
    assert (first["frame"], first["seconds"], first["source"]) == (0, 0.0, "a")
    assert first["ids"] == [7, -1]
    assert (third["frame"], third["seconds"], third["ids"]) == (2, 0.666667, [])


@pytest.mark.parametrize("num_failures", [0, 1, 3])
def test_without_pictures_it_is_json(
    tmp_path: Path, num_failures: int, failure: Callable[..., Failure], put: Put
) -> None:
    put(JsonSink, tmp_path, [failure()] * num_failures)
    assert written(tmp_path)["images"] == []
    assert written(tmp_path)["failed"] == [{"file": "c.png", "error": "the file is empty"}] * (
        num_failures
    )


def test_more_failures_than_memory_takes(
    tmp_path: Path, failure: Callable[..., Failure], put: Put
) -> None:
    name = os.fsdecode(b"\xff\xc3\xa4")
    failures = [failure(f"{number}{name}.png", "ä" * 500) for number in range(300)]
    assert sum(len(failure.reason) for failure in failures) > 2 * FAILURES_IN_MEMORY
    put(JsonSink, tmp_path, failures)
    assert written(tmp_path)["failed"] == [failure.as_plain() for failure in failures]
    assert [path.name for path in tmp_path.iterdir()] == ["detections.json"]


def test_names_that_are_not_unicode_are_kept(
    tmp_path: Path, record: Callable[..., Record], put: Put
) -> None:
    put(JsonSink, tmp_path, [record(file=os.fsdecode(b"\xff.png"))])
    assert os.fsencode(written(tmp_path)["images"][0]["file"]) == b"\xff.png"


def test_what_was_written_is_read(
    tmp_path: Path,
    record: Callable[..., Record],
    failure: Callable[..., Failure],
    put: Put,
    labelled: Label,
) -> None:
    records = [record(BOXES, "b.png", 0), record([], "a.png", 2)]
    put(JsonSink, tmp_path, [records[0], failure("c.png", index=1), records[1]])
    read = read_detection_file(tmp_path / "detections.json", labelled("a.png", "b.png", "c.png"))
    assert (read.form, read.score_threshold) == ("detections.json", 0.4)
    assert (read.failed, read.without) == (("c.png",), ())
    assert [found.image_size for found in read.detections] == [(50, 100), (50, 100), (100, 200)]
    assert rows(read.detections[1]) == [
        ([10, 5, 30, 45], 0.5),
        (pytest.approx(BOXES[1], abs=1e-4), 0.5),
    ]


def test_a_run_that_was_killed_is_noted(
    tmp_path: Path,
    record: Callable[..., Record],
    failure: Callable[..., Failure],
    labelled: Label,
    repository: Path,
) -> None:
    """The first failures are there meanwhile, all of them at the end."""
    sink = JsonSink(tmp_path, Origin({}, 0.4))
    sink.write(record(file="a.png"))
    failures = [failure(f"{number}.png", "x" * 1000) for number in range(5)]
    for one in failures:
        sink.fail(one)
    content = written(tmp_path)
    assert content["unfinished"]
    assert content["failed"] == [one.as_plain() for one in failures[:3]]
    schema = (repository / "docs" / "detections-2.schema.json").read_text()
    Draft202012Validator(json.loads(schema)).validate(content)
    read = read_detection_file(tmp_path / "detections.json", labelled("a.png", "b.png"))
    assert read.notes == ("detections.json: its run was not brought to an end",)
    assert read.without == ("b.png",)
    sink.write(record(file="b.png", index=6))
    sink.close()
    content = written(tmp_path)
    assert content["failed"] == [one.as_plain() for one in failures]
    assert (len(content["images"]), "unfinished" in content) == (2, False)


def test_a_run_that_breaks_off_is_noted(
    tmp_path: Path, record: Callable[..., Record], failure: Callable[..., Failure]
) -> None:
    """A full disk, say: else the frames so far would look like all that there are."""
    sinks = Sinks(["json"], tmp_path, Origin({}, 0.4))
    sinks.take(record(file="a.png"))
    sinks.take(failure("b.png", "it is damaged"))
    with pytest.raises(OSError, match="No space left"), sinks:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    content = written(tmp_path)
    assert (len(content["images"]), len(content["failed"]), content["unfinished"]) == (1, 1, True)
