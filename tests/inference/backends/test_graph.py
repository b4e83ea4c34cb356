"""What exported graphs share: how they are run, and how files that are not whole say so."""

import gc
import json
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from head_detection.errors import DeviceError, WeightsError
from head_detection.inference.backends.export import to_onnx
from head_detection.inference.backends.extras import import_extra
from head_detection.inference.backends.graph import RECORD_KEY, ExportRecord, parse_texts
from head_detection.inference.backends.onnx import OnnxBackend, read_onnx
from head_detection.inference.backends.openvino import OpenVinoBackend, from_onnx
from head_detection.models.weights import METADATA_KEY, WeightsDescription

if any(find_spec(package) is None for package in ("onnx", "onnxruntime", "openvino")):
    pytest.skip("needs the export extra", allow_module_level=True)
onnx, openvino = import_extra("onnx"), import_extra("openvino")

NAMES = pytest.mark.parametrize("name", ["tiny.onnx", "tiny.xml"])


@pytest.fixture(scope="module")
def backends(build):
    tiny = build()
    graph = to_onnx(tiny.network, tiny.config)
    return OnnxBackend(graph), OpenVinoBackend(from_onnx(graph), precision="fp32")


def test_later_pictures_leave_earlier_maps_as_they_are(backends):
    for backend in backends:
        images = torch.randn(1, 3, 64, 64)
        maps = backend.dense(images).features[0]
        before = maps.clone()
        for _ in range(3):
            backend.dense(torch.randn(1, 3, 64, 64))
            gc.collect()
        torch.testing.assert_close(maps, before, rtol=0, atol=0)


def test_maps_are_read_by_rows_without_a_copy(backends):
    for backend in backends:
        for level in backend.dense(torch.randn(1, 3, 64, 64)).features:
            assert level.permute(0, 2, 3, 1).is_contiguous()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda"}, "runs on cpu; got 'cuda'"),
        ({"precision": "fp16"}, "got 'fp16'"),
        ({"precision": "half"}, "expected auto, fp32, bf16, fp16; got 'half'"),
        ({"precision": "fp32", "is_int8": True}, "the file is int8"),
    ],
)
@pytest.mark.parametrize("backend", [OnnxBackend, OpenVinoBackend])
def test_what_a_backend_lacks_is_one_line(backend, options, message):
    with pytest.raises(DeviceError, match=message) as caught:
        backend(None, **options)
    assert "\n" not in str(caught.value)


@NAMES
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_file_says_so(files, name, share, message):
    content = (files / name).read_bytes()
    (files / name).write_bytes(content[: int(share * len(content))])
    assert "truncated" in message(files / name)


@NAMES
def test_noise_is_no_file(files, name, message):
    (files / name).write_bytes(np.random.default_rng(0).bytes(5000))
    assert f"expected a whole {'.onnx' if name == 'tiny.onnx' else 'OpenVINO'}" in message(
        files / name
    )


@NAMES
def test_a_file_that_is_not_there(files, name, message):
    assert "no such file" in message(files / "gone" / name)


def test_files_of_other_origin_say_so(files, message):
    graph, _, _ = read_onnx(files / "tiny.onnx")
    del graph.metadata_props[:]
    (files / "tiny.onnx").write_bytes(graph.SerializeToString())
    assert "expected an .onnx file that `export` wrote" in message(files / "tiny.onnx")
    openvino.serialize(from_onnx(graph), files / "tiny.xml")
    assert "expected an .xml file that `export` wrote" in message(files / "tiny.xml")


def test_an_operation_that_the_engine_lacks_is_one_line(files, message):
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
        (METADATA_KEY, "{}", "expected format version 2; got None"),
        (METADATA_KEY, '{"format_version": 1}', "expected format version 2; got 1: export it"),
        (METADATA_KEY, '{"format_version": 2}', "its description is damaged"),
        (METADATA_KEY, '{"format_version"', "its description is damaged"),
        (METADATA_KEY, "[1]", "its description is damaged"),
        (RECORD_KEY, '{"to": "tensorrt"}', "its record of the export is damaged"),
    ],
)
def test_a_damaged_description_says_so(files, key, text, expected, message):
    set_entry(files / "tiny.onnx", key, text)
    assert expected in message(files / "tiny.onnx")


def test_the_record_is_strict(tmp_path):
    with pytest.raises(ValueError, match="extra"):
        ExportRecord.model_validate({"to": "onnx", "more": 1})
    texts = {METADATA_KEY: "{}", RECORD_KEY: json.dumps({"to": "onnx", "more": 1})}
    with pytest.raises(WeightsError, match="its record of the export is damaged"):
        parse_texts(tmp_path / "a.onnx", texts)


def test_a_graph_that_does_not_fit_its_description_says_so(files, build, message):
    path = files / "tiny.onnx"
    wider = WeightsDescription(network=build(fpn_width=24).config).model_dump_json()
    set_entry(path, METADATA_KEY, wider)
    assert "expected pooled of shape (any, 3, 3, 24); got (any, 3, 3, 16)" in message(path)
    more = WeightsDescription(network=build(strides=(8, 16, 32)).config).model_dump_json()
    set_entry(path, METADATA_KEY, more)
    assert "does not fit its description: no features_32" in message(path)
