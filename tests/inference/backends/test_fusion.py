import copy

import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from head_detection.config import AnchorConfig, BackboneConfig, BoxHeadConfig, NetworkConfig
from head_detection.inference.backends.folding import fold_batch_norm
from head_detection.inference.backends.fusion import FusedConvolution, can_fuse_in, fuse_for_cpu
from head_detection.models.network import build_network

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="needs oneDNN")


def folded(body, strides=(4, 8, 16, 32), **options):
    torch.manual_seed(0)
    model = build_network(
        NetworkConfig(
            backbone=BackboneConfig(name=body, fpn_width=8, strides=strides, **options),
            anchors=AnchorConfig(sizes=((8.0,), (16.0,), (32.0,), (64.0,))[-len(strides) :]),
            box_head=BoxHeadConfig(pool_size=3, width=16),
        )
    ).eval()
    fold_batch_norm(model.backbone)
    return model


def maps(model, picture):
    return [level for levels in model.dense(picture) for level in levels]


@pytest.mark.parametrize(
    ("body", "options"),
    [
        ("tf_efficientnet_lite0", {}),
        ("mobilenet_v2", {}),
        ("mobilenet_v3_large", {}),
        ("mobilenet0.25", {"context": "ssh", "negative_slope": 0.1, "strides": (8, 16, 32)}),
        ("resnet18", {"context": "cpm", "context_width": 8}),
    ],
)
@torch.inference_mode()
def test_fused_convolutions_give_the_same_maps(body, options):
    model = folded(body, **options)
    picture = torch.rand(2, 3, 96, 160).to(memory_format=torch.channels_last)
    before = maps(model, picture)
    fuse_for_cpu(model, 32)
    assert any(isinstance(module, FusedConvolution) for module in model.modules())
    for old, new in zip(before, maps(model, picture), strict=True):
        torch.testing.assert_close(new, old, rtol=1e-3, atol=1e-4)


def test_padding_at_the_end_needs_no_copy_by_hand():
    model = folded("tf_efficientnet_lite0")
    stem = next(m for m in model.modules() if isinstance(m, Conv2dSame))
    fuse_for_cpu(model, 32)
    assert not any(isinstance(module, Conv2dSame) for module in model.modules())
    even = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    assert (even.kernel_size, even.padding, stem.kernel_size) == ((4, 4), (1, 1), (3, 3))
    kernel = even.weight.detach()
    assert float(kernel[:, :, 0].abs().sum() + kernel[:, :, :, 0].abs().sum()) == 0


def test_sides_that_may_be_odd_keep_their_padding():
    model = folded("tf_efficientnet_lite0")
    fuse_for_cpu(model, 1)
    assert any(isinstance(module, Conv2dSame) for module in model.modules())


def test_an_activation_used_elsewhere_too_stays():
    model = folded("resnet18")
    twin = copy.deepcopy(model)
    fuse_for_cpu(model, 32)
    # ResNet's blocks have one ReLU for two convolutions, and it also follows the sum.
    blocks = [m for m in model.backbone.body.modules() if type(m).__name__ == "BasicBlock"]
    assert all(isinstance(block.relu, nn.ReLU) for block in blocks)
    picture = torch.rand(1, 3, 64, 64)
    for old, new in zip(maps(twin, picture), maps(model, picture), strict=True):
        torch.testing.assert_close(new, old, rtol=1e-3, atol=1e-4)


def test_maps_that_change_undo_it_all(monkeypatch, caplog):
    model = folded("mobilenet_v2")
    names = [type(module).__name__ for module in model.modules()]
    spoiled = FusedConvolution.forward
    monkeypatch.setattr(FusedConvolution, "forward", lambda self, x: spoiled(self, x) + 1)
    assert fuse_for_cpu(model, 32) == 0
    assert [type(module).__name__ for module in model.modules()] == names
    assert "left as they are" in caplog.text


def test_a_torch_without_the_operator_keeps_the_model(monkeypatch):
    model = folded("mobilenet_v2")

    def missing(self, maps):
        raise AttributeError("no such operator")

    monkeypatch.setattr(FusedConvolution, "forward", missing)
    assert fuse_for_cpu(model, 32) == 0
    assert not any(isinstance(module, FusedConvolution) for module in model.modules())


def test_what_is_not_fused_is_named():
    with pytest.raises(ValueError, match=r"expected one that is fused; got .*GELU"):
        FusedConvolution(nn.Conv2d(3, 3, 1), nn.GELU())


def test_types_are_fused_where_the_processor_has_them():
    assert can_fuse_in(torch.float32)
    assert can_fuse_in(torch.bfloat16) == torch.ops.mkldnn._is_mkldnn_bf16_supported()
