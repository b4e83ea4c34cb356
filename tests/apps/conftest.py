"""A network and pictures small enough for tests of whole commands."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from head_detection.config import DatasetConfig, parse_config
from head_detection.data.annotations import AnnotatedSet
from head_detection.data.formats import load_annotations
from head_detection.data.synthetic import synthetic_set
from head_detection.models.faster_rcnn import build_detector
from head_detection.models.weights import WeightsDescription, save_weights


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of an untrained network: they find nothing sensible, quickly."""
    config = parse_config(
        {},
        [
            "model.backbone.name=mobilenet0.25",
            "model.backbone.fpn_width=8",
            "model.roi.box_head_width=16",
            "model.roi.score_threshold=0.0",
            "model.roi.detections_per_image=20",
            "model.anchors.sizes=[[8], [16], [32], [64]]",
        ],
    ).model
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, build_detector(config), WeightsDescription(model=config))
    return path


@pytest.fixture
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Labels of three made-up pictures of 80 x 64."""
    return synthetic_set(tmp_path / "set", 3, (64, 80), seed=1)


@pytest.fixture
def labelled(data: Path) -> AnnotatedSet:
    """What ``data`` holds."""
    return load_annotations(DatasetConfig(path=str(data)))


@pytest.fixture(scope="session")
def read_metrics() -> Callable[[Path], dict[str, Any]]:
    """A function from a folder to what its ``metrics.json``, of nothing but JSON, holds."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    def read(folder: Path) -> dict[str, Any]:
        text = (folder / "metrics.json").read_text()
        report: dict[str, Any] = json.loads(text, parse_constant=refuse)
        return report

    return read
