"""Exported files that are not whole say in one line what is wrong with them."""

from importlib.util import find_spec

import numpy as np
import pytest

from head_detection.inference.backends.graph_shapes import RECORD_KEY
from head_detection.inference.backends.onnx_files import read_onnx
from head_detection.inference.backends.openvino_files import from_onnx
from head_detection.inference.extras import import_extra
from head_detection.models.weights import METADATA_KEY

if any(find_spec(package) is None for package in ("onnx", "onnxruntime", "openvino")):
    pytest.skip("needs the export extra", allow_module_level=True)
onnx, openvino = import_extra("onnx"), import_extra("openvino")


@pytest.mark.parametrize("name", ["tiny.onnx", "tiny.xml"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_file_says_so(files, name, share, message):
    content = (files / name).read_bytes()
    (files / name).write_bytes(content[: int(share * len(content))])
    assert "truncated" in message(files / name)


@pytest.mark.parametrize("name", ["tiny.onnx", "tiny.xml"])
def test_noise_is_no_file(files, name, message):
    (files / name).write_bytes(np.random.default_rng(0).bytes(5000))
    assert f"expected a whole {'.onnx' if name == 'tiny.onnx' else 'OpenVINO'}" in message(
        files / name
    )


@pytest.mark.parametrize("name", ["tiny.onnx", "tiny.xml"])
def test_a_file_that_is_not_there(files, name, message):
    assert "no such file" in message(files / "gone" / name)


def test_an_xml_without_its_bin_or_with_another(files, message):
    values = files / "tiny.bin"
    content = values.read_bytes()
    values.write_bytes(content[:-4])
    assert "truncated" in message(files / "tiny.xml")
    values.write_bytes(content[:-4] + b"\0\0\1\1")
    assert "tiny.bin is truncated or that of another export" in message(files / "tiny.xml")
    values.unlink()
    assert "expected its values beside it in tiny.bin; no such file" in message(files / "tiny.xml")


def test_files_of_other_origin_say_so(files, message):
    graph, _, _ = read_onnx(files / "tiny.onnx")
    del graph.metadata_props[:]
    (files / "tiny.onnx").write_bytes(graph.SerializeToString())
    assert "expected an .onnx file that scripts/export.py wrote" in message(files / "tiny.onnx")
    openvino.serialize(from_onnx(graph), files / "tiny.xml")
    assert "expected an .xml file that scripts/export.py wrote" in message(files / "tiny.xml")


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
        (METADATA_KEY, '{"format_version": 2}', "its description is damaged"),
        (RECORD_KEY, '{"to": "tensorrt"}', "its record of the export is damaged"),
    ],
)
def test_a_damaged_description_says_so(files, key, text, expected, message):
    set_entry(files / "tiny.onnx", key, text)
    assert expected in message(files / "tiny.onnx")


def test_a_graph_that_does_not_fit_its_description_says_so(files, describe, message):
    path = files / "tiny.onnx"
    wider = describe(fpn_width=24).model_dump_json()
    set_entry(path, METADATA_KEY, wider)
    assert "expected pooled of shape (any, 3, 3, 24); got (any, 3, 3, 16)" in message(path)
    more = describe(strides=(8, 16, 32)).model_dump_json()
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
def test_values_in_other_files_are_refused(files, choose, message):
    (files / "secret").write_bytes(bytes(4096))
    graph = onnx.load(files / "tiny.onnx")
    tensor = choose(graph)
    tensor.raw_data = bytes(4)  # what the function of the next line asks for
    onnx.external_data_helper.set_external_data(tensor, location="secret")
    tensor.ClearField("raw_data")
    (files / "tiny.onnx").write_bytes(graph.SerializeToString())
    for engine in ("onnx", "openvino"):
        assert "names others (external data)" in message(files / "tiny.onnx", engine=engine)
