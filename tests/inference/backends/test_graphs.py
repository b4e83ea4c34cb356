"""What OpenVINO and ONNX Runtime give is what PyTorch gives."""

import copy
import gc
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame

from head_detection.devices import cpu_multiplies_bf16
from head_detection.errors import DeviceError, WeightsError
from head_detection.inference.backends.export import ExportedNetwork, to_onnx
from head_detection.inference.backends.onnx import OnnxRuntime
from head_detection.inference.backends.openvino import OpenVinoRuntime
from head_detection.inference.backends.openvino_files import from_onnx
from head_detection.inference.backends.torch import TorchRuntime
from head_detection.inference.engine import TwoStageEngine
from head_detection.inference.shipped_weights import shipped_weights
from head_detection.models.faster_rcnn import load_detector

pytestmark = pytest.mark.skipif(
    find_spec("onnxruntime") is None or find_spec("openvino") is None,
    reason="needs the export extra",
)

RELATIVE = 1e-4
"""Of an output's largest value."""
SCORE, PIXELS = 1e-4, 1e-2
BODIES = {
    "mobilenet0.25": {},
    "resnet18, an odd row, level 64": {"name": "resnet18", "strides": (4, 8, 16, 32, 64)},
    "SSH": {"context": "ssh", "fpn": "retinaface", "mobilenet_stem": "2x2_stride1"},
    "CPM": {"context": "cpm", "context_width": 32},
    "efficientnet": {"name": "tf_efficientnet_lite0", "strides": (4, 8, 16, 32)},
    "up-scaled": {"upscale": True},
}


def runtimes(network, config, *, openvino=True):
    graph = to_onnx(network, config)
    yield OnnxRuntime(graph)
    if openvino:
        yield OpenVinoRuntime(from_onnx(graph), precision="fp32")


def assert_close(came, expected):
    assert came.shape == expected.shape
    assert came.dtype == torch.float32
    atol = RELATIVE * expected.abs().max().item() if expected.numel() else 0.0
    torch.testing.assert_close(came, expected, rtol=0.0, atol=atol)


@torch.inference_mode()
def assert_same_network(runtime, network, sizes):
    for size in sizes:
        images = torch.randn(size)
        for came, expected in zip(runtime.dense(images), network.dense(images), strict=True):
            for ours, theirs in zip(came, expected, strict=True):
                assert_close(ours, theirs)
    for count in (0, 1, 7):
        pooled = torch.randn(count, network.backbone.out_channels, 3, 3)
        for ours, theirs in zip(runtime.score(pooled), network.score(pooled), strict=True):
            assert_close(ours, theirs)


@pytest.mark.parametrize("options", BODIES.values(), ids=BODIES)
def test_both_parts_give_what_pytorch_gives(build, describe, options):
    network = build(**options).network
    for runtime in runtimes(network, describe(**options).network):
        assert_same_network(
            runtime, network, [(1, 3, 128, 192), (3, 3, 64, 96), (1, 3, 192, 160), (2, 3, 96, 32)]
        )


def test_deformable_convolution_is_for_onnx_alone(build, describe):
    model = build(context="deform_ssh").network
    for module in model.modules():  # offsets that are not whole, or nothing is shown
        if hasattr(module, "offset"):
            torch.nn.init.normal_(module.offset.weight, std=0.5)
    graph = to_onnx(model, describe(context="deform_ssh").network)
    assert_same_network(OnnxRuntime(graph), model, [(1, 3, 128, 192), (2, 3, 96, 64)])
    with pytest.raises(WeightsError, match="cannot be converted to OpenVINO") as caught:
        from_onnx(graph)
    assert "\n" not in str(caught.value)


def test_heads_are_those_of_pytorch(build):
    """Untrained scores lie close together: wide steps between boxes make the order certain."""
    model, description = load_detector(shipped_weights())
    pictures = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in ((75, 131),)]
    pictures += [pictures[0].flip(1), pictures[0].roll(40, 2)]
    own = TorchRuntime(copy.deepcopy(model.network), 32, device="cpu", precision="fp32")
    exact = TwoStageEngine(model, own)
    for runtime in runtimes(model.network, description.network):
        engine = TwoStageEngine(model, runtime)
        assert (engine.name, engine.device, engine.precision) == (runtime.name, "cpu", "fp32")
        for batch in ([pictures[0]], pictures):
            for came, expected in zip(engine.detect(batch), exact.detect(batch), strict=True):
                assert len(came) == len(expected) > 10
                np.testing.assert_allclose(came.boxes, expected.boxes, atol=PIXELS)
                np.testing.assert_allclose(came.scores, expected.scores, atol=SCORE)


