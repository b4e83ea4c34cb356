import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from head_detection.training.state import build_average


@pytest.fixture
def model():
    module = nn.BatchNorm1d(1)
    nn.init.constant_(module.weight, 0.0)
    return module


def follow(average, model, step):
    average.n_averaged.fill_(step + 1)
    average.update_parameters(model)


def test_the_decay_warms_up_by_hand(model):
    average = build_average(model, decay=0.15)
    nn.init.constant_(model.weight, 1.0)
    follow(average, model, step=0)  # decay 1/10: 0 -> .9
    torch.testing.assert_close(average.module.weight, torch.tensor([0.9]))
    follow(average, model, step=1)  # 2/11 > .15: .9 + .85 * .1
    torch.testing.assert_close(average.module.weight, torch.tensor([0.985]))


def test_a_slow_average_keeps_its_digits(model):
    """1 - .9999 in float32 is off by a thousandth."""
    average = build_average(model, decay=0.9999)
    nn.init.constant_(model.weight, 1.0)
    follow(average, model, step=10**6)
    torch.testing.assert_close(average.module.weight, torch.tensor([1e-4]), rtol=1e-6, atol=0)


def test_statistics_follow_and_counters_are_copied(model):
    average = build_average(model, decay=0.999)
    model.running_mean.fill_(10.0)
    model.num_batches_tracked.fill_(7)
    follow(average, model, step=0)
    torch.testing.assert_close(average.module.running_mean, torch.tensor([9.0]))
    assert int(average.module.num_batches_tracked) == 7


def test_it_is_a_copy_that_does_not_learn(model):
    average = build_average(model, decay=0.5)
    nn.init.constant_(model.weight, 5.0)
    torch.testing.assert_close(average.module.weight, torch.tensor([0.0]))
    assert not average.module.weight.requires_grad
    assert not average.module.training
    assert model.training


def test_the_warm_up_goes_by_the_steps_of_the_run(build_trainer):
    trainer = build_trainer(["training.ema.enabled=true", "training.ema.decay=0.5"])
    state = trainer.state
    name = "roi_heads.box_predictor.cls_score.bias"
    mean, value = (m.get_parameter(name) for m in (state.average.module, state.model))
    mean.fill_(0.0)
    nn.init.constant_(value, 1.0)
    state.progress.step = 2  # the third step; decay 3/12
    state.update_average()
    torch.testing.assert_close(mean, torch.full_like(mean, 0.75))


class Names(TorchDispatchMode):
    """Notes the operators that are called."""

    def __init__(self):
        super().__init__()
        self.called = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.called.append((func._schema.name, args))
        return func(*args, **(kwargs or {}))


def test_nothing_is_read_but_the_count_on_the_cpu(model):
    """A read of a tensor on a GPU would wait for the step to end."""
    average = build_average(model, decay=0.999)
    with Names() as names:
        follow(average, model, step=0)
    read = [args[0] for name, args in names.called if name == "aten::_local_scalar_dense"]
    assert all(tensor.dtype in (torch.int64, torch.bool) and tensor.ndim == 0 for tensor in read)
    assert average.n_averaged.device == torch.device("cpu")
    called = [name.removeprefix("aten::_foreach_") for name, _ in names.called if "foreach" in name]
    assert sorted(called) == ["add_", "copy_", "mul_", "sub"]  # however many tensors there are


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_depthwise_layers_go_back_faster_in_bfloat16(build_trainer, precision):
    model = build_trainer([f"training.precision={precision}"]).state.model
    changed = [name for name, module in model.named_modules() if "_conv_forward" in vars(module)]
    strided = [
        name for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and module.groups > 1 and module.stride[0] > 1
    ]  # fmt: skip
    assert changed == (strided if precision == "bf16" else [])
    assert strided


def test_the_second_stage_alone_learns_on_the_proposals_of_detection(build_trainer):
    trainer = build_trainer(["training.trained=second_stage", "training.roi.score_target=iou"])
    model = trainer.state.model
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    assert model.losses.rpn is None
    assert model.losses.proposals == model.decoder.limits
    assert trainer.run() == 0
    after = model.network.state_dict()
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    layers = ("box_head.fc6", "box_head.fc7", "box_predictor.cls_score", "box_predictor.bbox_pred")
    names = {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    assert changed == {f"roi_heads.{name}" for name in names}


def test_a_step_of_the_second_stage_has_no_losses_of_the_first(build_trainer, rows):
    trainer = build_trainer(["training.trained=second_stage", "training.log_steps=1"])
    trainer.run()
    steps = [row for row in rows(trainer.folder) if row["loss"]]
    assert steps
    for row in steps:
        assert float(row["loss_objectness"]) == float(row["loss_rpn_box_reg"]) == 0
        assert float(row["loss_classifier"]) > 0
