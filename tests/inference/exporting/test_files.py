"""Exported files: whole ones serve alone, others say in one line what is wrong with them."""

import hashlib
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from head_detection.inference import extras
from head_detection.inference.building import EngineError, describe_weights
from head_detection.inference.detector import HeadDetector
from head_detection.inference.devices import DeviceError
from head_detection.inference.exporting.graphs import RECORD_KEY, ExportRecord
from head_detection.inference.exporting.network import to_onnx
from head_detection.inference.exporting.onnx_files import read_onnx, write_onnx
from head_detection.inference.exporting.openvino_files import from_onnx, write_openvino
from head_detection.inference.extras import MissingPackageError, import_extra
from head_detection.models.weights import (
    METADATA_KEY,
    WeightsDescription,
    WeightsError,
    save_weights,
)

if any(find_spec(package) is None for package in ("onnx", "onnxruntime", "openvino")):
    pytest.skip("needs the export extra", allow_module_level=True)
onnx, openvino = import_extra("onnx"), import_extra("openvino")


@pytest.fixture(scope="module")
def exported(build, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    model = build()
    description = WeightsDescription(
        model=model.config, score_threshold=0.3, licence='<MIT> & "others"', figures={"ap": 0.5}
    )
    save_weights(folder / "tiny.safetensors", model, description)
    graph = to_onnx(model)
    write_onnx(folder / "tiny.onnx", graph, description, ExportRecord(to="onnx"))
    record = ExportRecord(to="openvino")
    write_openvino(folder / "tiny.xml", from_onnx(graph), description, record)
    return folder


@pytest.fixture
def files(exported, tmp_path):
    """A folder with the same detector as tiny.safetensors, tiny.onnx and tiny.xml."""
    return Path(shutil.copytree(exported, tmp_path / "files"))


def message(path: Path, **options) -> str:
    with pytest.raises((WeightsError, EngineError, DeviceError)) as caught:
        HeadDetector.from_weights(path, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


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


def test_engines_that_do_not_take_a_file_say_so(files):
    assert "tiny.onnx runs with onnx or openvino; got torch" in message(
        files / "tiny.onnx", engine="torch"
    )
    assert "tiny.xml runs with openvino; got onnx" in message(files / "tiny.xml", engine="onnx")
    assert "expected torch, openvino, onnx; got 'tensorrt'" in message(
        files / "tiny.safetensors", engine="tensorrt"
    )


@pytest.mark.parametrize("name", ["tiny.onnx", "tiny.xml"])
def test_what_the_engine_lacks_is_one_line(files, name):
    assert "runs on cpu; got 'cuda'" in message(files / name, device="cuda")
    assert "got 'fp16'" in message(files / name, precision="fp16")


@pytest.mark.parametrize("name", ["tiny.onnx", "tiny.xml"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_file_says_so(files, name, share):
    content = (files / name).read_bytes()
    (files / name).write_bytes(content[: int(share * len(content))])
    assert "truncated" in message(files / name)


@pytest.mark.parametrize("name", ["tiny.onnx", "tiny.xml"])
def test_noise_is_no_file(files, name):
    (files / name).write_bytes(np.random.default_rng(0).bytes(5000))
    assert f"expected a whole {'.onnx' if name == 'tiny.onnx' else 'OpenVINO'}" in message(
        files / name
    )


@pytest.mark.parametrize("name", ["tiny.onnx", "tiny.xml"])
def test_a_file_that_is_not_there(files, name):
    assert "no such file" in message(files / "gone" / name)


def test_an_xml_without_its_bin_or_with_another(files):
    values = files / "tiny.bin"
    content = values.read_bytes()
    values.write_bytes(content[:-4])
    assert "truncated" in message(files / "tiny.xml")
    values.write_bytes(content[:-4] + b"\0\0\1\1")
    assert "tiny.bin is truncated or that of another export" in message(files / "tiny.xml")
    values.unlink()
    assert "expected its values beside it in tiny.bin; no such file" in message(files / "tiny.xml")


def test_files_of_other_origin_say_so(files):
    graph, _, _ = read_onnx(files / "tiny.onnx")
    del graph.metadata_props[:]
    (files / "tiny.onnx").write_bytes(graph.SerializeToString())
    assert "expected an .onnx file that scripts/export.py wrote" in message(files / "tiny.onnx")
    openvino.serialize(from_onnx(graph), files / "tiny.xml")
    assert "expected an .xml file that scripts/export.py wrote" in message(files / "tiny.xml")


def test_an_operation_that_the_engine_lacks_is_one_line(files):
    graph = onnx.load(files / "tiny.onnx")
    next(node for node in graph.graph.node if node.op_type == "Conv").op_type = "Foo"
    (files / "tiny.onnx").write_bytes(graph.SerializeToString())
    assert "ONNX Runtime cannot run this graph" in message(files / "tiny.onnx")
    assert "cannot be converted to OpenVINO" in message(files / "tiny.onnx", engine="openvino")


def set_entry(path, key, value):
    graph = onnx.load(path)
    entries = {entry.key: entry.value for entry in graph.metadata_props} | {key: value}
    onnx.helper.set_model_props(graph, entries)
    path.write_bytes(graph.SerializeToString())


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        (METADATA_KEY, "{}", "expected format version 1; got None"),
        (METADATA_KEY, '{"format_version": 1}', "its description is damaged"),
        (RECORD_KEY, '{"to": "tensorrt"}', "its record of the export is damaged"),
    ],
)
def test_a_damaged_description_says_so(files, key, text, expected):
    set_entry(files / "tiny.onnx", key, text)
    assert expected in message(files / "tiny.onnx")


def test_a_graph_that_does_not_fit_its_description_says_so(files, build):
    path = files / "tiny.onnx"
    wider = WeightsDescription(model=build(fpn_width=24).config).model_dump_json()
    set_entry(path, METADATA_KEY, wider)
    assert "expected pooled of shape (any, 3, 3, 24); got (any, 3, 3, 16)" in message(path)
    more = WeightsDescription(model=build(strides=(8, 16, 32)).config).model_dump_json()
    set_entry(path, METADATA_KEY, more)
    assert "does not fit its description: no features_32" in message(path)


def first_value(graph):
    return graph.graph.initializer[0]


def constant(graph):
    return graph.graph.node.add(op_type="Constant").attribute.add(name="value").t


def constant_in_a_branch(graph):
    branch = graph.graph.node.add(op_type="If").attribute.add(name="then_branch").g
    return branch.node.add(op_type="Constant").attribute.add(name="value").t


def constant_in_a_function(graph):
    function = graph.functions.add(name="f")
    return function.node.add(op_type="Constant").attribute.add(name="value").t


@pytest.mark.parametrize(
    "choose", [first_value, constant, constant_in_a_branch, constant_in_a_function]
)
def test_values_in_other_files_are_refused(files, choose):
    (files / "secret").write_bytes(bytes(4096))
    graph = onnx.load(files / "tiny.onnx")
    tensor = choose(graph)
    tensor.raw_data = bytes(4)  # what the function of the next line asks for
    onnx.external_data_helper.set_external_data(tensor, location="secret")
    tensor.ClearField("raw_data")
    (files / "tiny.onnx").write_bytes(graph.SerializeToString())
    for engine in ("onnx", "openvino"):
        assert "names others (external data)" in message(files / "tiny.onnx", engine=engine)


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
    assert sys.modules["openvino_telemetry"] is None
