"""Fusing convolutions for a GPU; without one, Triton's interpreter runs the kernels."""

import copy
import logging

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's users know
from torch import nn
from torchvision.models.detection.faster_rcnn import TwoMLPHead

from head_detection.config import parse_config
from head_detection.inference.backends.cuda_fusion import (
    ChannelsLastBoxHead,
    DenseReLU,
    FusedConvolution,
    cast_and_fuse,
    kind_of,
)
from head_detection.inference.backends.folding import fold_batch_norm, noise
from head_detection.models.convolution import SameConv2d
from head_detection.models.network import Network, build_network

TINY = ("network.backbone.name=mobilenet0.25", "network.backbone.fpn_width=16")


def network_of(*overrides: str) -> Network:
    torch.manual_seed(0)
    config = parse_config({}, ["network.backbone.pretrained=false", *overrides])
    network = build_network(config.network).eval()
    for module in network.modules():  # untrained maps would be too small for half precision
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    fold_batch_norm(network.backbone)
    return network.to(memory_format=torch.channels_last)


def relu_of_cudnn(maps, weight, bias, stride, padding, dilation, groups):
    return F.relu(F.conv2d(maps, weight, bias, stride, padding, dilation, groups))


@pytest.fixture
def cudnn(monkeypatch) -> None:
    if not torch.cuda.is_available():
        monkeypatch.setattr(torch, "cudnn_convolution_relu", relu_of_cudnn)


@pytest.mark.parametrize(
    ("convolution", "kind"),
    [
        (nn.Conv2d(16, 24, 1), "pointwise"),
        (nn.Conv2d(16, 16, 3, padding=1, groups=16), "depthwise"),
        (SameConv2d(16, 16, 5, 2, groups=16), "depthwise"),
        (SameConv2d(3, 32, 3, 2), "stem"),
        (nn.Conv2d(16, 24, 3, padding=1), None),
        (nn.Conv2d(16, 2, 1), None),
        (nn.Conv2d(12, 16, 1), None),
        (nn.Conv2d(16, 24, 1, stride=2), None),
        (nn.Conv2d(16, 32, 1, groups=2), None),
        (nn.Conv2d(16, 16, 3, padding=2, dilation=2, groups=16), None),
        (nn.Conv2d(16, 16, (1, 3), groups=16), None),
        (nn.Conv2d(16, 16, 3, padding="same", groups=16), None),
        (nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect", groups=16), None),
    ],
)
def test_which_kernel_computes_a_convolution(convolution, kind) -> None:
    assert kind_of(convolution) == kind


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(8, 16, 1),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        SameConv2d(8, 8, 5, 2, groups=8),
        SameConv2d(3, 8, 3, 2),
        nn.Conv2d(3, 8, 3, 2, padding=1),
    ],
)
def test_a_fused_convolution_is_the_convolution_and_its_activation(convolution) -> None:
    exact = copy.deepcopy(convolution).half().float()
    maps = torch.randn(1, convolution.in_channels, 7, 9).half()
    fused = FusedConvolution(convolution.half(), exact.bias.detach(), 2)
    fused.half()
    assert fused.bias.dtype == torch.float32  # rounded once, at the end
    expected = F.relu6(exact(maps.float()))
    torch.testing.assert_close(fused(maps).float(), expected, rtol=2e-3, atol=2e-3)


def test_a_fused_network_has_the_maps_of_the_network(cudnn) -> None:
    network = network_of(*TINY)
    plain = copy.deepcopy(network).half()
    assert cast_and_fuse(network, torch.float16) > 20
    kinds = [type(module) for module in network.modules()]
    assert FusedConvolution in kinds
    assert DenseReLU in kinds
    probe = noise().half()
    maps, expected = network.dense(probe), plain.dense(probe)
    assert maps.features[0].dtype == torch.float16  # pooled from in a kernel
    for found, own in zip(maps, expected, strict=True):
        for level, other in zip(found, own, strict=True):
            torch.testing.assert_close(level.float(), other.float(), rtol=2e-2, atol=2e-2)


def test_a_network_that_cannot_be_fused_is_cast_only(monkeypatch, caplog) -> None:
    def no_cudnn(*_):
        raise RuntimeError("cudnn: not supported")

    monkeypatch.setattr(torch, "cudnn_convolution_relu", no_cudnn)
    network = network_of(*TINY)
    names = [(name, type(module)) for name, module in network.named_modules()]
    with caplog.at_level(logging.WARNING):
        assert cast_and_fuse(network, torch.float16) == 0
    assert [(name, type(module)) for name, module in network.named_modules()] == names
    assert network.dense(noise().half()).features[0].dtype == torch.float32
    assert caplog.messages == [
        "cuda: convolutions are not fused: RuntimeError: cudnn: not supported"
    ]


def test_a_box_head_reads_channels_last() -> None:
    head = TwoMLPHead(4 * 9, 5)
    pooled = torch.randn(6, 3, 3, 4).permute(0, 3, 1, 2)
    expected = head(pooled)
    torch.testing.assert_close(ChannelsLastBoxHead(head, 4)(pooled), expected)
