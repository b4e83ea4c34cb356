import json
from pathlib import Path

import pytest

from head_detection.apps import evaluate as app
from head_detection.apps.evaluate import main
from head_detection.config import DatasetConfig
from head_detection.data.formats import load_annotations
from head_detection.data.picture import PictureError
from head_detection.data.synthetic import synthetic_set
from head_detection.structures import Detections


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return synthetic_set(tmp_path / "set", 3, (64, 80), seed=1)


def test_figures_are_printed_and_written(
    data: Path, tiny_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert main(["--weights", str(tiny_weights), "--data", str(data), "--output", str(output)]) == 0
    report = json.loads((output / "metrics.json").read_text())
    assert report["num_images"] == 3
    assert 0 <= report["figures"]["ap50"] <= 1
    printed = capsys.readouterr().out
    assert "3 pictures" in printed
    assert f"{report['figures']['ap50']:.4f}" in printed


def test_a_detector_that_answers_the_truth_scores_one(
    data: Path,
    tiny_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    truths = [image.truth for image in load_annotations(DatasetConfig(path=str(data))).images]
    answers = [Detections.from_arrays(t.boxes, [0.9] * len(t.boxes), (64, 80)) for t in truths]
    monkeypatch.setattr(app, "_detect", lambda detector, labelled: answers)
    main(["--weights", str(tiny_weights), "--data", str(data)])
    figures = dict(line.split() for line in capsys.readouterr().out.splitlines()[1:])
    assert figures["ap50"] == figures["best_f1"] == figures["recall"] == "1.0000"
    assert figures["count_mae"] == "0.0000"


def test_a_picture_that_cannot_be_read_stops_the_measurement(
    data: Path, tiny_weights: Path
) -> None:
    next((data.parent / "images").iterdir()).write_bytes(b"no picture")
    with pytest.raises(PictureError):
        main(["--weights", str(tiny_weights), "--data", str(data)])
