import json
import re
import shutil
from importlib.util import find_spec

import numpy as np
import pytest
from matplotlib import cbook
from PIL import Image

from head_detection.apps.main import main
from head_detection.inference.backends import export
from head_detection.inference.backends.extras import import_extra
from head_detection.inference.backends.onnx import read_onnx
from head_detection.inference.backends.openvino import read_openvino
from head_detection.inference.building import describe_weights
from head_detection.inference.detector import HeadDetector
from head_detection.inference.weights_files import sha256_of, shipped_weights

if any(find_spec(package) is None for package in ("onnx", "onnxruntime", "openvino", "nncf")):
    pytest.skip("needs the export extra", allow_module_level=True)
onnx = import_extra("onnx")

PORTRAIT = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)


@pytest.fixture(scope="module")
def portraits(tmp_path_factory):
    """The portrait small, whole and mirrored: a calibration of seconds."""
    folder = tmp_path_factory.mktemp("portraits")
    with Image.open(PORTRAIT) as portrait:
        for name, size in (("a.png", (256, 300)), ("b.png", (120, 140)), ("c.png", (200, 234))):
            portrait.resize(size).save(folder / name)
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.mark.parametrize(("to", "name"), [("onnx", "tiny.onnx"), ("openvino", "tiny.xml")])
def test_an_exported_file_serves_every_command(tiny_weights, tmp_path, capsys, to, name):
    output = tmp_path / "made" / name
    arguments = ["--weights", str(tiny_weights), "--to", to, "--output", str(output)]
    assert main(["export", *arguments]) == 0
    said = capsys.readouterr().out
    assert "against torch fp32 on 1 pictures: outputs differ by at most" in said
    assert f"written: {output}" in said
    read = read_onnx if to == "onnx" else read_openvino
    _, description, record = read(output)
    assert description == describe_weights(tiny_weights)
    assert record.from_sha256 == sha256_of(tiny_weights)
    assert (record.to, record.precision) == (to, "fp32")
    found = tmp_path / "found"
    source = ["--source", PORTRAIT, "--save", "json", "--output", str(found)]
    assert main(["test", "--weights", str(output), "--precision", "fp32", *source]) == 0
    model = json.loads((found / "detections.json").read_text(encoding="utf-8"))["model"]
    assert (model["weights"], model["engine"], model["precision"]) == (name, to, "fp32")


def test_heads_are_compared_however_high_the_threshold(tiny_weights, tmp_path, capsys):
    shutil.copy(tiny_weights, tmp_path / "tiny.safetensors")
    preset = tmp_path / "strict.yaml"
    preset.write_text("weights: tiny.safetensors\ninference: {score_threshold: 0.999}\n")
    output = ["--output", str(tmp_path / "strict.onnx")]
    assert main(["export", "--weights", str(preset), "--to", "onnx", *output]) == 0
    heads = re.search(r"of (\d+) heads scored 0.3 or more 0 are missing", capsys.readouterr().out)
    assert heads is not None
    assert int(heads[1]) > 0


def test_int8_finds_the_head_that_fp32_finds(portraits, tmp_path, capsys):
    output = tmp_path / "fast.xml"
    arguments = [
        "--to",
        "openvino",
        "--int8",
        "--calibration",
        str(portraits),
        "--output",
        str(output),
    ]
    assert main(["export", *arguments]) == 0
    said = capsys.readouterr()
    assert "against torch fp32 on 3 pictures" in said.out
    assert "broken.png" in said.err
    assert output.with_suffix(".bin").stat().st_size < 0.8 * shipped_weights().stat().st_size
    pictures = sorted(portraits.glob("?.png"))
    detector = HeadDetector.from_weights(output, device="cpu")
    assert detector.origin["precision"] == "int8"
    exact = HeadDetector.from_weights(device="cpu", precision="fp32").detect(pictures)
    for found, expected in zip(detector.detect(pictures), exact, strict=True):
        assert len(found) == len(expected) == 1
        size = expected.boxes_xywh[0, 2:].max()
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.1 * size)
        np.testing.assert_allclose(found.scores, expected.scores, atol=0.2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "onnx", "--output", "a.xml"], "--output: expected a .onnx file; got a.xml"),
        (["--to", "openvino", "--output", "a.onnx"], "--output: expected a .xml file"),
        (["--to", "onnx", "--output", "a.onnx", "--int8"], "--int8: expected --calibration"),
        (
            ["--to", "onnx", "--output", "a.onnx", "--weights", "gone.safetensors"],
            "gone.safetensors: expected a weights file; got no such file",
        ),
        (
            ["--to", "onnx", "--output", "a.onnx", "--int8", "--calibration", "gone"],
            "'gone': ",
        ),
        (
            ["--to", "onnx", "--output", "a.onnx", "--int8", "--calibration", "empty"],
            "empty",
        ),
    ],
)
def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main(["export", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_graph_that_gives_something_else_is_not_written(
    tiny_weights, tmp_path, monkeypatch, capsys
):
    genuine = export.to_onnx

    def with_other_weights(network, config):
        graph = genuine(network, config)
        bias = next(t for t in graph.graph.initializer if t.name.endswith("cls_score.bias"))
        bias.CopyFrom(onnx.numpy_helper.from_array(np.array([1, -1], np.float32), bias.name))
        return graph

    monkeypatch.setattr(export, "to_onnx", with_other_weights)
    output = tmp_path / "tiny.onnx"
    arguments = ["--weights", str(tiny_weights), "--to", "onnx", "--output", str(output)]
    assert main(["export", *arguments]) == 1
    assert "expected outputs within 0.001 of their largest value" in capsys.readouterr().err
    assert not output.exists()
