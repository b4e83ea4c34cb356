"""Convolutions in kernels, beside PyTorch's."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's users know
from torch import Tensor

from head_detection.kernels import convolution
from head_detection.kernels.convolution import LINEAR, RELU, RELU6, Placement

ACTIVATIONS = {LINEAR: lambda maps: maps, RELU: F.relu, RELU6: F.relu6}


def maps_of(device, channels: int, height: int, width: int) -> Tensor:
    maps = torch.randn(2, channels, height, width).half()
    return maps.to(device, memory_format=torch.channels_last)


def assert_alike(found: Tensor, expected: Tensor) -> None:
    assert found.dtype == torch.float16
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found.cpu().float(), expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("inputs", "outputs"), [(16, 96), (24, 8), (72, 144)])
def test_pointwise(device, inputs, outputs, activation) -> None:
    maps, bias = maps_of(device, inputs, 5, 7), torch.randn(outputs)
    weight = (torch.randn(outputs, inputs) / inputs**0.5).half()
    found = convolution.pointwise(maps, weight.to(device), bias.to(device), activation)
    expected = F.conv2d(maps.cpu().float(), weight.float()[..., None, None], bias)
    assert_alike(found, ACTIVATIONS[activation](expected))


@pytest.mark.parametrize("channels", [8, 72])
@pytest.mark.parametrize(("side", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_depthwise_with_odd_sides(device, channels, side, stride) -> None:
    maps, bias = maps_of(device, channels, 9, 8), torch.randn(channels)
    weight = (torch.randn(channels, 1, side, side) / side).half()
    size = (-(-9 // stride), -(-8 // stride))
    down, right = (
        max((made - 1) * stride + side - own, 0) for made, own in zip(size, (9, 8), strict=True)
    )
    taps = weight[:, 0].permute(1, 2, 0).reshape(side**2, channels).contiguous().to(device)
    placement = Placement(stride, down // 2, right // 2, *size)
    found = convolution.depthwise(maps, taps, bias.to(device), RELU6, placement)
    padding = (right // 2, right - right // 2, down // 2, down - down // 2)
    padded = F.pad(maps.cpu().float(), padding)
    expected = F.conv2d(padded, weight.float(), bias, stride=stride, groups=channels)
    assert_alike(found, F.relu6(expected))


def test_stem(device) -> None:
    maps, bias = maps_of(device, 3, 14, 18), torch.randn(32)
    weight = (torch.randn(32, 3, 3, 3) / 5).half()
    taps = weight.permute(2, 3, 1, 0).reshape(27, 32).contiguous().to(device)
    placement = Placement(2, 0, 0, 7, 9)
    found = convolution.stem(maps, taps, bias.to(device), RELU6, placement)
    padded = F.pad(maps.cpu().float(), (0, 1, 0, 1))
    assert_alike(found, F.relu6(F.conv2d(padded, weight.float(), bias, stride=2)))


def test_a_mean_of_nine_pixels_by_hand(device) -> None:
    ones = torch.ones(1, 8, 3, 3, dtype=torch.half, device=device)
    maps = ones.to(memory_format=torch.channels_last)
    taps, bias = ones.flatten(2)[0].T.contiguous() / 8, torch.full((8,), 0.5, device=device)
    found = convolution.depthwise(maps, taps, bias, LINEAR, Placement(1, 1, 1, 3, 3))
    # Corners see four pixels, edges six, the middle nine.
    lines = [[1.0, 1.25, 1.0], [1.25, 1.625, 1.25], [1.0, 1.25, 1.0]]
    assert found[0, 7].tolist() == lines


def test_values_that_32_bits_do_not_count_are_many() -> None:
    few, many = (torch.empty(2**16 - less, 2**15, device="meta") for less in (1, 0))
    assert not convolution._are_many(few, few)
    assert convolution._are_many(few, many)


def test_maps_of_too_many_values_are_counted_in_64_bits(device, monkeypatch) -> None:
    maps, bias = maps_of(device, 8, 4, 5), torch.randn(8, device=device)
    picture = maps[:1, :3].contiguous(memory_format=torch.channels_last)
    weight, taps = torch.randn(8, 8).half().to(device), torch.randn(9, 8).half().to(device)
    first, placement = torch.randn(27, 8).half().to(device), Placement(1, 1, 1, 4, 5)

    def convolve() -> list[Tensor]:
        return [
            convolution.pointwise(maps, weight, bias, RELU),
            convolution.depthwise(maps, taps, bias, RELU, placement),
            convolution.stem(picture, first, bias, RELU, placement),
        ]

    expected = convolve()
    monkeypatch.setattr(convolution, "MOST_VALUES", picture.numel())
    for found, own in zip(convolve(), expected, strict=True):
        assert torch.equal(found, own)
