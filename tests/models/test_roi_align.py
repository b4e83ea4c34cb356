import math

import torch

from head_detection.config import BackboneConfig, ModelConfig
from head_detection.models.faster_rcnn import build_detector
from head_detection.models.roi_align import PyramidRoIAlign, StrideMapper


def ramp(stride, size):
    """A map whose value is the column in network pixels, cells at their left as RoIAlign has it."""
    columns = torch.arange(size // stride) * float(stride)
    return columns.expand(1, 1, size // stride, size // stride).clone()


def test_a_box_is_pooled_where_it_lies_from_the_level_of_its_size():
    pool = PyramidRoIAlign([4, 8], 1, 2, 224, names=["4", "8"])
    features = {"4": ramp(4, 256), "8": ramp(8, 256) + 1000}
    boxes = [torch.tensor([[16.0, 16, 48, 48], [0, 0, 240, 240]])]
    pooled = pool(features, boxes, [(256, 256)]).flatten()
    torch.testing.assert_close(pooled, torch.tensor([32.0, 1120.0]))


def test_the_first_picture_does_not_decide_for_the_others():
    torch.manual_seed(0)
    config = ModelConfig(backbone=BackboneConfig(name="mobilenet0.25", fpn_width=8))
    model = build_detector(config).eval()
    picture, thin = torch.rand(3, 96, 96), torch.rand(3, 1, 64)
    with torch.inference_mode():
        (before,) = build_and_copy(config, model)([picture])
        model([thin])
        (after,) = model([picture])
    assert len(before["boxes"])
    torch.testing.assert_close(after["boxes"], before["boxes"])


def build_and_copy(config, model):
    twin = build_detector(config).eval()
    twin.load_state_dict(model.state_dict())
    return twin


def test_levels_are_those_of_the_feature_pyramid_paper():
    sizes = [1.0, 55, 57, 111, 113, 223, 225, 447, 449, 5000]
    boxes = torch.tensor([[0, 0, size, size] for size in sizes])
    expected = [min(max(math.floor(4 + math.log2(size / 224)), 2), 5) - 2 for size in sizes]
    assert StrideMapper([4, 8, 16, 32], 224)([boxes]).tolist() == expected


def test_no_boxes_have_no_levels():
    assert StrideMapper([4, 8], 224)([torch.zeros(0, 4)]).tolist() == []


def test_upscaled_features_have_half_the_strides():
    config = ModelConfig(
        backbone=BackboneConfig(name="mobilenet0.25", fpn_width=8, strides=(4, 16)), upscale=True
    )
    assert build_detector(config).roi_heads.box_roi_pool.scales == [0.5, 0.125]
