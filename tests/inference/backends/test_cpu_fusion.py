import copy

import pytest
import torch
from torch import nn

from head_detection.config import AnchorConfig, BackboneConfig, BoxHeadConfig, NetworkConfig
from head_detection.inference.backends.cpu_fusion import (
    FusedConvolution,
    FusedLinear,
    can_fuse_in,
    fix_same_padding,
    fuse_for_cpu,
    pad_before,
    pad_in_kernel,
)
from head_detection.inference.backends.folding import fold_batch_norm
from head_detection.models.convolution import SameConv2d
from head_detection.models.network import build_network

needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="needs oneDNN")
SIZE_DIVISOR = 32


def folded(body, strides=(4, 8, 16, 32), **options):
    torch.manual_seed(0)
    network = build_network(
        NetworkConfig(
            backbone=BackboneConfig(name=body, fpn_width=8, strides=strides, **options),
            anchors=AnchorConfig(sizes=((8.0,), (16.0,), (32.0,), (64.0,))[-len(strides) :]),
            box_head=BoxHeadConfig(pool_size=3, width=16),
        )
    ).eval()
    fold_batch_norm(network.backbone)
    return network


def maps(network, picture):
    return [level for levels in network.dense(picture) for level in levels]


# Zeros in between change the order of additions.
@pytest.mark.parametrize(("rewrite", "atol"), [(pad_before, 1e-5), (pad_in_kernel, 1e-4)])
def test_same_padding_becomes_fixed(build, rewrite, atol):
    network = build(name="tf_efficientnet_lite0", strides=(8, 16)).network
    images = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        expected = network.dense(images)
        replaced = fix_same_padding(network, rewrite, SIZE_DIVISOR)
        assert len(replaced) == 4  # one a halving; the body goes to 16
        assert all(isinstance(module, SameConv2d) for module in replaced.values())
        assert not any(isinstance(module, SameConv2d) for module in network.modules())
        for came, wanted in zip(network.dense(images).features, expected.features, strict=True):
            torch.testing.assert_close(came, wanted, rtol=1e-5, atol=atol)


@torch.no_grad()
def test_three_pixels_at_a_stride_of_two_by_hand():
    convolution = SameConv2d(1, 1, 3, stride=2, bias=False)
    convolution.weight.fill_(1.0)
    picture = torch.ones(1, 1, 4, 4)
    # A row and a column of zeros at the end: the last sums hold two of three, at the corner four.
    expected = torch.tensor([[[[9.0, 6.0], [6.0, 4.0]]]])
    for network in (convolution, pad_before(convolution), pad_in_kernel(convolution)):
        torch.testing.assert_close(network(picture), expected)


@pytest.mark.parametrize(
    ("size", "options"),
    [
        (3, {"stride": 1}),
        (2, {"stride": 2}),
        ((3, 5), {"stride": 2}),
        (3, {"stride": 2, "dilation": 2}),
    ],
)
def test_what_zeros_in_a_kernel_cannot_pad_is_left(size, options):
    assert pad_in_kernel(SameConv2d(1, 1, size, **options)) is None


@needs_onednn
@pytest.mark.parametrize(
    ("body", "options"),
    [
        ("tf_efficientnet_lite0", {}),
        ("mobilenet_v2", {}),
        ("mobilenet_v3_large", {}),
        ("mobilenet0.25", {"context": "ssh", "negative_slope": 0.1, "strides": (8, 16, 32)}),
        ("resnet18", {"context": "cpm", "context_width": 8}),
        ("resnet18", {"context": "deform_ssh", "context_width": 8}),
    ],
)
@torch.inference_mode()
def test_fused_convolutions_give_the_same_maps(body, options):
    network = folded(body, **options)
    picture = torch.rand(2, 3, 96, 160).to(memory_format=torch.channels_last)
    before = maps(network, picture)
    fuse_for_cpu(network, SIZE_DIVISOR)
    assert any(isinstance(module, FusedConvolution) for module in network.modules())
    for old, new in zip(before, maps(network, picture), strict=True):
        torch.testing.assert_close(new, old, rtol=1e-3, atol=1e-4)


@needs_onednn
@pytest.mark.parametrize(
    ("body", "num_activated"),
    [
        ("tf_efficientnet_lite0", 2 + 2 * 15),  # stem, depthwise block, inverted residuals
        ("tf_efficientnet_lite2", 2 + 2 * 20),
        ("mobilenet_v2", 2 + 2 * 16 + 1),  # and the last
    ],
)
def test_nothing_of_a_small_body_is_left_to_a_pass_of_its_own(body, num_activated):
    network = folded(body)
    fuse_for_cpu(network, SIZE_DIVISOR)
    fused = [m for m in network.modules() if isinstance(m, FusedConvolution)]
    left = {type(m) for m in network.modules()} & {nn.ReLU6, nn.BatchNorm2d, SameConv2d}
    inside = {module.convolution for module in fused}
    assert not left
    assert {m for m in network.modules() if isinstance(m, nn.Conv2d)} == inside
    assert sum(module.kind == "hardtanh" for module in fused) == num_activated


