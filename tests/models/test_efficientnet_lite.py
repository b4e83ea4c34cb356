"""The body beside timm's of the same name: the same tensors in the same order, the same maps."""

import pytest
import timm
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from head_detection.models.bodies import LiteBody
from head_detection.models.efficientnet_lite import MULTIPLIERS, EfficientNetLite


@pytest.mark.parametrize("name", MULTIPLIERS)
def test_tensors_have_timms_names_order_and_shapes(name: str) -> None:
    theirs, own = timm.create_model(name, features_only=True), LiteBody(name, 32)
    shapes = {f"network.{key}": value.shape for key, value in theirs.state_dict().items()}
    assert list(shapes.items()) == [(key, v.shape) for key, v in own.state_dict().items()]
    assert list(own.strides) == theirs.feature_info.reduction()
    assert list(own.channels) == theirs.feature_info.channels()


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("size", [(64, 96), (67, 33)])
def test_maps_are_timms_to_the_last_bit(is_training: bool, size: tuple[int, int]) -> None:
    theirs = timm.create_model("tf_efficientnet_lite2", features_only=True).train(is_training)
    own = EfficientNetLite("tf_efficientnet_lite2").train(is_training)
    own.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for one, other in zip(own(images), theirs(images), strict=True):
            assert torch.equal(one, other)


class Names(TorchDispatchMode):
    """Notes the operators that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.called: set[str] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.called.add(function._schema.name)
        return function(*args, **(kwargs or {}))


def test_training_copies_no_map() -> None:
    with Names() as names:
        EfficientNetLite("tf_efficientnet_lite0")(torch.zeros(2, 3, 32, 32))
    assert "aten::hardtanh" in names.called
    assert not names.called & {"aten::clone", "aten::copy_"}


def test_stages_behind_the_last_map_are_left_out() -> None:
    body = EfficientNetLite("tf_efficientnet_lite0", max_stride=16)
    assert (body.strides, body.channels) == ((2, 4, 8, 16), (16, 24, 40, 112))
    assert len(body.blocks) == 5
    maps = body(torch.zeros(1, 3, 32, 64))
    assert [tuple(level.shape[1:]) for level in maps] == [
        (16, 16, 32),
        (24, 8, 16),
        (40, 4, 8),
        (112, 2, 4),
    ]


def test_it_starts_with_the_spread_that_keeps_what_goes_out() -> None:
    """A 3x3 to 32 channels has 288 numbers out of each pixel: a deviation of root(2 / 288)."""
    torch.manual_seed(0)
    body = EfficientNetLite("tf_efficientnet_lite0")
    assert body.conv_stem.weight.std().item() == pytest.approx((2 / 288) ** 0.5, rel=0.1)
    depthwise = body.blocks[5][1].conv_dw.weight  # 5x5, one channel each
    assert depthwise.std().item() == pytest.approx((2 / 25) ** 0.5, rel=0.1)


def test_a_smaller_expansion_keeps_the_maps() -> None:
    small = EfficientNetLite("tf_efficientnet_lite0", expansion=4)
    full = EfficientNetLite("tf_efficientnet_lite0")
    assert small.channels == full.channels
    inner = [body.blocks[5][1].conv_dw.weight.shape[0] for body in (small, full)]
    assert inner == [768, 1152]  # 4 and 6 times 192
