"""OpenVINO: pairs of files, signals, and what it multiplies in."""

import subprocess
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch

from head_detection.devices import cpu_multiplies_bf16
from head_detection.errors import DeviceError
from head_detection.inference.backends import openvino as module
from head_detection.inference.backends.export import to_onnx
from head_detection.inference.backends.extras import import_extra
from head_detection.inference.backends.openvino import OpenVinoBackend, from_onnx
from head_detection.inference.workers import Workers

if any(find_spec(package) is None for package in ("onnx", "onnxruntime", "openvino")):
    pytest.skip("needs the export extra", allow_module_level=True)
openvino = import_extra("openvino")


def test_an_xml_without_its_bin_or_with_another(files, message):
    values = files / "tiny.bin"
    content = values.read_bytes()
    values.write_bytes(content[:-4])
    assert "truncated" in message(files / "tiny.xml")
    values.write_bytes(content[:-4] + b"\0\0\1\1")
    assert "tiny.bin is truncated or that of another export" in message(files / "tiny.xml")
    values.unlink()
    assert "expected its values beside it in tiny.bin; no such file" in message(files / "tiny.xml")


SIGNALLED = """
import signal
import torch
from head_detection.config import BackboneConfig, NetworkConfig
from head_detection.inference.backends import openvino as module
from head_detection.inference.backends.export import to_onnx
from head_detection.inference.backends.openvino import OpenVinoBackend, from_onnx
from head_detection.models.network import build_network

config = NetworkConfig(backbone=BackboneConfig(name="mobilenet0.25", fpn_width=16))
network = build_network(config).eval()
first, second = (OpenVinoBackend(from_onnx(to_onnx(network, config))) for _ in range(2))
del first, second
signal.signal(signal.SIGINT, lambda *_: print("heard"))
signal.raise_signal(signal.SIGINT)
"""


def test_a_signal_is_heard_after_networks_are_gone():
    """OpenVINO's stack for signals may outlive its memory: then this is a segmentation fault."""
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED], check=False, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr


@pytest.fixture
def graph(build):
    tiny = build()
    return from_onnx(to_onnx(tiny.network, tiny.config))


def test_a_converted_graph_asks_no_map_for_its_shape(build):
    """Where each bias does, depthwise convolutions in 8-bit integers stay float."""
    kinds = ["ShapeOf", "Broadcast", "Minimum", "Maximum"]
    tiny = build(name="tf_efficientnet_lite0", fpn_width=8, strides=(4, 8, 16, 32))
    nodes = from_onnx(to_onnx(tiny.network, tiny.config)).get_ops()
    found = [node.get_type_name() for node in nodes]
    assert found.count("GroupConvolution") == 16
    assert [found.count(kind) for kind in kinds] == [3, 0, 0, 0]  # the pyramid enlarges three maps


def test_kernels_of_sizes_gone_by_are_few(graph, monkeypatch):
    """OpenVINO takes the number, of each part; it refuses what it does not know."""
    core, kept = module._core(), []

    class Core:
        def compile_model(self, model, device, options):
            kept.append(options["CPU_RUNTIME_CACHE_CAPACITY"])
            return core.compile_model(model, device, options)

    monkeypatch.setattr(module, "_core", Core)
    OpenVinoBackend(graph, precision="fp32")
    assert kept == [300, 300]
    with pytest.raises(RuntimeError):
        core.compile_model(graph, "CPU", {"CPU_RUNTIME_CACHE_CAPACITIES": 300})


def test_auto_is_what_the_processor_multiplies(graph):
    expected = "bf16" if cpu_multiplies_bf16() else "fp32"
    assert OpenVinoBackend(graph).precision == expected


def test_bf16_is_close(build, graph):
    """From 2026 on OpenVINO emulates it where the processor has no products of it."""
    try:
        backend = OpenVinoBackend(graph, precision="bf16")
    except DeviceError:
        if cpu_multiplies_bf16():
            raise
        pytest.skip("neither this processor nor this OpenVINO has bf16")
    images = torch.randn(1, 3, 64, 64)
    assert backend.precision == "bf16"
    came, expected = backend.dense(images).features[0], build().network.dense(images).features[0]
    # PyTorch's own bf16 is as far off, a tenth: this network's norms, set by noise, lift what each
    # layer rounds. Another network's maps would be off by more than their mean.
    assert 0 < (came - expected).abs().mean() < 0.2 * expected.abs().mean()


