import math
from dataclasses import replace

import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork

from head_detection.config import InferenceConfig, NetworkConfig
from head_detection.models.anchors import Anchors
from head_detection.models.decoder import Decoder, build_decoder
from head_detection.models.network import DenseMaps, build_network
from head_detection.models.nms import EMPTY
from head_detection.models.proposals import ProposalLimits, Proposals, SizeRange
from head_detection.models.roi_align import PyramidRoIAlign
from head_detection.models.suppression import Suppression

CELL = ((-2.0, -2.0, 2.0, 2.0),)
SUPPRESSION = Suppression(0.05, 0.5, 1000)


def decoder(num_levels=1, waits=None, **limits):
    limits = {"pre_nms_top_n": 1000, "post_nms_top_n": 1000, "nms_iou_threshold": 0.7, **limits}
    pool = PyramidRoIAlign((4,) * num_levels, 1, 1, 224)
    return Decoder(
        Anchors((CELL,) * num_levels), ProposalLimits(**limits), pool, SUPPRESSION, waits
    )


def propose(objectness, deltas, size=(16, 16), image_sizes=((16, 16),), sizes=None, **options):
    maps = DenseMaps((), tuple(objectness), tuple(deltas))
    return decoder(len(objectness), **options).propose(maps, size, image_sizes, sizes=sizes)


def listed(proposals):
    pairs = zip(proposals.boxes, proposals.is_filled, strict=True)
    return [boxes[filled] for boxes, filled in pairs]


both_ways = pytest.mark.parametrize("waits", [True, False])


@both_ways
def test_the_best_anchor_is_moved_by_its_own_deltas_by_hand(waits):
    objectness = torch.full((1, 1, 4, 4), -9.0)
    objectness[0, 0, 1, 2] = 3.0  # stride 4: the anchor around (8, 4)
    deltas = torch.zeros(1, 4, 4, 4)
    deltas[0, :, 1, 2] = torch.tensor([0.5, 0.25, math.log(2), 0.0])
    found = propose([objectness], [deltas], pre_nms_top_n=1, waits=waits)
    # Centre (8 + .5 * 4, 4 + .25 * 4), sides 8 and 4.
    torch.testing.assert_close(listed(found)[0], torch.tensor([[6.0, 3.0, 14.0, 7.0]]))
    assert found.scores[0, 0].item() == pytest.approx(1 / (1 + math.exp(-3)))


@both_ways
def test_proposals_end_at_the_picture_not_at_its_padding(waits):
    objectness, deltas = torch.zeros(1, 1, 1, 1), torch.zeros(1, 4, 1, 1)
    deltas[0, 2:] = 9.0
    found = propose([objectness], [deltas], (16, 16), ((7, 11),), waits=waits)
    assert listed(found)[0].tolist() == [[0.0, 0.0, 11.0, 7.0]]


@both_ways
def test_what_is_unlikely_or_no_number_is_dropped(waits):
    objectness = torch.tensor([[[[4.0, -4.0, math.nan, 2.0]]]])
    deltas = torch.zeros(1, 4, 1, 4)
    deltas[0, 0, 0, 3] = math.nan
    found = propose([objectness], [deltas], score_threshold=0.5, waits=waits)
    assert listed(found)[0].tolist() == [[0.0, 0.0, 2.0, 2.0]]
    assert not found.boxes.isnan().any()


@both_ways
def test_what_is_just_likely_enough_stays(waits):
    maps = [torch.zeros(1, 1, 1, 1)], [torch.zeros(1, 4, 1, 1)]
    assert len(listed(propose(*maps, score_threshold=0.5, waits=waits))[0]) == 1
    hopeless = [torch.full((1, 1, 1, 1), -200.0)], maps[1]  # a probability of 0 in float32
    assert len(listed(propose(*hopeless, waits=waits))[0]) == 1


@both_ways
def test_other_limits_hold_for_one_call(waits):
    maps = DenseMaps((), (torch.tensor([[[[4.0, -4.0]]]]),), (torch.zeros(1, 4, 1, 2),))
    strict = decoder(score_threshold=0.5, waits=waits)
    lax = replace(strict.limits, score_threshold=0.0)
    for limits, count in ((None, 1), (lax, 2)):
        found = strict.propose(maps, (16, 16), ((16, 16),), limits=limits)
        assert len(listed(found)[0]) == count


@both_ways
def test_levels_and_pictures_do_not_suppress_each_other(waits):
    maps = [torch.zeros(2, 1, 1, 1), torch.zeros(2, 1, 2, 2)]  # of unequal numbers of places
    deltas = [torch.zeros(2, 4, 1, 1), torch.zeros(2, 4, 2, 2)]
    found = propose(maps, deltas, image_sizes=((16, 16), (16, 16)), waits=waits)
    assert [len(boxes) for boxes in listed(found)] == [5, 5]


@both_ways
def test_proposals_of_other_sizes_are_left_to_others(waits):
    deltas = torch.zeros(1, 4, 1, 3)
    deltas[0, 2:, 0] = torch.tensor(
        [1.0, 2.0, 3.0]
    ).log()  # sides 4, 8, 12 around (0, 0), (5, 0), (10, 0)
    maps = [torch.zeros(1, 1, 1, 3)], [deltas]
    found = propose(*maps, (48, 16), ((48, 48),), sizes=SizeRange(5, 8), waits=waits)
    (boxes,) = listed(found)
    # What is above the picture is cut off: 4, 32 and 72 square pixels are left.
    assert boxes.tolist() == [[1.0, 0.0, 9.0, 4.0]]
    assert found.rows is None or found.rows.tolist() == [1]
    # Both ends belong to the range: 4 square pixels are of size 2.
    (boxes,) = listed(propose(*maps, (48, 16), ((48, 48),), sizes=SizeRange(2, 2), waits=waits))
    assert boxes.tolist() == [[0.0, 0.0, 2.0, 2.0]]


