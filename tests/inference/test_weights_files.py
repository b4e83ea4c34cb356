from pathlib import Path

import pytest

from head_detection.errors import EngineError, WeightsError
from head_detection.inference import weights_files
from head_detection.inference.weights_files import (
    choose_engine,
    digest_of_all,
    shipped_weights,
    weights_path,
)


def test_installed_weights_are_found_before_those_of_a_checkout(tmp_path, monkeypatch):
    package = tmp_path / "head_detection"
    monkeypatch.setattr(weights_files, "_PACKAGE", package)
    for folder in (tmp_path / "weights", package / "weights"):
        folder.mkdir(parents=True)
        (folder / "fast.safetensors").write_bytes(b"")
        assert shipped_weights() == folder / "fast.safetensors"


def test_in_int8_the_export_is_part_of_what_answers_depend_on(tmp_path):
    weights, preset = tmp_path / "mine.safetensors", tmp_path / "mine.yaml"
    weights.write_bytes(b"tensors")
    preset.write_text("weights: mine.safetensors")
    export = tmp_path / "mine-int8.xml"
    export.write_bytes(b"graph")
    files = (weights, preset)
    assert [digest_of_all(file, "int8") for file in files] == [  # it has no .bin yet
        digest_of_all(file, "auto") for file in files
    ]
    seen = set()
    for values in (b"one calibration", b"another"):
        export.with_suffix(".bin").write_bytes(values)
        seen |= {digest_of_all(file, "int8") for file in files}
        seen |= {digest_of_all(file, "auto") for file in files}
    assert len(seen) == 6
    assert digest_of_all(export, "int8") == digest_of_all(export, "auto")


def test_shipped_files_have_names(tmp_path, monkeypatch):
    monkeypatch.setattr(weights_files, "_PACKAGE", tmp_path / "head_detection")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    shipped = tmp_path / "weights" / "accurate.yaml"
    shipped.write_bytes(b"")
    assert weights_path("accurate") == weights_path(Path("accurate")) == shipped
    for other in ("fast", "accurate.safetensors", "./accurate", "my/accurate"):
        assert weights_path(other) == Path(other)
    (tmp_path / "accurate").write_bytes(b"")
    assert weights_path("accurate") == Path("accurate")


def test_missing_weights_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(weights_files, "_PACKAGE", tmp_path)
    with pytest.raises(WeightsError, match=r"fast\.safetensors in .*give the path") as error:
        shipped_weights()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "asked", "engine"),
    [
        ("a.safetensors", None, "torch"),
        ("a.safetensors", "onnx", "onnx"),
        ("accurate.yaml", None, "torch"),
        ("accurate.yaml", "openvino", "openvino"),
        ("a.onnx", None, "onnx"),
        ("a.onnx", "openvino", "openvino"),
        ("a.xml", None, "openvino"),
        ("A.XML", None, "openvino"),
        ("A.Onnx", None, "onnx"),
    ],
)
def test_a_file_has_an_engine_of_its_own(name, asked, engine):
    assert choose_engine(Path(name), asked) == engine


@pytest.mark.parametrize(
    ("name", "asked", "message"),
    [
        ("a.onnx", "torch", "a.onnx runs with onnx or openvino; got torch"),
        ("a.xml", "onnx", "a.xml runs with openvino; got onnx"),
        ("a.safetensors", "tensorrt", "expected auto, torch, openvino, onnx; got 'tensorrt'"),
    ],
)
def test_engines_that_do_not_take_a_file_say_so(name, asked, message):
    with pytest.raises(EngineError, match=message):
        choose_engine(Path(name), asked)