def test_bf16_that_openvino_would_not_take_is_one_line(graph, monkeypatch):
    class Compiled:
        def get_property(self, _name):
            return openvino.Type.f32

    class Core:
        def compile_model(self, *_arguments):
            return Compiled()

    monkeypatch.setattr(module, "_core", Core)
    with pytest.raises(DeviceError, match="cannot multiply bf16 on this processor and would take"):
        OpenVinoBackend(graph, precision="bf16")


def test_a_compiled_network_is_made_once_for_each_size_and_gives_the_same(graph, monkeypatch):
    """Three sizes, of which two are kept: the one not asked for the longest goes."""
    made = []
    compile_model = module._core().compile_model

    class Core:
        def compile_model(self, model, *options):
            made.append(str(model.input(0).partial_shape))
            return compile_model(model, *options)

    monkeypatch.setattr(module, "KEPT_SIZES", 2)
    plain = OpenVinoBackend(graph, precision="fp32")
    monkeypatch.setattr(module, "_core", Core)
    backend = OpenVinoBackend(graph, precision="fp32", compile_network=True)
    made.clear()
    for side in (64, 96, 64, 128, 64, 96):
        images = torch.randn(1, 3, 64, side)
        for came, expected in zip(backend.dense(images), plain.dense(images), strict=True):
            for one, other in zip(came, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert made == ["[1,64,64,3]", "[1,64,96,3]", "[1,64,128,3]", "[1,64,96,3]"]
    assert len(backend.score(torch.randn(3, 16, 3, 3))[0]) == 3  # of any number


def test_pixels_in_channels_last_memory_are_read_where_they_lie(graph, monkeypatch):
    backend = OpenVinoBackend(graph, precision="fp32")
    dense, read = backend._dense, []
    monkeypatch.setattr(backend, "_dense", lambda pixels: read.append(pixels) or dense(pixels))
    images = torch.randn(2, 3, 64, 96).to(memory_format=torch.channels_last)
    backend.dense(images)
    assert read[0].shape == (2, 64, 96, 3)
    assert read[0].ctypes.data == images.data_ptr()


def test_threads_that_share_the_processor_are_answered_side_by_side(graph, monkeypatch):
    """Of four threads two have two each: two streams; made once, whoever asks first."""
    made = []
    compile_model = module._core().compile_model

    class Core:
        def compile_model(self, model, device, options):
            keys = ("INFERENCE_NUM_THREADS", "NUM_STREAMS", "PERFORMANCE_HINT")
            made.append(tuple(options.get(key) for key in keys))
            return compile_model(model, device, options)

    monkeypatch.setattr(module, "_core", Core)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    workers = Workers(2)
    try:
        backend = OpenVinoBackend(graph, precision="fp32")
        assert made == [(4, None, "LATENCY")] * 2  # both parts
        images = [torch.randn(1, 3, 64, 64) for _ in range(6)]
        found = [workers.submit(backend.dense, image) for image in images]
        for image, future in zip(images, found, strict=True):
            for came, expected in zip(future.result(), backend.dense(image), strict=True):
                for one, other in zip(came, expected, strict=True):
                    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        assert made[2:] == [(4, 2, "THROUGHPUT")]
    finally:
        workers.close()
        torch.set_num_threads(before)


def test_an_int8_graph_is_not_compiled_where_each_size_is_tried_first(graph, monkeypatch):
    monkeypatch.setattr(module, "_trial", lambda *_: object())
    monkeypatch.setattr(module, "find_processor", lambda: SimpleNamespace(has_amx=True))
    with pytest.raises(DeviceError, match="compile: an int8 graph is not made for single sizes"):
        OpenVinoBackend(graph, is_int8=True, compile_network=True)


def test_nothing_is_reported_to_the_makers_of_the_library():
    import_extra("openvino")
    assert sys.modules["openvino_telemetry"] is None
