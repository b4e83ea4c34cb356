"""``test`` and ``evaluate`` find the same heads: the threshold is for the answer, not its parts."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from head_detection.apps.evaluation.predictions import detect_all
from head_detection.apps.main import parse, run
from head_detection.config import DatasetConfig
from head_detection.data.annotations import AnnotatedImage, AnnotatedSet
from head_detection.data.formats import load_annotations
from head_detection.data.formats.coco import write_coco
from head_detection.data.synthetic import lay_out, sample_person

needs_export = pytest.mark.skipif(
    any(find_spec(package) is None for package in ("onnx", "onnxruntime", "openvino")),
    reason="needs the export extra",
)
GRIDS = {"dense": (18, 16, 24), "sparse": (30, 3, 4), "tiny": (12, 6, 8)}
"""Head size, rows, columns. The first has more heads than limits let through at first; of the last
few are found by every view."""


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crowds")
    images = []
    for name, (size, rows, columns) in GRIDS.items():
        pixels, truth = lay_out(sample_person(), size, rows=rows, columns=columns)
        path = folder / f"{name}.png"
        Image.fromarray(pixels).save(path)
        images.append(AnnotatedImage(path, path.name, truth, pixels.shape[:2]))
    write_coco(folder / "labels.json", AnnotatedSet("crowds", tuple(images)))
    return folder / "labels.json"


@pytest.mark.parametrize("weights", ["fast", "accurate"])
@pytest.mark.parametrize(
    "engine", ["torch", *(pytest.param(name, marks=needs_export) for name in ("onnx", "openvino"))]
)
def test_test_and_evaluate_find_the_same_heads(
    labels: Path, tmp_path: Path, weights: str, engine: str
) -> None:
    options = ["--weights", weights, "--engine", engine, "--device", "cpu", "--precision", "fp32"]
    source = ["--source", str(labels.parent / "*.png")]
    output = ["--output", str(tmp_path), "--save", "json"]
    assert run(["test", *source, *output, *options]) == 0
    tested = json.loads((tmp_path / "detections.json").read_text())
    records = {record["file"]: record for record in tested["images"]}

    labelled = load_annotations(DatasetConfig(path=str(labels)))
    evaluated = detect_all(parse(["evaluate", "--data", str(labels), *options]), labelled)
    assert evaluated.score_threshold == tested["score_threshold"]
    assert evaluated.lowest_score < evaluated.score_threshold
    assert len(evaluated.detections) == len(records) == len(GRIDS)
    num_unsure = 0
    for image, everything in zip(labelled.images, evaluated.detections, strict=True):
        record = records[image.file_name]
        expected = everything.above(evaluated.score_threshold)
        assert len(everything) >= record["count"] == len(expected) > 0
        num_unsure += len(everything) - len(expected)
        np.testing.assert_allclose(record["scores"], expected.scores, atol=1e-6)
        np.testing.assert_allclose(record["boxes"], expected.boxes, atol=1e-4)
    assert num_unsure > 0
    assert records["dense.png"]["count"] > 0.95 * 16 * 24
