"""One small detector in all the files that an engine may take."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from head_detection.errors import DeviceError, EngineError, WeightsError
from head_detection.inference.backends.export import to_onnx
from head_detection.inference.backends.graph_shapes import ExportRecord
from head_detection.inference.backends.onnx_files import write_onnx
from head_detection.inference.backends.openvino_files import from_onnx, write_openvino
from head_detection.inference.detector import HeadDetector
from head_detection.models.faster_rcnn import FasterRCNN
from head_detection.models.weights import WeightsDescription, save_weights


@pytest.fixture(scope="session")
def exported(
    build: Callable[..., FasterRCNN],
    describe: Callable[..., WeightsDescription],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    network = build().network
    facts = {"licence": '<MIT> & "others"', "metrics": {"ap": 0.5}}
    description = describe().with_score_threshold(0.3).model_copy(update=facts)
    save_weights(folder / "tiny.safetensors", network, description)
    graph = to_onnx(network, description.network)
    write_onnx(folder / "tiny.onnx", graph, description, ExportRecord(to="onnx"))
    record = ExportRecord(to="openvino")
    write_openvino(folder / "tiny.xml", from_onnx(graph), description, record)
    return folder


@pytest.fixture
def files(exported: Path, tmp_path: Path) -> Path:
    """A folder with the same detector as tiny.safetensors, tiny.onnx and tiny.xml."""
    return Path(shutil.copytree(exported, tmp_path / "files"))


@pytest.fixture(scope="session")
def message() -> Callable[..., str]:
    """A function from a file and options to the one line that refuses them."""

    def refuse(path: Path, **options: Any) -> str:
        with pytest.raises((WeightsError, EngineError, DeviceError)) as caught:
            HeadDetector.from_weights(path, **options)
        text = str(caught.value)
        assert "\n" not in text
        return text

    return refuse
