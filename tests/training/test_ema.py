import pytest
import torch
from torch import nn

from head_detection.training.ema import MovingAverage


@pytest.fixture
def model():
    module = nn.BatchNorm1d(1)
    nn.init.constant_(module.weight, 0.0)
    return module


def test_the_decay_warms_up_by_hand(model):
    average = MovingAverage(model, decay=0.15)
    nn.init.constant_(model.weight, 1.0)
    average.update(model, step=0)  # decay 1/10: 0 -> .9
    torch.testing.assert_close(average.model.weight, torch.tensor([0.9]))
    average.update(model, step=1)  # 2/11 > .15: .9 + .85 * .1
    torch.testing.assert_close(average.model.weight, torch.tensor([0.985]))


def test_statistics_follow_and_counters_are_copied(model):
    average = MovingAverage(model, decay=0.999)
    model.running_mean.fill_(10.0)
    model.num_batches_tracked.fill_(7)
    average.update(model, step=0)
    torch.testing.assert_close(average.model.running_mean, torch.tensor([9.0]))
    assert int(average.model.num_batches_tracked) == 7


def test_it_is_a_copy_that_does_not_learn(model):
    average = MovingAverage(model, decay=0.5)
    nn.init.constant_(model.weight, 5.0)
    torch.testing.assert_close(average.model.weight, torch.tensor([0.0]))
    assert not average.model.weight.requires_grad
    assert not average.model.training
    assert model.training
