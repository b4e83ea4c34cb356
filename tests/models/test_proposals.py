import math

import pytest
import torch
from head_detection.models.proposals import ProposalSelector
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork

from head_detection.config import ModelConfig, RpnConfig
from head_detection.models.faster_rcnn import build_detector

CODER = BoxCoder((1.0, 1.0, 1.0, 1.0))
CELL = torch.tensor([[-2.0, -2, 2, 2]])


def select(
    objectness, deltas, size=(16, 16), image_sizes=((16, 16),), *, is_training=False, **config
):
    selector = ProposalSelector(RpnConfig(**config), [CELL] * len(objectness), CODER)
    return selector.select(objectness, deltas, size, image_sizes, is_training=is_training)


def test_the_best_anchor_is_moved_by_its_own_deltas_by_hand():
    objectness = torch.full((1, 1, 4, 4), -9.0)
    objectness[0, 0, 1, 2] = 3.0  # stride 4: the anchor around (8, 4)
    deltas = torch.zeros(1, 4, 4, 4)
    deltas[0, :, 1, 2] = torch.tensor([0.5, 0.25, math.log(2), 0.0])
    (found,) = select([objectness], [deltas], pre_nms_top_n_test=1)
    # Centre (8 + .5 * 4, 4 + .25 * 4), sides 8 and 4.
    torch.testing.assert_close(found, torch.tensor([[6.0, 3.0, 14.0, 7.0]]))


def test_proposals_end_at_the_picture_not_at_its_padding():
    objectness, deltas = torch.zeros(1, 1, 1, 1), torch.zeros(1, 4, 1, 1)
    deltas[0, 2:] = 9.0
    (found,) = select([objectness], [deltas], (16, 16), ((7, 11),))
    assert found.tolist() == [[0.0, 0.0, 11.0, 7.0]]


def test_what_is_unlikely_or_no_number_is_dropped():
    objectness = torch.tensor([[[[4.0, -4.0, math.nan, 2.0]]]])
    deltas = torch.zeros(1, 4, 1, 4)
    deltas[0, 0, 0, 3] = math.nan
    (found,) = select([objectness], [deltas], score_threshold=0.5)
    assert found.tolist() == [[0.0, 0.0, 2.0, 2.0]]


def test_what_is_just_likely_enough_stays():
    maps = [torch.zeros(1, 1, 1, 1)], [torch.zeros(1, 4, 1, 1)]
    assert len(select(*maps, score_threshold=0.5)[0]) == 1
    hopeless = [torch.full((1, 1, 1, 1), -200.0)], maps[1]  # a probability of 0 in float32
    assert len(select(*hopeless, is_training=True)[0]) == 1


def test_training_sees_unlikely_proposals_too():
    maps = [torch.tensor([[[[4.0, -4.0]]]])], [torch.zeros(1, 4, 1, 2)]
    assert len(select(*maps, score_threshold=0.5)[0]) == 1
    assert len(select(*maps, score_threshold=0.5, is_training=True)[0]) == 2


def test_levels_and_pictures_do_not_suppress_each_other():
    maps = [torch.zeros(2, 1, 1, 1), torch.zeros(2, 1, 1, 1)]
    found = select(maps, [torch.zeros(2, 4, 1, 1)] * 2, image_sizes=((16, 16), (16, 16)))
    assert [len(boxes) for boxes in found] == [2, 2]


def test_a_picture_gives_the_same_wherever_it_is_in_a_batch():
    objectness, deltas = torch.full((1, 1, 1, 250), -9.0), torch.zeros(1, 4, 1, 250)
    # Of anchors 4 wide and 4 apart two come to 8.0 and 8.8, IoU 3.2 / 4.8; one is at the far end.
    objectness[..., [2, 3, 248]] = torch.tensor([2.0, 1.0, 0.0])
    deltas[0, 0, 0, 3] = -0.8
    options = {"pre_nms_top_n_test": 3, "nms_iou_threshold": 0.6666}
    (alone,) = select([objectness], [deltas], (4, 1000), ((4, 1000),), **options)
    assert alone[:, 0].tolist() == [6, 990]
    batch = [maps.repeat(200, 1, 1, 1) for maps in (objectness, deltas)]
    together = select([batch[0]], [batch[1]], (4, 1000), ((4, 1000),) * 200, **options)
    assert {str(boxes.tolist()) for boxes in together} == {str(alone.tolist())}


@pytest.mark.parametrize("is_training", [False, True])
def test_proposals_are_torchvisions(is_training):
    torch.manual_seed(0)
    network = build_detector(ModelConfig()).rpn.train(is_training)
    features = {str(s): torch.randn(2, 256, 96 // s, 160 // s) * 20 for s in (4, 8, 16, 32)}
    images = ImageList(torch.zeros(2, 3, 96, 160), [(96, 160), (70, 131)])
    levels = list(features.values())
    objectness, deltas = network.head(levels)
    ours = network.propose(objectness, deltas, images)
    if is_training:  # its losses are not wanted, its numbers are
        network._pre_nms_top_n["testing"] = network._pre_nms_top_n["training"]
        network._post_nms_top_n["testing"] = network._post_nms_top_n["training"]
    theirs, _ = RegionProposalNetwork.forward(network.eval(), images, features)
    for own, expected in zip(ours, theirs, strict=True):
        assert len(own) > 100
        torch.testing.assert_close(own, expected, rtol=1e-5, atol=1e-3)
