"""Gradients of depthwise convolutions: those of torch, by other ways."""

import copy

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's users know
from torch import Tensor, nn

from head_detection.models.convolution import SameConv2d
from head_detection.training import depthwise
from head_detection.training.depthwise import DepthwiseConvolution, use_fast_gradients


def depthwise_layer(kernel: int, stride: int = 1, padding: int = 0, channels: int = 8) -> nn.Conv2d:
    return nn.Conv2d(
        channels, channels, kernel, stride, padding, groups=channels, bias=False
    ).to(memory_format=torch.channels_last)  # fmt: skip


def gradients(model: nn.Module, picture: Tensor) -> list[Tensor]:
    picture = picture.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = model(picture)
    torch.manual_seed(3)
    out.backward(torch.randn(out.shape).to(out.dtype))
    assert picture.grad is not None
    found = [picture.grad, *(p.grad for p in model.parameters() if p.grad is not None)]
    model.zero_grad()
    return found


def test_every_window_that_a_pixel_is_in_adds_to_its_gradient() -> None:
    picture = torch.ones(1, 1, 5, 5, dtype=torch.bfloat16, requires_grad=True)
    weight = torch.ones(1, 1, 3, 3, dtype=torch.bfloat16, requires_grad=True)
    DepthwiseConvolution.apply(picture, weight, 2, 0).sum().backward()
    # Four windows at stride 2: the middle row and column are in two of each direction.
    windows = torch.tensor([1.0, 1.0, 2.0, 1.0, 1.0])
    assert picture.grad is not None
    assert weight.grad is not None
    assert picture.grad[0, 0].tolist() == torch.outer(windows, windows).tolist()
    assert weight.grad.unique().tolist() == [4.0]


@pytest.mark.parametrize("chunk", [1, 4000, 1 << 30])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(3, 2, 0), (3, 2, 1), (5, 1, 2), (5, 2, 0), (5, 2, 2), (7, 1, 3), (5, 3, 4), (2, 2, 0)],
)
@pytest.mark.parametrize("size", [(19, 24), (12, 7)])
def test_gradients_are_those_of_torch_in_float32(
    monkeypatch: pytest.MonkeyPatch,
    kernel: int,
    stride: int,
    padding: int,
    size: tuple[int, int],
    chunk: int,
) -> None:
    monkeypatch.setattr(depthwise, "CHUNK", chunk)
    torch.manual_seed(0)
    layer = depthwise_layer(kernel, stride, padding)
    # Values that bfloat16 holds, so that both see the same numbers.
    layer.weight.data = layer.weight.data.bfloat16().float()
    picture = torch.randn(3, 8, *size).bfloat16().float()
    expected = picture.clone().requires_grad_()
    out = F.conv2d(expected, layer.weight, None, stride, padding, groups=8)
    torch.manual_seed(3)
    out.backward(torch.randn(out.shape).bfloat16().float())
    assert expected.grad is not None
    assert layer.weight.grad is not None
    of_weight = layer.weight.grad.clone()
    layer.zero_grad()
    use_fast_gradients(layer)
    of_x, ours = gradients(layer, picture)
    torch.testing.assert_close(of_x, expected.grad, rtol=0.02, atol=0.02)
    torch.testing.assert_close(ours, of_weight, rtol=0.02, atol=0.05)


def test_convolutions_that_pad_themselves_are_followed() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        SameConv2d(8, 8, 5, 2, groups=8, bias=False), nn.ReLU6(), depthwise_layer(3, 2, 1)
    )
    fast = copy.deepcopy(model)
    use_fast_gradients(fast)
    assert list(fast.state_dict()) == list(model.state_dict())
    picture = torch.randn(2, 8, 21, 34)
    for ours, theirs in zip(gradients(fast, picture), gradients(model, picture), strict=True):
        assert F.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0) > 0.999
    # A running mean of the weights is a copy: its layers must not follow the model's.
    average = copy.deepcopy(fast)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        before = average(picture)
        for parameter in fast.parameters():
            parameter.zero_()
        assert torch.equal(average(picture), before)
        assert not torch.equal(fast(picture), before)


def test_other_convolutions_stay_as_they_are() -> None:
    others = [
        depthwise_layer(3),  # what oneDNN is fast at
        nn.Conv2d(8, 8, 5, 2, bias=False),
        nn.Conv2d(8, 16, 5, 2, groups=8, bias=False),
        nn.Conv2d(8, 8, 5, groups=8),
        nn.Conv2d(8, 8, 5, groups=8, bias=False, dilation=2),
        nn.Conv2d(8, 8, (5, 3), groups=8, bias=False),
        nn.Conv2d(8, 8, 5, padding="same", groups=8, bias=False),
        nn.Conv2d(8, 8, 5, padding=2, padding_mode="reflect", groups=8, bias=False),
        nn.Conv2d(8, 8, 3, 2, 3, groups=8, bias=False),
    ]
    for other in others:
        use_fast_gradients(other)
        assert "_conv_forward" not in other.__dict__


def test_nothing_is_computed_for_what_does_not_learn() -> None:
    layer = depthwise_layer(5, 2)
    use_fast_gradients(layer)
    layer.requires_grad_(requires_grad=False)
    picture = torch.randn(1, 8, 9, 9, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        layer(picture).sum().backward()
        assert layer.weight.grad is None
        assert picture.grad is not None
        layer.requires_grad_(requires_grad=True)
        layer(picture.detach()).sum().backward()
    assert layer.weight.grad is not None


def test_float32_stays_float32() -> None:
    layer = depthwise_layer(5, 2)
    picture = torch.randn(1, 8, 9, 9)
    expected = layer(picture)
    use_fast_gradients(layer)
    assert torch.equal(layer(picture), expected)
