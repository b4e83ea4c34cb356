import pytest
import torch
from torch import nn

from head_detection.config import OptimizerConfig, ScheduleConfig
from head_detection.training.optimizer import (
    build_optimizer,
    learning_rate_factor,
    parameter_groups,
    set_learning_rate,
)


@pytest.fixture
def model():
    body = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    return nn.ModuleDict({"body": body, "rest": nn.Linear(1, 1)})


def single(value):
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, value)
    return module


def test_momentum_is_momentum_by_hand():
    """HeadHunter gave SGD its learning rate as momentum (its fault 3)."""
    module = single(1.0)
    config = OptimizerConfig(learning_rate=0.1, momentum=0.9, weight_decay=0.0)
    optimizer = build_optimizer(module, nn.Identity(), config)
    for expected in (0.9, 0.71):  # velocity 1, then 1.9
        module.weight.grad = torch.ones(1, 1)
        optimizer.step()
        torch.testing.assert_close(module.weight.detach(), torch.tensor([[expected]]))


def test_weight_decay_pulls_by_hand():
    module = single(2.0)
    config = OptimizerConfig(learning_rate=0.1, momentum=0.0, weight_decay=0.5)
    optimizer = build_optimizer(module, nn.Identity(), config)
    module.weight.grad = torch.zeros(1, 1)
    optimizer.step()
    torch.testing.assert_close(module.weight.detach(), torch.tensor([[1.9]]))  # 2 - .1 * .5 * 2


def test_groups_by_body_and_by_norm(model):
    config = OptimizerConfig(
        learning_rate=1.0,
        body_learning_rate_factor=0.1,
        weight_decay=0.5,
        norm_weight_decay=0.25,
    )
    body, rest = model["body"], model["rest"]
    by_parameter = {
        id(parameter): (group["lr"], group["weight_decay"])
        for group in parameter_groups(model, body, config)
        for parameter in group["params"]
    }
    assert by_parameter == {
        id(body[0].weight): (0.1, 0.5),
        id(body[0].bias): (0.1, 0.25),
        id(body[1].weight): (0.1, 0.25),
        id(body[1].bias): (0.1, 0.25),
        id(rest.weight): (1.0, 0.5),
        id(rest.bias): (1.0, 0.25),
    }


def test_frozen_parameters_are_in_no_group(model):
    model["body"].requires_grad_(requires_grad=False)
    groups = parameter_groups(model, model["body"], OptimizerConfig())
    assert sum(len(group["params"]) for group in groups) == 2


def test_adamw_moves_by_the_rate_at_first(model):
    optimizer = build_optimizer(
        model, model["body"], OptimizerConfig(name="adamw", learning_rate=0.01, weight_decay=0.0)
    )
    assert isinstance(optimizer, torch.optim.AdamW)
    before = model["rest"].weight.detach().clone()
    model["rest"].weight.grad = torch.full((1, 1), 7.0)
    optimizer.step()
    torch.testing.assert_close(before - model["rest"].weight.detach(), torch.tensor([[0.01]]))


def test_every_group_follows_the_factor(model):
    config = OptimizerConfig(learning_rate=1.0, body_learning_rate_factor=0.1)
    optimizer = build_optimizer(model, model["body"], config)
    for _ in range(2):  # from the full rate each time, not from the last
        set_learning_rate(optimizer, 0.5)
    assert sorted({group["lr"] for group in optimizer.param_groups}) == [0.05, 0.5]


def factors(config, steps, steps_per_epoch=4, total_steps=20):
    return [learning_rate_factor(step, config, steps_per_epoch, total_steps) for step in steps]


def test_warmup_runs_and_is_linear_by_hand():
    """HeadHunter's warm-up never ran (its fault 3)."""
    config = ScheduleConfig(name="constant", warmup_steps=5, warmup_factor=0.5)
    expected = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0]
    assert factors(config, range(7), total_steps=50) == pytest.approx(expected)


def test_the_warmup_of_a_short_run_is_a_tenth_of_it():
    config = ScheduleConfig(name="constant", warmup_steps=500, warmup_factor=0.5)
    assert factors(config, range(4), total_steps=20) == pytest.approx([0.5, 0.75, 1.0, 1.0])
    assert factors(config, range(2), total_steps=9) == [1.0, 1.0]


def test_milestones_are_in_epochs():
    config = ScheduleConfig(milestones=(3, 1), gamma=0.1, warmup_steps=0)
    assert factors(config, (3, 4, 11, 12)) == pytest.approx([1.0, 0.1, 0.1, 0.01])


def test_cosine_by_hand_arrives_at_the_last_step():
    config = ScheduleConfig(name="cosine", final_factor=0.2, warmup_steps=0)
    values = factors(config, (0, 10, 20), total_steps=21)
    assert values == pytest.approx([1.0, 0.6, 0.2])


def test_a_run_of_one_step_has_a_rate():
    config = ScheduleConfig(name="cosine", warmup_steps=0)
    assert factors(config, (0,), total_steps=1) == [1.0]


def test_no_warmup_starts_at_the_full_rate():
    assert factors(ScheduleConfig(name="constant", warmup_steps=0), (0,)) == [1.0]
