"""ONNX files: what they may hold, and what ONNX Runtime has."""

from importlib.util import find_spec

import pytest

from head_detection.errors import DeviceError
from head_detection.inference.backends.extras import import_extra
from head_detection.inference.backends.onnx import OnnxBackend, read_onnx, write_onnx

if any(find_spec(package) is None for package in ("onnx", "onnxruntime", "openvino")):
    pytest.skip("needs the export extra", allow_module_level=True)
onnx = import_extra("onnx")


def test_onnx_has_no_bf16():
    with pytest.raises(DeviceError, match="engine onnx on cpu has auto, fp32; got 'bf16'"):
        OnnxBackend(None, precision="bf16")


def test_what_is_written_is_read(files):
    graph, description, record = read_onnx(files / "tiny.onnx")
    del graph.metadata_props[:]
    write_onnx(files / "again.onnx", graph, description, record)
    assert not graph.metadata_props
    assert read_onnx(files / "again.onnx")[1:] == (description, record)
    assert (files / "again.onnx").read_bytes() == (files / "tiny.onnx").read_bytes()


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
