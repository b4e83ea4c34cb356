import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from head_detection.apps.command import run_command
from head_detection.apps.evaluate import main
from head_detection.apps.evaluation import subject
from head_detection.config import DatasetConfig
from head_detection.data.annotations import AnnotatedSet
from head_detection.data.formats import load_annotations
from head_detection.data.picture import PictureError
from head_detection.data.synthetic import synthetic_set
from head_detection.models.weights import read_description
from head_detection.structures import Detections

SIZE = (64, 80)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return synthetic_set(tmp_path / "set", 3, SIZE, seed=1)


@pytest.fixture
def labelled(data: Path) -> AnnotatedSet:
    return load_annotations(DatasetConfig(path=str(data)))


@pytest.fixture
def own_weights(tiny_weights: Path, tmp_path: Path) -> Path:
    path = tmp_path / "own.safetensors"
    path.write_bytes(tiny_weights.read_bytes())
    return path


@pytest.fixture
def perfect(labelled: AnnotatedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every detector answer the truth, scored 0.9 to 0.6, and a false alarm scored 0.1."""

    def answer(detector: object, labelled: AnnotatedSet) -> list[Detections]:
        corner = [[0, 0, 1, 1]]
        return [
            Detections.from_arrays(
                np.concatenate([image.truth.boxes, corner]),
                [*np.linspace(0.9, 0.6, len(image.truth.boxes)), 0.1],
                SIZE,
            )
            for image in labelled.images
        ]

    monkeypatch.setattr(subject, "_detect", answer)


def write_detections(path: Path, labelled: AnnotatedSet, **changes: Any) -> Path:
    images = [
        {
            "file": image.file_name,
            "width": SIZE[1],
            "height": SIZE[0],
            "boxes": image.truth.boxes.tolist(),
            "scores": [0.75] * len(image.truth.boxes),
        }
        for image in labelled.images
    ]
    content = {"schema": "head-detection/detections/1", "model": {}, "score_threshold": 0.02}
    path.write_text(json.dumps(content | {"images": images, "failed": []} | changes))
    return path


def read_metrics(folder: Path) -> dict[str, Any]:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    text = (folder / "metrics.json").read_text()
    report: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return report


def test_weights_are_measured_by_every_protocol(
    data: Path, tiny_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert main(["--weights", str(tiny_weights), "--data", str(data), "--output", str(output)]) == 0
    report = read_metrics(output)
    assert report["schema"] == "head-detection/metrics/2"
    assert report["num_images"] == len(report["images"]) == 3
    assert set(report["figures"]) == {
        *("coco", "crowdhuman", "mot", "scut", "headhunter", "counting")
    }
    assert report["score_threshold"] == read_description(tiny_weights).score_threshold
    assert report["score_threshold_chosen_here"] is False
    printed = capsys.readouterr().out
    assert "3 pictures" in printed
    assert "operating point: stored in the weights" in printed
    assert f"{report['figures']['coco']['ap50']:.4f}" in printed
    assert len(list((output / "plots").glob("*.png"))) == 4


@pytest.mark.usefixtures("perfect")
def test_a_detector_that_answers_the_truth_scores_one(data: Path, tiny_weights: Path) -> None:
    main(["--weights", str(tiny_weights), "--data", str(data), "--num-resamples", "20"])
    report = read_metrics(Path("runs", "evaluate", f"tiny-{data.stem}"))
    figures = report["figures"]
    for protocol, name in (("coco", "ap"), ("scut", "f1"), ("mot", "moda"), ("crowdhuman", "ji")):
        assert figures[protocol][name] == 1.0
    assert figures["crowdhuman"]["ap"] == 0.9  # the toolkit's curve begins at the first of 10 heads
    assert figures["counting"] == {"mae": 0.0, "rmse": 0.0, "bias": 0.0}
    assert report["intervals"]["f1"] == [1.0, 1.0]
    assert figures["coco"]["recall_from_96"] is None  # no head is as large
    assert [(p["missed"], p["false"]) for p in report["images"]] == [(0, 0)] * 3


@pytest.mark.usefixtures("perfect")
def test_a_threshold_that_is_given_is_the_operating_point(data: Path, tiny_weights: Path) -> None:
    arguments = ["--weights", str(tiny_weights), "--data", str(data), "--output", "out"]
    main([*arguments, "--score-threshold", "0.05", "--protocol", "scut"])
    report = read_metrics(Path("out"))
    assert set(report["figures"]) == {"scut", "counting"}
    assert report["figures"]["counting"]["bias"] == 1.0  # the false alarm of each picture
    assert report["score_threshold"] == 0.05
    assert report["score_threshold_origin"] == "--score-threshold"
    drawn = sorted(file.name for file in Path("out", "worst").glob("*.jpg"))
    assert [name[:3] for name in drawn] == ["01-", "02-", "03-"]


@pytest.mark.usefixtures("perfect")
def test_the_chosen_threshold_is_stored_and_the_tensors_stay(
    data: Path, own_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = own_weights.read_bytes()
    main(["--weights", str(own_weights), "--data", str(data), "--choose-threshold"])
    description = read_description(own_weights)
    assert description.score_threshold == float(np.float32(0.6))
    validation = description.figures["validation"]
    assert validation["scut"]["f1"] == 1.0
    assert validation["num_images"] == 3
    assert validation["coco"]["recall_from_96"] is None
    after = own_weights.read_bytes()
    length = [struct.unpack("<Q", content[:8])[0] + 8 for content in (before, after)]
    assert after[length[1] :] == before[length[0] :]
    printed = capsys.readouterr().out
    assert "score threshold 0.6000 (before: 0.5000)" in printed
    assert "best F1 of the very pictures judged here" in printed


def test_no_threshold_is_stored_where_none_finds_a_head(
    data: Path,
    own_weights: Path,
    labelled: AnnotatedSet,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    nothing = [Detections.empty(SIZE)] * 3
    monkeypatch.setattr(subject, "_detect", lambda detector, labelled: nothing)
    before = own_weights.read_bytes()
    arguments = ["--weights", str(own_weights), "--data", str(data), "--choose-threshold"]
    assert run_command(main, arguments) == 2
    assert "nothing is stored" in capsys.readouterr().err
    assert own_weights.read_bytes() == before


def test_detections_of_a_file_in_place_of_weights(
    data: Path, labelled: AnnotatedSet, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_detections(Path("found.json"), labelled)
    main(["--detections", str(path), "--data", str(data), "--output", "out"])
    report = read_metrics(Path("out"))
    assert report["figures"]["coco"]["ap50"] == 1.0
    assert report["score_threshold"] == 0.75  # a file cut at 0.02 has no operating point
    assert report["score_threshold_chosen_here"] is True
    assert "note:" not in capsys.readouterr().out


def test_what_a_file_of_detections_lacks_is_said(
    data: Path, labelled: AnnotatedSet, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [image.file_name for image in labelled.images]
    failed = [{"file": names[1], "error": "empty"}]
    path = write_detections(Path("found.json"), labelled, score_threshold=0.5)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"images": content["images"][:1], "failed": failed}))
    main(["--detections", str(path), "--data", str(data), "--output", "out"])
    printed = capsys.readouterr().out
    assert f"could not read, counted as without heads: 1, the first: {names[1]}" in printed
    assert f"without detections in found.json, counted as such: 1, the first: {names[2]}" in printed
    assert "found.json holds no scores under 0.5" in printed
    report = read_metrics(Path("out"))
    assert report["score_threshold"] == 0.5
    assert len(report["notes"]) == 3
    assert report["images"][1]["missed"] == report["images"][1]["heads"]


def test_pictures_of_another_size_than_the_labels_say_are_noted(
    data: Path, labelled: AnnotatedSet, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_detections(Path("found.json"), labelled)
    path.write_text(path.read_text().replace('"width": 80', '"width": 160', 1))
    main(["--detections", str(path), "--data", str(data), "--output", "out"])
    assert "of another size than their labels say: 1, the first: " in capsys.readouterr().out


def test_labels_without_heads_are_noted(
    data: Path, labelled: AnnotatedSet, capsys: pytest.CaptureFixture[str]
) -> None:
    data.write_text(json.dumps(json.loads(data.read_text()) | {"annotations": []}))
    path = write_detections(Path("found.json"), labelled)
    main(["--detections", str(path), "--data", str(data), "--output", "out"])
    assert "note: set/annotations has no labelled heads to find" in capsys.readouterr().out
    figures = read_metrics(Path("out"))["figures"]
    assert figures["coco"]["ap50"] is None
    assert figures["counting"]["bias"] > 0


def test_a_picture_that_cannot_be_read_stops_the_measurement(
    data: Path, tiny_weights: Path
) -> None:
    next((data.parent / "images").iterdir()).write_bytes(b"no picture")
    with pytest.raises(PictureError):
        main(["--weights", str(tiny_weights), "--data", str(data)])
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected --data"),
        (["--data", "none.json"], "none.json: no such file or folder"),
        (["--data", "DATA", "--choose-threshold"], "expected --weights"),
        (
            ["--data", "DATA", "--images", "empty", "--weights", "WEIGHTS"],
            "missing of 3: 3, the first",
        ),
        (["--data", "DATA", "--weights", "none.safetensors"], "no such file"),
        (["--data", "DATA", "--detections", "none.json"], "none.json: no such file"),
        (["--data", "DATA", "--detections", "bad.json"], "bad.json: expected detections.json"),
        (["--data", "DATA", "--detections", "nan.json"], "nan.json: [0]: expected a score"),
        (["--data", "DATA", "--detections", "WEIGHTS"], "expected detections.json"),
        (["--data", "empty.json"], "the set has none"),
        (["--compare", "none.json", "none.json"], "none.json: expected metrics.json"),
    ],
)
def test_mistakes_are_one_line(
    data: Path,
    tiny_weights: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("empty").mkdir()
    Path("bad.json").write_text("{")
    row = {"image_id": 1, "bbox": [0, 0, 1, 1], "score": float("nan")}
    Path("nan.json").write_text(json.dumps([row]))
    Path("empty.json").write_text('{"images": [], "annotations": []}')
    places = {"DATA": str(data), "WEIGHTS": str(tiny_weights)}
    assert run_command(main, [places.get(word, word) for word in arguments]) == 2
    output = capsys.readouterr()
    (line,) = (line for line in output.err.splitlines() if "error" in line)
    assert line.startswith("error: ")
    assert message in line
    assert "Traceback" not in output.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--weights", "a", "--detections", "b"],
        ["--score-threshold", "0.5", "--choose-threshold"],
        ["--score-threshold", "1.5"],
        ["--num-resamples", "0"],
        ["--protocol", "none"],
    ],
)
def test_options_that_make_no_sense(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        main(["--data", "x", *arguments])
    assert error.value.code == 2
    assert "error: argument" in capsys.readouterr().err
