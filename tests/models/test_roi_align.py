import math

import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign

from head_detection.config import InferenceConfig, parse_config
from head_detection.models.decoder import build_decoder
from head_detection.models.roi_align import PyramidRoIAlign, WeightedSums

FIRST = torch.zeros(1, dtype=torch.int64)


def ramp(stride, size):
    """A map whose value is the column in network pixels, cells at their left as RoIAlign has it."""
    columns = torch.arange(size // stride) * float(stride)
    return columns.expand(1, 1, size // stride, size // stride).clone()


def test_a_box_is_pooled_where_it_lies_from_the_level_of_its_size():
    pool = PyramidRoIAlign((4, 8), 1, 2, 224)
    boxes = torch.tensor([[16.0, 16, 48, 48], [0, 0, 240, 240]])
    pooled = pool([ramp(4, 256), ramp(8, 256) + 1000], boxes, FIRST.expand(2)).flatten()
    torch.testing.assert_close(pooled, torch.tensor([32.0, 1120.0]))


def test_the_coarsest_levels_may_be_left_out():
    pool = PyramidRoIAlign((4, 8), 1, 2, 224, num_pooled=1)
    pooled = pool([ramp(4, 256), ramp(8, 256) + 1000], torch.tensor([[0.0, 0, 240, 240]]), FIRST)
    torch.testing.assert_close(pooled.flatten(), torch.tensor([120.0]))


def test_the_first_picture_does_not_decide_for_the_others(tiny):
    model = tiny().eval()
    picture, thin = torch.rand(3, 96, 96), torch.rand(3, 1, 64)
    with torch.inference_mode():
        (before,) = model([picture])
        model([thin])
        (after,) = model([picture])
    assert len(before["boxes"])
    torch.testing.assert_close(after["boxes"], before["boxes"])


def test_levels_are_those_of_the_feature_pyramid_paper():
    sizes = [1.0, 55, 57, 111, 113, 223, 225, 447, 449, 5000]
    boxes = torch.tensor([[0, 0, size, size] for size in sizes])
    expected = [min(max(math.floor(4 + math.log2(size / 224)), 2), 5) - 2 for size in sizes]
    assert PyramidRoIAlign((4, 8, 16, 32), 7, 2, 224).level_of(boxes).tolist() == expected


def test_no_boxes_have_no_levels():
    assert PyramidRoIAlign((4, 8), 7, 2, 224).level_of(torch.zeros(0, 4)).tolist() == []


def test_upscaled_features_have_half_the_strides():
    config = parse_config({}, ["network.backbone.strides=[4,16]", "network.upscale=true",
                               "network.anchors.sizes=[[8],[16]]"])  # fmt: skip
    assert build_decoder(config.network, InferenceConfig()).roi_align.strides == (2, 8)


@pytest.mark.parametrize("ratio", [1, 2, 3])
def test_bags_of_rows_are_torchvisions_pooling_and_gradient(ratio):
    torch.manual_seed(ratio)
    maps = {"4": torch.rand(2, 5, 30, 41), "16": torch.rand(2, 5, 8, 11)}
    maps = {name: level.requires_grad_() for name, level in maps.items()}
    corners = torch.rand(60, 2) * torch.tensor([150.0, 110.0])
    boxes = torch.cat([corners, corners + torch.rand(60, 2) * 90], dim=1)
    # Over the edge by less and by more than a pixel of the map, thin, empty, all of the picture.
    odd = torch.tensor([[-3.0, -9, 20, 20], [150, 100, 190, 150], [9, 9, 9.1, 60], [5, 5, 5, 5]])
    boxes = [torch.cat([boxes[:35], odd]), boxes[35:]]
    image = torch.tensor([0] * 39 + [1] * 25)
    pool = PyramidRoIAlign((4, 16), 3, ratio, 224)
    order = torch.randperm(64)  # the boxes need not come picture by picture
    pooled = pool(list(maps.values()), torch.cat(boxes)[order], image[order])[order.argsort()]
    stock = MultiScaleRoIAlign(["4", "16"], 3, ratio)
    stock.scales, stock.map_levels = [1 / 4, 1 / 16], lambda own: pool.level_of(torch.cat(own))
    reference = stock(maps, boxes, [(120, 164)] * 2)
    torch.testing.assert_close(pooled, reference, rtol=1e-4, atol=1e-5)
    level_of = pool.level_of(torch.cat(boxes))
    elsewhere = pool._pool_elsewhere(list(maps.values()), torch.cat(boxes), image, level_of)
    torch.testing.assert_close(elsewhere, reference)
    weights = torch.rand_like(pooled)
    ours = torch.autograd.grad((pooled * weights).sum(), list(maps.values()))
    theirs = torch.autograd.grad((reference * weights).sum(), list(maps.values()))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    # Without a gradient each level is pooled from where it lies, to the same last bit.
    apart = [level.detach() for level in maps.values()]
    assert torch.equal(pool(apart, torch.cat(boxes)[order], image[order])[order.argsort()], pooled)


@pytest.mark.parametrize("num_cells", [0, 1, 300])
def test_weighted_sums_have_torchs_gradient(num_cells):
    torch.manual_seed(num_cells)
    table = torch.rand(40, 5, requires_grad=True)  # the last rows are in no bag
    rows, weights = torch.randint(0, 30, (num_cells, 16)).int(), torch.rand(num_cells, 16)
    gradient = torch.rand(num_cells, 5)
    stock = torch.nn.functional.embedding_bag(rows, table, mode="sum", per_sample_weights=weights)
    (theirs,) = torch.autograd.grad(stock, table, gradient)
    sums = WeightedSums.apply(table, rows, weights)
    (ours,) = torch.autograd.grad(sums, table, gradient)
    assert torch.equal(sums, stock)
    torch.testing.assert_close(ours, theirs)


def test_a_row_gets_the_weighted_gradients_of_its_cells():
    table = torch.zeros(3, 1, requires_grad=True)
    rows, weights = torch.tensor([[0, 1], [1, 1]]).int(), torch.tensor([[0.5, 2], [3, 4]])
    WeightedSums.apply(table, rows, weights).backward(torch.tensor([[10.0], [100]]))
    assert table.grad.flatten().tolist() == [5, 20 + 300 + 400, 0]


def test_a_box_that_is_no_number_reads_inside_the_map():
    pool = PyramidRoIAlign((4,), 2, 2, 224)
    boxes = torch.tensor([[math.nan] * 4, [math.inf] * 4, [-math.inf, 0, math.inf, 8]])
    assert pool([torch.ones(1, 3, 4, 4)], boxes, FIRST.expand(3)).shape == (3, 3, 2, 2)


def test_no_boxes_pool_nothing():
    pool = PyramidRoIAlign((4,), 2, 2, 224)
    assert pool([torch.ones(1, 3, 4, 4)], torch.zeros(0, 4), FIRST[:0]).shape[0] == 0


def test_features_of_half_precision_are_pooled_in_float32():
    """A network fused for the kernel gives them, also where the kernel is switched off."""
    align = PyramidRoIAlign((4.0, 8.0), 2, 1, 224)
    features = [torch.rand(1, 8, 10, 12).half(), torch.rand(1, 8, 5, 6).half()]
    boxes, image = torch.tensor([[0, 0, 30, 20.0]]), torch.tensor([0])
    found = align(features, boxes, image)
    assert torch.equal(found, align([level.float() for level in features], boxes, image))


def test_no_gpu_is_waited_for(count_waits):
    pool = PyramidRoIAlign((4, 8), 2, 2, 224)
    maps = [torch.ones(1, 16, 16, 3), torch.ones(1, 8, 8, 3)]
    boxes, image = torch.ones(5, 4), FIRST.expand(5)
    assert count_waits(lambda: pool._pool_at_once(maps, boxes, image, pool.level_of(boxes))) == 0
