"""A run that goes on where it stopped."""

import signal

import pytest
import torch
from safetensors.torch import load_file

from head_detection.errors import CheckpointError
from head_detection.training import trainer as trainer_module
from head_detection.training.checkpoint import load_checkpoint

ADAMW = ["training.optimizer.name=adamw", "training.ema.enabled=true", "training.accumulation=2"]
NO_VALIDATION = "data.validation=[]"


def what_repeats(log):
    """The log without what depends on the clock."""
    return [{k: v for k, v in row.items() if k not in ("pictures_per_second", "data_share")}
            for row in log]  # fmt: skip


def stop_after(trainer, num_steps):
    """Let a signal arrive within the step."""
    take = trainer.step.run

    def run(samples, step, *, wants_stop):
        if step == num_steps - 1:
            trainer.request.number = signal.SIGTERM
        return take(samples, step, wants_stop=trainer.request.number is not None)

    trainer.step.run = run


def assert_same_state(first, second):
    torch.testing.assert_close(
        load_file(first / "last.safetensors"),
        load_file(second / "last.safetensors"),
        rtol=0,
        atol=0,
    )


@pytest.mark.parametrize(("num_steps", "overrides"), [(5, []), (3, ADAMW), (7, [])])
def test_ten_steps_are_five_and_a_stop_and_five(
    build_trainer, tmp_path, num_steps, overrides, rows
):
    """HeadHunter's resume restored neither optimizer, schedule nor epoch (its fault 3)."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert build_trainer(overrides, whole).run() == 0

    stopped = build_trainer(overrides, parts)
    stop_after(stopped, num_steps)
    assert stopped.run() == signal.SIGTERM
    checkpoint = load_checkpoint(parts / "last.safetensors")
    assert checkpoint.progress.step == num_steps
    # Another seed would show whatever is not restored.
    torch.manual_seed(99)
    resumed = build_trainer(overrides, parts, checkpoint)
    assert resumed.run() == 0
    assert_same_state(whole, parts)
    assert what_repeats(rows(whole)) == what_repeats(rows(parts))
    assert [row["step"] for row in rows(parts) if row["loss"]] == [str(n) for n in range(1, 11)]


def test_a_crash_repeats_the_steps_since_the_checkpoint(build_trainer, tmp_path, monkeypatch, rows):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    build_trainer([], whole).run()

    crashed = build_trainer([], parts)
    take = crashed.step.run

    def run(samples, step, *, wants_stop):
        if step == 2:
            crashed._save()
        if step == 4:
            raise RuntimeError("power cut")
        return take(samples, step, wants_stop=wants_stop)

    crashed.step.run = run
    with pytest.raises(RuntimeError, match="power cut"):
        crashed.run()
    assert rows(parts)[-1]["step"] == "4"
    checkpoint = load_checkpoint(parts / "last.safetensors")
    assert checkpoint.progress.step == 2
    build_trainer([], parts, checkpoint).run()
    assert_same_state(whole, parts)
    assert what_repeats(rows(whole)) == what_repeats(rows(parts))


def test_a_stop_within_validation_validates_again(build_trainer, tmp_path, monkeypatch, rows):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    build_trainer(["training.epochs=1"], whole).run()

    stopped = build_trainer(["training.epochs=1"], parts)
    judge = trainer_module.validate

    def validate(*arguments):
        stopped.request.number = signal.SIGINT
        return judge(*arguments)

    monkeypatch.setattr(trainer_module, "validate", validate)
    assert stopped.run() == signal.SIGINT
    assert not (parts / "best.safetensors").exists()
    monkeypatch.setattr(trainer_module, "validate", judge)
    checkpoint = load_checkpoint(parts / "last.safetensors")
    assert (checkpoint.progress.step, checkpoint.progress.finished_epochs) == (5, 0)
    build_trainer(["training.epochs=1"], parts, checkpoint).run()
    assert_same_state(whole, parts)
    assert what_repeats(rows(whole)) == what_repeats(rows(parts))


def test_a_checkpoint_of_other_data_is_refused(build_trainer, tmp_path, values):
    build_trainer([NO_VALIDATION, "training.epochs=1"]).run()
    checkpoint = load_checkpoint(tmp_path / "run" / "last.safetensors")
    with pytest.raises(CheckpointError, match=r"gave 5 steps an epoch, .* give 3;"):
        build_trainer(["training.batch_size=4"], checkpoint=checkpoint)


def test_more_epochs_go_on_from_the_end(build_trainer, tmp_path):
    build_trainer([NO_VALIDATION, "training.epochs=1"]).run()
    checkpoint = load_checkpoint(tmp_path / "run" / "last.safetensors")
    trainer = build_trainer([NO_VALIDATION, "training.epochs=2"], checkpoint=checkpoint)
    assert trainer.run() == 0
    assert trainer.state.progress.step == 10