@pytest.mark.parametrize("count", [1, 2])
def test_a_proposal_is_pooled_from_its_own_picture(count):
    features = [torch.tensor([3.0, 7.0]).view(2, 1, 1, 1).expand(2, 1, 8, 8).contiguous()]
    boxes = torch.tensor([4.0, 4, 20, 20]).expand(2, count, 4)
    pooled = decoder().pool(features, boxes, None).flatten()
    assert pooled.tolist() == [3.0] * count + [7.0] * count
    assert decoder().pool(features, boxes, torch.tensor([2 * count - 1])).flatten().tolist() == [7]


def test_pictures_are_viewed_again_where_it_is_wanted_and_known_without_waiting():
    wanted = torch.tensor([True, False, True])
    assert decoder().chosen(wanted) == [0, 2]
    assert decoder().chosen(None) is None
    assert decoder(waits=False).chosen(wanted) is None


def test_slots_that_hold_nothing_do_not_go_through_the_second_stage():
    objectness = torch.tensor([[[[4.0, 3.0]]], [[[4.0, -9.0]]]])
    maps = [objectness], [torch.zeros(2, 4, 1, 2)]
    sizes = ((16, 16), (16, 16))
    found = propose(*maps, image_sizes=sizes, score_threshold=0.5)
    assert found.scores.shape == (2, 2)
    assert found.rows.tolist() == [0, 1, 2]
    everything = propose(*maps, image_sizes=sizes, score_threshold=0.5, waits=False)
    assert everything.rows is None
    assert everything.is_filled.tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize("limit", [1000, 2000])
@both_ways
def test_proposals_are_torchvisions(limit, waits):
    torch.manual_seed(0)
    config = NetworkConfig()
    network = build_network(config)
    levels = [torch.randn(2, 256, 96 // s, 160 // s) * 10 for s in (4, 8, 16, 32)]
    objectness, deltas = network.rpn(levels)
    ours = build_decoder(config, InferenceConfig())
    limits = ProposalLimits(limit, limit, 0.7)
    sizes = [(96, 160), (70, 131)]
    maps = DenseMaps((), tuple(objectness), tuple(deltas))
    found = replace(ours, waits=waits).propose(maps, (96, 160), sizes, limits=limits)
    top_n = {"training": limit, "testing": limit}
    generator = AnchorGenerator(tuple((s,) for s in (18, 36, 72, 128)), ((0.5, 1.0, 1.5),) * 4)
    stock = RegionProposalNetwork(
        generator, network.rpn.head, 0.7, 0.3, 256, 0.5, top_n, top_n, 0.7
    )
    images = ImageList(torch.zeros(2, 3, 96, 160), sizes)
    theirs, _ = stock.eval()(images, {str(k): level for k, level in enumerate(levels)})
    for own, expected in zip(listed(found), theirs, strict=True):
        assert len(own) > 100
        torch.testing.assert_close(own, expected, rtol=1e-5, atol=1e-3)


def of_proposals(boxes, rows=None):
    boxes = torch.tensor(boxes)
    return Proposals(boxes, torch.full(boxes.shape[:2], 0.5), rows)


def test_candidates_lie_in_the_slots_of_their_proposals_by_hand():
    boxes = [[[0.0, 0, 10, 10], [0, 0, 0, 0]], [[0, 0, 20, 20], [40, 0, 50, 10]]]
    rows = torch.tensor([0, 2, 3])
    logits = torch.tensor([0.9, 0.04, 0.7])
    logits = torch.stack((torch.zeros(3), torch.logit(logits)), dim=1)
    deltas = torch.zeros(3, 8)
    deltas[2, 4] = 5.0  # half a width to the right
    found = decoder().candidates(logits, deltas, of_proposals(boxes, rows), ((100, 100), (100, 52)))
    assert found.boxes.tolist() == [
        [[0, 0, 10, 10], [0, 0, 0, 0]], [[0, 0, 0, 0], [45, 0, 52, 10]],
    ]  # fmt: skip
    expected = torch.tensor([[0.9, EMPTY], [EMPTY, 0.7]])  # 0.04 is under the threshold
    torch.testing.assert_close(found.scores, expected)


def test_a_box_without_area_is_no_head():
    proposals = of_proposals([[[5.0, 5, 5, 9], [0, 0, 9, 9]]])
    logits = torch.tensor([[0.0, 9], [0, 9]])
    found = decoder().candidates(logits, torch.zeros(2, 8), proposals, ((20, 20),))
    assert (found.scores > EMPTY).tolist() == [[False, True]]


def test_no_proposals_are_no_heads():
    heads = decoder()
    proposals = Proposals(torch.zeros(2, 0, 4), torch.zeros(2, 0))
    found = heads.candidates(torch.zeros(0, 2), torch.zeros(0, 8), proposals, ((9, 9), (9, 9)))
    assert heads.suppress(found).boxes.shape == (2, 0, 4)


def test_a_threshold_is_changed_in_a_copy():
    own = decoder()
    assert own.with_score_threshold(0.3).suppression.score_threshold == 0.3
    assert own.suppression.score_threshold == 0.05


def test_candidates_wait_for_no_gpu(count_waits):
    heads = decoder(waits=False)
    proposals = of_proposals([[[0.0, 0, 9, 9]]] * 3)
    maps = torch.zeros(3, 2), torch.zeros(3, 8)
    assert count_waits(lambda: heads.candidates(*maps, proposals, ((20, 20),) * 3)) == 0
