"""A run whose body learns from another detector's."""

import pytest
import torch

from head_detection.config import parse_config
from head_detection.errors import ConfigError
from head_detection.models.faster_rcnn import build_detector
from head_detection.models.weights import WeightsDescription, save_weights
from head_detection.training.inputs import build_model


@pytest.fixture
def teacher(values, tmp_path):
    """Weights of an untrained network like the experiment's, from another seed."""
    config = parse_config(values, [])
    torch.manual_seed(5)
    path = tmp_path / "teacher.safetensors"
    model = build_detector(config.network, config.inference)
    save_weights(path, model.network, WeightsDescription(network=config.network))
    return path


def build(values, *overrides):
    return build_model(parse_config(values, overrides), loads_weights=True)


def test_the_body_comes_nearer_to_the_teachers(values, teacher, build_trainer, rows):
    taught = [f"training.teacher={teacher}", "training.teacher_weight=2"]
    trainer = build_trainer(["training.epochs=4", "training.optimizer.name=adamw", *taught])
    model = build(values, *taught)
    assert model.losses.teacher.weight == 2
    trainer.state.model.losses = model.losses
    assert trainer.run() == 0
    losses = [float(row["loss_distillation"]) for row in rows(trainer.folder) if row["loss"]]
    assert len(losses) == 20
    assert sum(losses[-5:]) < sum(losses[:5])
    assert losses[-1] > 0


def test_without_one_no_run_speaks_of_it(build_trainer, rows, capsys):
    trainer = build_trainer(["training.epochs=1", "data.validation=[]"])
    assert trainer.run() == 0
    written = rows(trainer.folder)
    assert float(written[0]["loss_classifier"]) > 0
    assert {row["loss_distillation"] for row in written} == {""}
    shown = capsys.readouterr().err
    assert "classifier 0." in shown
    assert "distillation" not in shown


def test_a_file_that_cannot_be_one_is_a_line_that_names_the_key(values, tmp_path):
    with pytest.raises(
        ConfigError, match=r"^training\.teacher: gone\.safetensors: expected a weig"
    ):
        build(values, "training.teacher=gone.safetensors")
    export = tmp_path / "fast-int8.xml"
    export.write_text("<net/>" * 10)
    with pytest.raises(ConfigError, match=r"xml: expected .*got an export: give what it was made"):
        build(values, f"training.teacher={export}")


def test_it_is_neither_trained_nor_saved(values, teacher):
    alone = build(values)
    model = build(values, f"training.teacher={teacher}")
    assert model.state_dict().keys() == alone.state_dict().keys()
    assert len(list(model.parameters())) == len(list(alone.parameters()))
    assert alone.losses.teacher is None
    images = [torch.rand(3, 64, 64)]
    targets = [{"boxes": torch.tensor([[5.0, 5, 30, 30]])}]
    assert "loss_distillation" not in alone(images, targets)
    losses = model(images, targets)
    assert losses["loss_distillation"].item() > 0
    sum(losses.values()).backward()
    assert all(p.grad is None for p in model.losses.teacher.backbone.parameters())


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["network.mean=[0.1, 0.2, 0.3]"], "training.teacher: expected a network.mean and std"),
        (
            ["network.backbone.strides=[8, 32]"],
            "training.teacher: expected a body with the channels",
        ),
        (["training.trained=second_stage"], "training.teacher: expected none with trained=second"),
    ],
)
def test_one_that_does_not_fit_is_one_clear_line(values, teacher, overrides, line):
    with pytest.raises(ConfigError, match=line) as error:
        build(values, f"training.teacher={teacher}", *overrides)
    assert "\n" not in str(error.value)
