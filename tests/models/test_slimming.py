"""A smaller network from a larger one, where the answer is known."""

import pytest
import torch
from torch import nn
from torchvision.models.detection.image_list import ImageList

from head_detection.config import parse_config
from head_detection.models.efficientnet_lite import InvertedResidual
from head_detection.models.faster_rcnn import FasterRCNN, build_detector
from head_detection.models.slimming import slim

LITE = [
    "network.backbone.name=tf_efficientnet_lite0",
    "network.backbone.fpn_width=8",
    "network.backbone.strides=[4, 8, 16]",
    "network.anchors.sizes=[[8], [16], [32]]",
    "network.box_head={width: 16, pool_size: 2}",
    "inference.proposals.post_nms_top_n=50",
]
HEADS = ["rpn.head.conv", "roi_heads.box_head.fc6"]


def detector(*overrides: str) -> FasterRCNN:
    torch.manual_seed(0)
    config = parse_config({}, [*LITE, *overrides])
    return build_detector(config.network, config.inference).eval()


@pytest.fixture
def source() -> FasterRCNN:
    """Untrained, with the statistics of its batch norms that a few pictures give."""
    made = detector()
    made.backbone.train()
    with torch.no_grad():
        for _ in range(20):
            made.backbone(torch.rand(2, 3, 64, 64))
    return made.eval()


@pytest.fixture(scope="module")
def batches() -> list[ImageList]:
    pictures = torch.rand(4, 2, 3, 128, 160, generator=torch.Generator().manual_seed(1))
    return [ImageList(batch, [(128, 160)] * 2) for batch in pictures]


def largest_difference(one: FasterRCNN, other: FasterRCNN, batch: ImageList) -> float:
    """Return it relative to the largest value, over all outputs of the first stage."""
    with torch.no_grad():
        maps = [detector.network.dense(batch.tensors) for detector in (one, other)]
    pairs = [
        (a, b) for own, theirs in zip(*maps, strict=True) for a, b in zip(own, theirs, strict=True)
    ]
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)


def test_a_network_as_large_stays_what_it_is(source: FasterRCNN, batches: list[ImageList]) -> None:
    target = detector()
    fits = list(slim(source, target, batches))
    assert [name for name, _ in fits][-2:] == HEADS
    assert len(fits) == 2 + 10  # the inverted residuals up to stride 16
    assert max(left for _, left in fits) < 1e-3
    assert largest_difference(source, target, batches[0]) < 0.05


def test_channels_that_do_nothing_are_those_that_go(
    source: FasterRCNN, batches: list[ImageList]
) -> None:
    """A third of the channels inside has no weight in the projection; four of six are kept."""
    for module in source.modules():
        if isinstance(module, InvertedResidual):
            module.conv_pwl.weight.data[:, ::3] = 0
    target = detector("network.backbone.lite_expansion=4")
    fits = dict(slim(source, target, batches))
    assert max(fits.values()) < 0.03  # few pixels at stride 16 for the ridge
    assert fits["blocks.1.0"] < 1e-4
    assert target.backbone.body.network.blocks[1][0].conv_dw.out_channels == 64  # 4 times 16
    assert largest_difference(source, target, batches[0]) < 0.1


def test_a_light_pyramid_does_what_output_convolutions_of_one_pixel_do(
    source: FasterRCNN, batches: list[ImageList]
) -> None:
    for layer in source.backbone.fpn.layer_blocks:
        centre = layer[0].weight[:, :, 1:2, 1:2].clone()
        layer[0].weight.data.zero_()
        layer[0].weight.data[:, :, 1:2, 1:2] = centre + torch.eye(8)[:, :, None, None]
        nn.init.constant_(layer[0].bias, 0.1)
    target = detector("network.backbone.fpn=light")
    fits = dict(slim(source, target, batches))
    assert fits["rpn.head.conv"] < 1e-3
    assert largest_difference(source, target, batches[0]) < 0.05


def test_half_of_the_channels_leave_something_and_the_detector_runs(
    source: FasterRCNN, batches: list[ImageList]
) -> None:
    target = detector("network.backbone.lite_expansion=3", "network.backbone.fpn=light")
    fits = dict(slim(source, target, batches))
    assert 0 < fits["blocks.2.1"] < 1
    assert all(bool(value.isfinite().all()) for value in target.network.state_dict().values())
    assert len(target([torch.rand(3, 64, 64)])) == 1
