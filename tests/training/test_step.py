import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from head_detection import devices
from head_detection.config import parse_config
from head_detection.data.dataset import Sample
from head_detection.errors import ConfigError
from head_detection.training.step import (
    LOSS_NAMES,
    TrainingStep,
    autocast_type,
    build_scaler,
    step_seed,
)


class OneWeight(nn.Module):
    """A stand-in: each loss is the mean over pictures of weight times the picture's brightness."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.norm = nn.BatchNorm1d(1, affine=False)
        self.draws = []

    def forward(self, images, targets):
        self.draws.append(torch.rand(()).item())
        brightness = torch.stack([image.float().mean() for image in images])
        self.norm(torch.cat([brightness, brightness])[:, None])
        loss = (self.weight * brightness).mean()
        return {"loss_classifier": loss, **dict.fromkeys(LOSS_NAMES[1:], loss * 0)}


def samples(*values):
    return [
        Sample(torch.full((3, 2, 2), float(value)), {"boxes": torch.zeros(0, 4)})
        for value in values
    ]


@pytest.fixture
def build(alone):
    def build_step(**training):
        optimizer = {"learning_rate": 0.1, "momentum": 0.0, **training.pop("optimizer", {})}
        config = parse_config({"training": {"optimizer": optimizer, **training}}).training
        model = OneWeight()
        sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        return TrainingStep(model, sgd, build_scaler(config, alone.device), config, alone)

    return build_step


def weight_of(step):
    return step.model.weight.item()


def test_a_step_by_hand(build):
    step = build()
    outcome = step.run(samples(1, 3), 0)
    assert weight_of(step) == pytest.approx(1 - 0.1 * 2)  # mean brightness 2
    assert outcome.loss == pytest.approx(2.0)
    assert outcome.gradient_norm == pytest.approx(2.0)
    assert not outcome.is_bad


@pytest.mark.parametrize("accumulation", [1, 2, 3, 7])
def test_accumulation_gives_the_gradient_of_the_whole_batch(build, accumulation):
    step = build(accumulation=accumulation)
    outcome = step.run(samples(1, 2, 6), 0)
    assert weight_of(step) == pytest.approx(1 - 0.1 * 3)
    assert outcome.loss == pytest.approx(3.0)
    assert len(step.model.draws) == min(accumulation, 3)


def test_long_gradients_are_clipped_and_short_ones_are_not(build):
    step = build(optimizer={"clip_norm": 0.5})
    outcome = step.run(samples(4), 0)
    assert outcome.gradient_norm == pytest.approx(4.0)  # before
    assert weight_of(step) == pytest.approx(1 - 0.1 * 0.5)
    step.run(samples(0.25), 1)
    assert weight_of(step) == pytest.approx(0.95 - 0.1 * 0.25)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_changes_nothing(build, value):
    step = build()
    step.run(samples(1, 2), 0)
    before = {name: tensor.clone() for name, tensor in step.model.state_dict().items()}
    outcome = step.run(samples(1, value), 1)
    assert outcome.is_bad
    torch.testing.assert_close(dict(step.model.state_dict()), before, rtol=0, atol=0)
    assert not step.run(samples(1, 2), 2).is_bad


def test_a_gradient_that_is_not_finite_changes_nothing(build):
    step = build()
    step.model.weight.register_hook(lambda gradient: gradient * float("inf"))
    outcome = step.run(samples(1), 0)
    assert outcome.is_bad
    assert outcome.loss == 1.0
    assert weight_of(step) == 1.0


def test_what_is_random_depends_on_seed_and_step_alone(build):
    first, second, other = build(), build(), build(seed=1)
    first.run(samples(1), 0)
    for step in (first, second, other):
        step.run(samples(1), 1)
    assert first.model.draws[-1] == second.model.draws[-1]
    assert first.model.draws[0] != first.model.draws[1]
    assert other.model.draws[-1] != second.model.draws[-1]


def test_seeds_differ_by_step_and_rank():
    assert len({step_seed(0, step, rank) for step in range(50) for rank in range(4)}) == 200
    assert 0 <= step_seed(3, 5, 1) < 2**64


def test_a_stop_is_reported(build):
    assert build().run(samples(1), 0, wants_stop=True).must_stop
    assert not build().run(samples(1), 0).must_stop


def test_bf16_computes_in_bf16(build):
    step = build(precision="bf16")
    seen = []
    step.model.register_forward_hook(
        lambda *_: seen.append((torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")))
    )
    step.run(samples(1), 0)
    assert seen == [(True, torch.bfloat16)]


@pytest.mark.parametrize(("has_bf16", "expected"), [(True, torch.bfloat16), (False, None)])
def test_auto_is_what_the_processor_multiplies(monkeypatch, has_bf16, expected):
    monkeypatch.setattr(devices, "cpu_multiplies_bf16", lambda: has_bf16)
    assert autocast_type("auto", torch.device("cpu")) == expected
    assert autocast_type("fp32", torch.device("cpu")) is None


def test_fp16_on_a_cpu_is_refused():
    config = parse_config({"training": {"precision": "fp16"}}).training
    with pytest.raises(
        ConfigError, match=r"training\.precision: fp16 needs a CUDA device, .* bf16"
    ):
        build_scaler(config, torch.device("cpu"))


def test_a_loss_scale_that_cannot_shrink_further_skips_and_goes_on(alone):
    """A step under the smallest scale is dropped, and the next one is none the worse for it."""
    config = parse_config({"training": {"optimizer": {"momentum": 0.0}}}).training
    model = OneWeight()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=0.5)
    step = TrainingStep(model, sgd, scaler, config, alone)
    hook = model.weight.register_hook(lambda gradient: gradient * float("inf"))
    assert step.run(samples(1), 0).is_bad
    hook.remove()
    assert weight_of(step) == 1.0
    assert not step.run(samples(1), 1).is_bad
    assert weight_of(step) == pytest.approx(1 - 0.1)
    assert scaler.get_scale() == 0.5


class Operators(TorchDispatchMode):
    """Notes the names of the operators that are called."""

    def __init__(self):
        super().__init__()
        self.called = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.called.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_a_step_of_16_pictures_calls_hardly_more_operators_than_one_of_2(build_trainer):
    trainer = build_trainer(["training.optimizer.clip_norm=0"])
    trainer.state.model.train()
    batch = next(trainer.data.batches.batches(0, 0))
    assert len(batch) == 2
    counts = {}
    for copies in (1, 8):
        with Operators() as operators:
            outcome = trainer.step.run(batch * copies, 0)
        assert not outcome.is_bad
        # A number that is read, or a size that depends on values, is waited for on a GPU.
        assert not {"_local_scalar_dense", "nonzero", "masked_select"} & set(operators.called)
        counts[copies] = len(operators.called)
    assert counts[8] <= 1.5 * counts[1]
