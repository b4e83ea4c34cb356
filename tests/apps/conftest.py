"""A network and pictures small enough for tests of whole commands."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from head_detection.config import DatasetConfig
from head_detection.data.annotations import AnnotatedSet
from head_detection.data.formats import load_annotations
from head_detection.data.synthetic import synthetic_set


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
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels of six made-up pictures of 96 x 64, to train with."""
    return synthetic_set(tmp_path_factory.mktemp("pictures"), 6, (64, 96), seed=0)


@pytest.fixture
def experiment(labels: Path, tmp_path: Path, tiny_experiment: dict[str, Any]) -> Path:
    """A training of three steps."""
    values = {
        **tiny_experiment,
        "data": {
            "train": [{"path": str(labels)}],
            "validation": [{"path": str(labels)}],
            "allow_overlap": True,
        },
        "training": {
            "epochs": 1,
            "threads": 1,
            "log_steps": 1,
            "rpn": {"pre_nms_top_n": 20, "post_nms_top_n": 10},
        },
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


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
