from pathlib import Path

import pytest
import torch

from head_detection.benchmark.baseline import build_baseline
from head_detection.benchmark.detectors import (
    DetectorSpec,
    list_specs,
    prepare_baseline,
    prepare_detector,
    prepare_same_network,
    shortest_names,
    with_own_names,
)
from head_detection.errors import BenchmarkError


def test_each_file_is_taken_with_each_engine(tiny_weights: Path) -> None:
    specs = list_specs([tiny_weights, tiny_weights], ["torch"], "cpu", "fp32")
    assert specs == [DetectorSpec("tiny", tiny_weights, "torch", "cpu", "fp32")] * 2
    (shipped,) = list_specs(None, ["torch"], "cpu", "auto")
    assert shipped.weights.name == "fast.safetensors"


def test_files_called_alike_are_told_apart_by_their_folders() -> None:
    paths = [Path("best.safetensors"), Path("/runs/a/best.safetensors"), Path("b/best.xml")]
    assert shortest_names(paths) == ["best", "a/best", "b/best"]
    assert shortest_names([Path("a/x.onnx"), Path("b/y.onnx")]) == ["x", "y"]
    assert shortest_names([Path("a/x.onnx"), Path("a/x.safetensors")]) == ["x", "x"]
    assert shortest_names([]) == []


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="gone: expected a weights file; got no such file"):
        list_specs([tmp_path / "gone"], ["torch"], "cpu", "fp32")


def test_a_detector_of_ours(tiny_weights: Path) -> None:
    detector = prepare_detector(DetectorSpec("tiny", tiny_weights, "torch", "cpu", "fp32"))
    assert detector.name == "tiny torch fp32"
    assert "tiny.safetensors, torch in fp32 on cpu" in detector.description
    assert detector.facts["model"]["weights"] == "tiny.safetensors"
    assert detector.load_plain is not None
    assert detector.load_plain().network.roi_heads.box_head.fc6.out_features == 16
    twice = with_own_names([detector, detector])
    assert [one.name for one in twice] == ["tiny torch fp32", "tiny torch fp32 (2)"]


def test_the_baseline_and_its_network_in_our_engine() -> None:
    baseline = build_baseline(min_size=64, max_size=96)
    same = prepare_same_network(baseline, "cpu", "fp32")
    theirs = prepare_baseline(baseline, torch.device("cpu"))
    image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    (ours,) = same.detect(image)  # type: ignore[misc]
    found = theirs.detect(image)
    assert len(ours) == len(found["scores"]) > 0  # type: ignore[index]
    # Folded batch norm rounds otherwise, so the boxes are near, not the same.
    assert ours.scores[0] == pytest.approx(float(found["scores"][0]), abs=1e-3)  # type: ignore[index]
    assert same.load_plain is not None
    assert theirs.load_plain is None
    assert theirs.facts["precision"] == "fp32"
