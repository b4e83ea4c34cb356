"""The pyramids on maps of one value, by hand."""

import pytest
import torch
from torch import Tensor, nn

from head_detection.config import BackboneConfig
from head_detection.models.fpn import LightFPN, build_fpn


@pytest.fixture
def light() -> LightFPN:
    """Laterals double and add 1; the way down triples."""
    fpn = LightFPN([1, 1, 1], 1)
    for lateral in fpn.laterals:
        nn.init.constant_(lateral.weight, 2.0)
        nn.init.constant_(lateral.bias, 1.0)
    for down in fpn.downs:
        nn.init.constant_(down.weight, 3.0)
    return fpn


def constant(value: float, *size: int) -> Tensor:
    return torch.full((1, 1, *size), float(value))


def test_the_light_pyramid_adds_what_comes_down_to_the_laterals(light: LightFPN) -> None:
    """Coarsest 2*10 + 1 = 21; then 2*5 + 1 + 3*21 = 74; then 2*1 + 1 + 3*74 = 225."""
    maps = [constant(1, 8, 12), constant(5, 4, 6), constant(10, 2, 3)]
    outputs = light(maps)
    assert [output.unique().tolist() for output in outputs] == [[225.0], [74.0], [21.0]]
    assert [output.shape for output in outputs] == [level.shape for level in maps]


def test_the_light_pyramid_takes_odd_sizes_and_one_level(light: LightFPN) -> None:
    outputs = light([constant(1, 7, 5), constant(5, 4, 3), constant(10, 2, 2)])
    assert [tuple(output.shape[2:]) for output in outputs] == [(7, 5), (4, 3), (2, 2)]
    assert outputs[0].unique().tolist() == [225.0]
    assert [tuple(level.shape) for level in LightFPN([3], 4)([torch.zeros(2, 3, 5, 5)])] == [
        (2, 4, 5, 5)
    ]


def test_the_light_pyramid_has_no_convolution_larger_than_a_pixel() -> None:
    fpn = build_fpn(BackboneConfig(fpn="light", fpn_width=8), [16, 32])
    convolutions = [module for module in fpn.modules() if isinstance(module, nn.Conv2d)]
    assert {convolution.kernel_size for convolution in convolutions} == {(1, 1)}
    assert len(convolutions) == 3
    assert all(bool((lateral.bias == 0).all()) for lateral in fpn.laterals)
