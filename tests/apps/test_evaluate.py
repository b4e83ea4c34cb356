import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from head_detection.apps.command import run_command
from head_detection.apps.evaluation import predictions
from head_detection.apps.main import run
from head_detection.boxes import areas
from head_detection.data.annotations import AnnotatedSet
from head_detection.errors import PictureError
from head_detection.evaluation import calibration
from head_detection.models.weights import read_description
from head_detection.structures import Detections


def main(arguments: list[str]) -> int:
    return run(["evaluate", *arguments])


ReadMetrics = Callable[[Path], dict[str, Any]]
pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


@pytest.fixture
def own_weights(tiny_weights: Path, tmp_path: Path) -> Path:
    path = tmp_path / "own.safetensors"
    path.write_bytes(tiny_weights.read_bytes())
    return path


@pytest.fixture
def perfect(labelled: AnnotatedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every detector answer the truth, scored 0.9 to 0.6, and a false alarm scored 0.1."""

    def answer(detector: object, labelled: AnnotatedSet) -> tuple[list[Detections], list[str]]:
        corner = [[0, 0, 1, 1]]
        found = [
            Detections.from_arrays(
                np.concatenate([image.truth.boxes, corner]),
                [*np.linspace(0.9, 0.6, len(image.truth.boxes)), 0.1],
                image.image_size,
            )
            for image in labelled.images
        ]
        return found, []

    monkeypatch.setattr(predictions, "_detect", answer)


def test_pictures_that_were_shrunk_are_noted(
    data: Path,
    tiny_weights: Path,
    capsys: pytest.CaptureFixture[str],
    read_metrics: ReadMetrics,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(predictions, "SHOWN_NOTES", 2)
    small = ["--set", "inference.resize.min_size=32", "inference.resize.max_size=32"]
    main(["--weights", str(tiny_weights), "--data", str(data), "--output", "out", *small])
    notes = read_metrics(Path("out"))["notes"]
    assert [note.partition(":")[2][:30] for note in notes[:2]] == [
        " seen at 40% of its size, wher"
    ] * 2
    assert notes[2:] == ["notes on pictures: 3, of which 2 are shown"]
    assert f"note: {notes[0]}\n" in capsys.readouterr().out


def test_weights_are_measured_by_every_protocol(
    data: Path,
    tiny_weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    read_metrics: ReadMetrics,
) -> None:
    output = tmp_path / "out"
    assert main(["--weights", str(tiny_weights), "--data", str(data), "--output", str(output)]) == 0
    report = read_metrics(output)
    assert report["schema"] == "head-detection/metrics/2"
    assert report["num_images"] == len(report["images"]) == 3
    assert set(report["metrics"]) == {
        *("coco", "crowdhuman", "mot", "scut", "headhunter", "counting")
    }
    assert report["score_threshold"] == read_description(tiny_weights).inference.score_threshold
    assert report["score_threshold_chosen_here"] is False
    printed = capsys.readouterr().out
    assert "3 pictures" in printed
    assert "operating point: stored in the weights" in printed
    assert f"{report['metrics']['coco']['ap50']:.4f}" in printed
    assert len(list((output / "plots").glob("*.png"))) == 4


@pytest.mark.usefixtures("perfect")
def test_a_detector_that_answers_the_truth_scores_one(
    data: Path, tiny_weights: Path, read_metrics: ReadMetrics
) -> None:
    main(["--weights", str(tiny_weights), "--data", str(data), "--num-resamples", "20"])
    report = read_metrics(Path("runs", "evaluate", f"tiny-{data.stem}"))
    metrics = report["metrics"]
    for protocol, name in (("coco", "ap"), ("scut", "f1"), ("mot", "moda"), ("crowdhuman", "ji")):
        assert metrics[protocol][name] == 1.0
    assert metrics["crowdhuman"]["ap"] == 0.9  # the toolkit's curve begins at the first of 10 heads
    assert metrics["counting"] == {"mae": 0.0, "rmse": 0.0, "bias": 0.0}
    assert report["intervals"]["f1"] == [1.0, 1.0]
    assert metrics["coco"]["recall_from_96"] is None  # no head is as large
    assert [(p["missed"], p["false"]) for p in report["images"]] == [(0, 0)] * 3


@pytest.mark.usefixtures("perfect")
def test_a_threshold_that_is_given_is_the_operating_point(
    data: Path, tiny_weights: Path, read_metrics: ReadMetrics
) -> None:
    arguments = ["--weights", str(tiny_weights), "--data", str(data), "--output", "out"]
    main([*arguments, "--score-threshold", "0.05", "--protocol", "scut"])
    report = read_metrics(Path("out"))
    assert set(report["metrics"]) == {"scut", "counting"}
    assert report["metrics"]["counting"]["bias"] == 1.0  # the false alarm of each picture
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
    assert description.inference.score_threshold == float(np.float32(0.6))
    validation = description.metrics["validation"]
    assert validation["scut"]["f1"] == 1.0
    assert validation["num_images"] == 3
    assert validation["coco"]["recall_from_96"] is None
    after = own_weights.read_bytes()
    length = [struct.unpack("<Q", content[:8])[0] + 8 for content in (before, after)]
    assert after[length[1] :] == before[length[0] :]
    printed = capsys.readouterr().out
    assert "score threshold 0.6000 (before: 0.5000)" in printed
    assert "best F1 of the very pictures measured here" in printed


def test_no_threshold_is_stored_where_none_finds_a_head(
    data: Path,
    own_weights: Path,
    labelled: AnnotatedSet,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    nothing = [Detections.empty(image.image_size) for image in labelled.images]
    monkeypatch.setattr(predictions, "_detect", lambda detector, labelled: (nothing, []))
    before = own_weights.read_bytes()
    arguments = ["--weights", str(own_weights), "--data", str(data), "--choose-threshold"]
    assert run_command(main, arguments) == 2
    assert "nothing is stored" in capsys.readouterr().err
    assert own_weights.read_bytes() == before


def test_a_calibration_of_too_few_heads_is_refused_and_nothing_stored(
    data: Path, own_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = own_weights.read_bytes()
    arguments = ["--weights", str(own_weights), "--data", str(data)]
    assert run_command(main, [*arguments, "--choose-threshold", "--calibrate"]) == 2
    assert "--calibrate: " in (line := capsys.readouterr().err.splitlines()[-1])
    assert "expected 50 right detections" in line
    assert run_command(main, [*arguments, "--calibrate"]) == 2
    assert "expected --choose-threshold too" in capsys.readouterr().err
    assert own_weights.read_bytes() == before


def test_a_calibration_is_stored_with_its_threshold(
    data: Path,
    own_weights: Path,
    labelled: AnnotatedSet,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(calibration, "MIN_EACH", 1)
    heads = [image.truth.head_boxes for image in labelled.images]
    found = []
    for image, boxes in zip(labelled.images, heads, strict=True):
        false = [[0, 0, 110, 110], [100, 40, 110, 50]]
        scores = [*(0.5 + 0.01 * np.arange(len(boxes))), 0.55, 0.05]
        found.append(Detections.from_arrays([*boxes, *false], scores, image.image_size))
    monkeypatch.setattr(predictions, "_detect", lambda detector, labelled: (found, []))
    arguments = ["--weights", str(own_weights), "--data", str(data), "--choose-threshold"]
    assert run_command(main, [*arguments, "--calibrate"]) == 0
    stored = read_description(own_weights)
    fitted = stored.inference.calibration
    assert fitted is not None
    sizes = np.sqrt(np.concatenate([areas(boxes) for boxes in heads]))
    # What lies beyond the true heads, as the false alarm of 110 pixels, tells nothing of them.
    assert [fitted.smallest_head, fitted.largest_head] == pytest.approx(
        np.percentile(sizes, [1, 99]), abs=1e-4
    )
    assert stored.inference.score_threshold > 0.05
    assert "the calibration, score threshold" in capsys.readouterr().out


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
        *(
            (
                ["--data", "DATA", "--detections", "bad.json", *words],
                f"{words[0]}: expected --weights; got --detections, which are found already",
            )
            for words in (
                ["--set", "inference.resize.enlargement=2"],
                ["--tile", "auto"],
                ["--tile-overlap", "0"],
                ["--image-size", "640"],
                ["--engine", "torch"],
                ["--precision", "int8"],
                ["--compile"],
            )
        ),
        (["--data", "DATA", "--detections", "nan.json"], "nan.json: [0]: expected a score"),
        (["--data", "DATA", "--detections", "WEIGHTS"], "expected detections.json"),
        (["--data", "empty.json"], "the set has none"),
        (["--compare", "none.json", "none.json"], "none.json: expected metrics.json"),
        (["--compare", "a.json", "b.json", "--engine", "torch"], "--engine: expected none with"),
        (["--compare", "a.json", "b.json", "--score-threshold", ".5"], "--score-threshold: expect"),
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
