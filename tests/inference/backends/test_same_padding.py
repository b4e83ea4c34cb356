import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame

from head_detection.inference.backends.same_padding import (
    fix_same_padding,
    pad_before,
    pad_in_kernel,
)


# Zeros in between change the order of additions.
@pytest.mark.parametrize(("rewrite", "atol"), [(pad_before, 1e-5), (pad_in_kernel, 1e-4)])
def test_same_padding_becomes_fixed(build, rewrite, atol):
    network = build(name="tf_efficientnet_lite0", strides=(8, 16)).network
    images = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        expected = network.dense(images)
        replaced = fix_same_padding(network, rewrite, 32)
        assert len(replaced) == 5  # one a halving; the body goes to 32
        assert all(isinstance(module, Conv2dSame) for module in replaced.values())
        assert not any(isinstance(module, Conv2dSame) for module in network.modules())
        for came, wanted in zip(network.dense(images).features, expected.features, strict=True):
            torch.testing.assert_close(came, wanted, rtol=1e-5, atol=atol)


@torch.no_grad()
def test_three_pixels_at_a_stride_of_two_by_hand():
    convolution = Conv2dSame(1, 1, 3, stride=2, bias=False)
    convolution.weight.fill_(1.0)
    picture = torch.ones(1, 1, 4, 4)
    # A row and a column of zeros at the end: the last sums hold two of three, at the corner four.
    expected = torch.tensor([[[[9.0, 6.0], [6.0, 4.0]]]])
    for network in (convolution, pad_before(convolution), pad_in_kernel(convolution)):
        torch.testing.assert_close(network(picture), expected)


@pytest.mark.parametrize(
    ("size", "options"),
    [
        (3, {"stride": 1}),
        (2, {"stride": 2}),
        ((3, 5), {"stride": 2}),
        (3, {"stride": 2, "dilation": 2}),
    ],
)
def test_what_zeros_in_a_kernel_cannot_pad_is_left(size, options):
    assert pad_in_kernel(Conv2dSame(1, 1, size, **options)) is None
