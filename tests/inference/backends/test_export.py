"""What OpenVINO and ONNX Runtime give for an exported network is what PyTorch gives."""

import copy
import logging
from importlib.util import find_spec

import pytest
import torch

from head_detection.errors import WeightsError
from head_detection.inference.backends.export import ExportedNetwork, to_onnx
from head_detection.inference.backends.onnx import OnnxBackend
from head_detection.inference.backends.openvino import OpenVinoBackend, from_onnx
from head_detection.models.convolution import SameConv2d

pytestmark = pytest.mark.skipif(
    find_spec("onnxruntime") is None or find_spec("openvino") is None,
    reason="needs the export extra",
)

RELATIVE = 1e-4
"""Of an output's largest value."""
BODIES = {
    "mobilenet0.25": {},
    "resnet18, an odd row, level 64": {"name": "resnet18", "strides": (4, 8, 16, 32, 64)},
    "SSH": {"context": "ssh", "fpn": "retinaface", "mobilenet_stem": "2x2_stride1"},
    "CPM": {"context": "cpm", "context_width": 32},
    "efficientnet": {"name": "tf_efficientnet_lite0", "strides": (4, 8, 16, 32)},
    "efficientnet, slim": {
        "name": "tf_efficientnet_lite0",
        "strides": (4, 8, 16, 32),
        "lite_expansion": 3,
        "fpn": "light",
    },
    "up-scaled": {"upscale": True},
}


def backends(tiny):
    graph = to_onnx(tiny.network, tiny.config)
    yield OnnxBackend(graph)
    yield OpenVinoBackend(from_onnx(graph), precision="fp32")


def assert_close(came, expected):
    assert came.shape == expected.shape
    assert came.dtype == torch.float32
    atol = RELATIVE * expected.abs().max().item() if expected.numel() else 0.0
    torch.testing.assert_close(came, expected, rtol=0.0, atol=atol)


@torch.inference_mode()
def assert_same_network(backend, tiny, sizes):
    for size in sizes:
        images = torch.randn(size)
        maps, truth = backend.dense(images), tiny.network.dense(images)
        for came, expected in zip(maps, truth, strict=True):
            for ours, theirs in zip(came, expected, strict=True):
                assert_close(ours, theirs)
    side = tiny.config.box_head.pool_size
    for count in (0, 1, 7):
        pooled = torch.randn(count, tiny.config.backbone.fpn_width, side, side)
        for ours, theirs in zip(backend.score(pooled), tiny.network.score(pooled), strict=True):
            assert_close(ours, theirs)


@pytest.mark.parametrize("options", BODIES.values(), ids=BODIES)
def test_both_parts_give_what_pytorch_gives(build, options):
    tiny = build(**options)
    for backend in backends(tiny):
        assert_same_network(
            backend, tiny, [(1, 3, 128, 192), (3, 3, 64, 96), (1, 3, 192, 160), (2, 3, 96, 32)]
        )


def test_deformable_convolution_is_for_onnx_alone(build):
    tiny = build(context="deform_ssh")
    for module in tiny.network.modules():  # offsets that are not whole, or nothing is shown
        if hasattr(module, "offset"):
            torch.nn.init.normal_(module.offset.weight, std=0.5)
    graph = to_onnx(tiny.network, tiny.config)
    assert_same_network(OnnxBackend(graph), tiny, [(1, 3, 128, 192), (2, 3, 96, 64)])
    with pytest.raises(WeightsError, match="cannot be converted to OpenVINO") as caught:
        from_onnx(graph)
    assert "\n" not in str(caught.value)


def test_the_network_stays_as_it_is(build):
    tiny = build(name="tf_efficientnet_lite0", strides=(8, 16))
    before = copy.deepcopy(tiny.network.state_dict())
    to_onnx(tiny.network, tiny.config)
    torch.testing.assert_close(tiny.network.state_dict(), before, rtol=0, atol=0)


def test_the_exporter_of_others_stays_as_it_is(build):
    log, registry = logging.getLogger("torch.onnx"), torch.onnx._internal.torchscript_exporter
    log.setLevel(logging.INFO)
    try:
        tiny = build()
        to_onnx(tiny.network, tiny.config)
        assert log.level == logging.INFO
    finally:
        log.setLevel(logging.NOTSET)
    known = registry.registration.registry.get_function_group("torchvision::deform_conv2d")
    assert known is None or known.get(19) is None


def test_padding_by_size_stays_where_pictures_may_have_any(build):
    tiny = build(name="tf_efficientnet_lite0", strides=(8, 16), size_divisor=8)
    exported = ExportedNetwork(tiny.network, tiny.config.size_divisor)
    kept = [module for module in exported.modules() if isinstance(module, SameConv2d)]
    assert len(kept) == 4  # one a halving; the body goes to 16
    for backend in backends(tiny):
        assert_same_network(backend, tiny, [(1, 3, 72, 88), (2, 3, 64, 40)])


def test_what_onnx_cannot_express_is_one_line(build, monkeypatch):
    tiny = build()

    def refuse(*_arguments, **_options):
        raise torch.onnx.errors.UnsupportedOperatorError("aten::odd", 19, None)

    monkeypatch.setattr(torch.onnx, "export", refuse)
    with pytest.raises(
        WeightsError, match=r"cannot be exported, use engine torch: .*odd"
    ) as caught:
        to_onnx(tiny.network, tiny.config)
    assert "\n" not in str(caught.value)
