"""Batch norms that are folded into convolutions, and those that cannot be."""

import pytest
import torch
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from head_detection.config import BackboneConfig
from head_detection.inference.backends.folding import fold_batch_norm
from head_detection.models.backbones import create_backbone


class Levels(nn.Module):
    """Gives the dict that a backbone gives."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return {"4": self.network(images)}


def with_statistics(model):
    """Batch norms as after training: nothing is 0 or 1."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | FrozenBatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.5, 0.5)
    return model.eval()


def test_one_norm_by_hand():
    convolution, norm = nn.Conv2d(3, 1, 1), nn.BatchNorm2d(1, eps=0.125)
    nn.init.constant_(convolution.weight, 1.0)
    nn.init.constant_(convolution.bias, 2.0)
    norm.running_mean.fill_(4.0)
    norm.running_var.fill_(0.125)
    nn.init.constant_(norm.weight, 3.0)
    nn.init.constant_(norm.bias, 1.0)
    model = Levels(nn.Sequential(convolution, norm)).eval()
    assert fold_batch_norm(model) == 1
    folded = model.network[0]
    # (x + 2 - 4) / sqrt(0.125 + 0.125) * 3 + 1 = 6 x - 11
    torch.testing.assert_close(folded.weight.flatten(), torch.full((3,), 6.0))
    torch.testing.assert_close(folded.bias, torch.tensor([-11.0]))
    assert isinstance(model.network[1], nn.Identity)


@pytest.mark.parametrize(
    ("name", "options", "at_least"),
    [
        ("resnet18", {"context": "cpm", "context_width": 16}, 20),
        ("mobilenet0.25", {"strides": (8, 16, 32), "fpn": "retinaface", "context": "ssh"}, 27),
        ("mobilenet_v3_large", {}, 30),
        ("tf_efficientnet_lite0", {}, 40),
        ("timm/darknet17", {"context": "deform_ssh"}, 17),
        ("timm/hrnet_w18_small", {}, 80),
    ],
)
def test_bodies_give_the_same_features_folded(name, options, at_least):
    config = BackboneConfig(name=name, fpn_width=16, **options)
    with torch.no_grad():
        model = with_statistics(create_backbone(config))
        picture = torch.rand(1, 3, 96, 64)
        before = model(picture)
        num_norms = sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
        num_folded = fold_batch_norm(model)
        after = model(picture)
    assert at_least <= num_folded <= num_norms
    for stride, features in before.items():
        scale = float(features.abs().max())
        torch.testing.assert_close(after[stride], features, rtol=0.0, atol=1e-4 * scale)


def test_a_frozen_norm_is_folded_too():
    with torch.no_grad():
        network = nn.Sequential(nn.Conv2d(3, 4, 3), FrozenBatchNorm2d(4), nn.ReLU())
        model = with_statistics(Levels(network))
        picture = torch.rand(1, 3, 8, 8)
        before = model(picture)["4"]
        assert fold_batch_norm(model) == 1
        torch.testing.assert_close(model(picture)["4"], before)


class Shared(nn.Module):
    """One convolution feeds a norm and, unchanged, the sum after it."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, images):
        features = self.convolution(images)
        return features + self.norm(features)


class Backwards(nn.Module):
    """Registered as convolution, norm; run as norm, convolution."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, images):
        return self.convolution(self.norm(images))


class Twice(nn.Module):
    """One convolution with two norms, as heads that are shared by all levels have."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(3), nn.BatchNorm2d(3)])

    def forward(self, images):
        first, second = (norm(self.convolution(images)) for norm in self.norms)
        return first + second


class TwoTakers(nn.Module):
    """One output of a convolution that a norm takes first, and another convolution after it."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.second = nn.Conv2d(3, 3, 1)

    def forward(self, images):
        features = self.convolution(images)
        return self.norm(features) + self.second(features)


@pytest.mark.parametrize("network", [Shared, Backwards, Twice, TwoTakers])
def test_norms_that_cannot_be_folded_stay(network, caplog):
    with torch.no_grad():
        model = with_statistics(Levels(network()))
        picture = torch.rand(1, 3, 8, 8)
        before = model(picture)["4"]
        assert fold_batch_norm(model) == 0
        torch.testing.assert_close(model(picture)["4"], before, rtol=0.0, atol=0.0)
    assert ("left as it is" in caplog.text) == (network is Shared)


def test_what_one_norm_cannot_spoils_no_other(caplog):
    """Of two norms the one that shares its input stays, and the other is folded."""
    with torch.no_grad():
        network = nn.Sequential(TwoTakers(), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
        model = with_statistics(Levels(network))
        assert fold_batch_norm(model) == 1
    assert not caplog.text


class SharedByLevels(nn.Module):
    """One convolution and its norm, for two levels."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, images):
        return self.norm(self.convolution(images)) + self.norm(self.convolution(-images))


def test_a_norm_that_always_follows_is_folded():
    with torch.no_grad():
        model = with_statistics(Levels(SharedByLevels()))
        picture = torch.rand(1, 3, 8, 8)
        before = model(picture)["4"]
        assert fold_batch_norm(model) == 1
        torch.testing.assert_close(model(picture)["4"], before)