@needs_onednn
def test_one_linear_layer_by_hand():
    linear = nn.Linear(3, 2)
    linear.weight.data = torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.0, 0.0]])
    linear.bias.data = torch.tensor([0.5, 1.0])
    fused = FusedLinear(linear)
    with torch.inference_mode():
        assert fused(torch.tensor([[1.0, 1.0, 1.0], [4.0, 0.0, -2.0]])).tolist() == [
            [6.5, 0],
            [0, 0],
        ]
        assert fused(torch.zeros(0, 3)).shape == (0, 2)


@needs_onednn
@torch.inference_mode()
def test_the_box_head_says_the_same():
    network = folded("tf_efficientnet_lite0")
    pooled = torch.rand(5, 8, 3, 3)
    before = network.score(pooled)
    fuse_for_cpu(network, SIZE_DIVISOR)
    assert sum(isinstance(module, FusedLinear) for module in network.modules()) == 2
    for old, new in zip(before, network.score(pooled), strict=True):
        torch.testing.assert_close(new, old, rtol=1e-3, atol=1e-5)
    logits, deltas = network.score(pooled[:0])
    assert (logits.shape, deltas.shape) == ((0, 2), (0, 8))


@needs_onednn
def test_padding_at_the_end_needs_no_copy_by_hand():
    network = folded("tf_efficientnet_lite0")
    stem = next(m for m in network.modules() if isinstance(m, SameConv2d))
    fuse_for_cpu(network, SIZE_DIVISOR)
    assert not any(isinstance(module, SameConv2d) for module in network.modules())
    even = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
    assert (even.kernel_size, even.padding, stem.kernel_size) == ((4, 4), (1, 1), (3, 3))
    kernel = even.weight.detach()
    assert float(kernel[:, :, 0].abs().sum() + kernel[:, :, :, 0].abs().sum()) == 0


@needs_onednn
def test_sides_that_may_be_odd_keep_their_padding():
    network = folded("tf_efficientnet_lite0")
    fuse_for_cpu(network, size_divisor=1)
    assert any(isinstance(module, SameConv2d) for module in network.modules())


@needs_onednn
def test_an_activation_used_elsewhere_too_stays():
    network = folded("resnet18")
    twin = copy.deepcopy(network)
    fuse_for_cpu(network, SIZE_DIVISOR)
    # ResNet's blocks have one ReLU for two convolutions, and it also follows the sum.
    blocks = [m for m in network.backbone.body.modules() if type(m).__name__ == "BasicBlock"]
    assert all(isinstance(block.relu, nn.ReLU) for block in blocks)
    picture = torch.rand(1, 3, 64, 64)
    for old, new in zip(maps(twin, picture), maps(network, picture), strict=True):
        torch.testing.assert_close(new, old, rtol=1e-3, atol=1e-4)


@needs_onednn
def test_maps_that_change_undo_it_all(monkeypatch, caplog):
    network = folded("mobilenet_v2")
    names = [type(module).__name__ for module in network.modules()]
    spoiled = FusedConvolution.forward
    monkeypatch.setattr(FusedConvolution, "forward", lambda self, x: spoiled(self, x) + 1)
    assert fuse_for_cpu(network, SIZE_DIVISOR) == 0
    assert [type(module).__name__ for module in network.modules()] == names
    assert "left as they are" in caplog.text


@needs_onednn
def test_a_torch_without_the_operator_keeps_the_network(monkeypatch):
    network = folded("mobilenet_v2")

    def missing(self, maps):
        raise AttributeError("no such operator")

    monkeypatch.setattr(FusedConvolution, "forward", missing)
    assert fuse_for_cpu(network, SIZE_DIVISOR) == 0
    assert not any(isinstance(module, FusedConvolution) for module in network.modules())


def test_what_is_not_fused_is_named():
    with pytest.raises(ValueError, match=r"expected one that is fused; got .*GELU"):
        FusedConvolution(nn.Conv2d(3, 3, 1), nn.GELU())


@needs_onednn
def test_types_are_fused_where_the_processor_has_them():
    assert can_fuse_in(torch.float32)
    assert can_fuse_in(torch.bfloat16) == torch.ops.mkldnn._is_mkldnn_bf16_supported()