def test_a_picture_without_proposals_has_no_heads(build, describe):
    model = build()
    limits = replace(model.decoder.limits, score_threshold=1.0)
    model.decoder = replace(model.decoder, limits=limits)
    picture = torch.zeros(3, 64, 64, dtype=torch.uint8)
    for runtime in runtimes(model.network, describe().network):
        (found,) = TwoStageEngine(model, runtime).detect([picture])
        assert len(found) == 0
        assert found.image_size == (64, 64)


SIGNALLED = """
import signal
import torch
from head_detection.config import BackboneConfig, NetworkConfig
from head_detection.inference.backends.export import to_onnx
from head_detection.inference.backends.openvino_files import from_onnx
from head_detection.inference.backends.openvino import OpenVinoRuntime
from head_detection.models.network import build_network

config = NetworkConfig(backbone=BackboneConfig(name="mobilenet0.25", fpn_width=16))
network = build_network(config).eval()
first, second = (OpenVinoRuntime(from_onnx(to_onnx(network, config))) for _ in range(2))
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


def test_later_pictures_leave_earlier_maps_as_they_are(build, describe):
    for runtime in runtimes(build().network, describe().network):
        images = torch.randn(1, 3, 64, 64)
        maps = runtime.dense(images).features[0]
        before = maps.clone()
        for _ in range(3):
            runtime.dense(torch.randn(1, 3, 64, 64))
            gc.collect()
        torch.testing.assert_close(maps, before, rtol=0, atol=0)


def test_maps_are_read_by_rows_without_a_copy(build, describe):
    for runtime in runtimes(build().network, describe().network):
        for level in runtime.dense(torch.randn(1, 3, 64, 64)).features:
            assert level.permute(0, 2, 3, 1).is_contiguous()


LITE = {"name": "tf_efficientnet_lite0", "strides": (8, 16)}


def test_the_network_stays_as_it_is(build, describe):
    network = build(**LITE).network
    before = copy.deepcopy(network.state_dict())
    to_onnx(network, describe(**LITE).network)
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)


def test_padding_by_size_stays_where_pictures_may_have_any(build, describe):
    network = build(**LITE).network
    config = describe(**LITE).network.model_copy(update={"size_divisor": 8})
    kept = [m for m in ExportedNetwork(network, 8).modules() if isinstance(m, Conv2dSame)]
    assert len(kept) == 5  # one a halving; the body goes to 32
    for runtime in runtimes(network, config):
        assert_same_network(runtime, network, [(1, 3, 72, 88), (2, 3, 64, 40)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda"}, "runs on cpu; got 'cuda'"),
        ({"precision": "fp16"}, "got 'fp16'"),
        ({"precision": "half"}, "expected auto, fp32, bf16, fp16; got 'half'"),
        ({"precision": "fp32", "is_int8": True}, "the file is int8"),
    ],
)
def test_what_a_runtime_lacks_is_one_line(options, message):
    for runtime in (OnnxRuntime, OpenVinoRuntime):
        with pytest.raises(DeviceError, match=message):
            runtime(None, **options)


def test_bf16_is_close_where_the_processor_has_it(build, describe):
    network = build().network
    graph = from_onnx(to_onnx(network, describe().network))
    images = torch.randn(1, 3, 64, 64)
    if not cpu_multiplies_bf16():
        with pytest.raises(DeviceError, match="cannot multiply bf16 on this processor"):
            OpenVinoRuntime(graph, precision="bf16")
        return
    runtime = OpenVinoRuntime(graph)
    assert runtime.precision == "bf16"
    came, expected = runtime.dense(images).features[0], network.dense(images).features[0]
    assert (came - expected).abs().max() < 0.05 * expected.abs().max()


def test_onnx_has_no_bf16():
    with pytest.raises(DeviceError, match="engine onnx on cpu has auto, fp32; got 'bf16'"):
        OnnxRuntime(None, precision="bf16")
