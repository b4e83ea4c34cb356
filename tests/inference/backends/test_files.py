"""Exported files that are whole serve alone."""

import hashlib
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from head_detection.errors import ConfigError, MissingPackageError
from head_detection.inference import extras
from head_detection.inference.building import describe_weights
from head_detection.inference.detector import HeadDetector
from head_detection.inference.extras import import_extra

if any(find_spec(package) is None for package in ("onnx", "onnxruntime", "openvino")):
    pytest.skip("needs the export extra", allow_module_level=True)


@pytest.mark.parametrize(
    ("name", "engine", "runs_with"),
    [
        ("tiny.safetensors", "onnx", "onnx"),
        ("tiny.safetensors", "openvino", "openvino"),
        ("tiny.onnx", None, "onnx"),
        ("tiny.onnx", "openvino", "openvino"),
        ("tiny.xml", None, "openvino"),
    ],
)
def test_every_file_and_engine_finds_the_same_heads(files, name, engine, runs_with):
    moved = files / "alone"
    moved.mkdir()
    for file in files.glob(Path(name).stem + ".*"):
        if file.suffix in (Path(name).suffix, {".xml": ".bin"}.get(Path(name).suffix)):
            shutil.copy(file, moved)
    options = {"device": "cpu", "precision": "fp32"}
    picture = torch.randint(0, 256, (3, 75, 131), dtype=torch.uint8)
    before = sorted(moved.iterdir())
    detector = HeadDetector.from_weights(moved / name, engine, **options)
    assert sorted(moved.iterdir()) == before
    assert detector.score_threshold == 0.3
    assert detector.origin["engine"] == runs_with
    assert detector.origin["precision"] == "fp32"
    assert detector.origin["backbone"] == "mobilenet0.25"
    (expected,) = HeadDetector.from_weights(files / "tiny.safetensors", **options).detect([picture])
    (found,) = detector.detect([picture])
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-2)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)


def test_the_description_survives(files):
    expected = describe_weights(files / "tiny.safetensors")
    assert describe_weights(files / "tiny.onnx") == expected
    assert describe_weights(files / "tiny.xml") == expected


def test_the_digest_of_a_pair_is_of_both_files(files):
    both = (files / "tiny.xml").read_bytes() + (files / "tiny.bin").read_bytes()
    detector = HeadDetector.from_weights(files / "tiny.xml")
    assert detector.origin["sha256"] == hashlib.sha256(both).hexdigest()


def test_engines_that_do_not_take_a_file_say_so(files, message):
    assert "tiny.onnx runs with onnx or openvino; got torch" in message(
        files / "tiny.onnx", engine="torch"
    )
    assert "tiny.xml runs with openvino; got onnx" in message(files / "tiny.xml", engine="onnx")
    assert "expected torch, openvino, onnx; got 'tensorrt'" in message(
        files / "tiny.safetensors", engine="tensorrt"
    )


@pytest.mark.parametrize("name", ["tiny.onnx", "tiny.xml"])
def test_what_the_engine_lacks_is_one_line(files, name, message):
    assert "runs on cpu; got 'cuda'" in message(files / name, device="cuda")
    assert "got 'fp16'" in message(files / name, precision="fp16")


@pytest.mark.parametrize(
    ("name", "engine", "package"),
    [
        ("tiny.safetensors", "onnx", "onnxruntime"),
        ("tiny.safetensors", "openvino", "openvino"),
        ("tiny.safetensors", "openvino", "onnx"),
        ("tiny.onnx", None, "onnx"),
        ("tiny.xml", None, "openvino"),
    ],
)
def test_a_missing_package_says_what_to_install(files, monkeypatch, name, engine, package):
    genuine = extras.import_module

    def without(wanted):
        if wanted == package:
            raise ModuleNotFoundError(f"No module named {wanted!r}", name=wanted)
        return genuine(wanted)

    monkeypatch.setattr(extras, "import_module", without)
    with pytest.raises(MissingPackageError) as caught:
        HeadDetector.from_weights(files / name, engine)
    assert f"expected the package {package} for this" in str(caught.value)
    assert "pip install 'head-detection[export]'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_is_reported_to_the_makers_of_the_libraries():
    import_extra("openvino")
    assert sys.modules["openvino_telemetry"] is None


@pytest.mark.parametrize("name", ["tiny.onnx", "tiny.xml"])
@pytest.mark.parametrize(
    "change",
    [
        "size_divisor=16",
        "backbone.fpn_width=8",
        "anchors.sizes=[[8, 9], [16, 17]]",
        "upscale=true",
        "backbone.context=ssh",
        "box_head.width=32",
    ],
)
def test_what_an_export_fixed_is_not_overridden(files, name, change):
    override = f"network.{change}"
    with pytest.raises(ConfigError, match="only that part of a config can change"):
        HeadDetector.from_weights(files / name, overrides=[override])
    HeadDetector.from_weights(files / name, overrides=["inference.resize.enlargement=2.0"])
