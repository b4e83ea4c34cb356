import json
import shutil
import signal

import pytest
import torch
from safetensors.torch import load_file

from head_detection.errors import CheckpointError, ConfigError, PictureError, TrainingError
from head_detection.models.faster_rcnn import load_detector
from head_detection.training import model_selection
from head_detection.training import trainer as trainer_module
from head_detection.training.checkpoint import load_checkpoint
from head_detection.training.state import load_state
from head_detection.training.trainer import StopRequest

NO_VALIDATION = "data.validation=[]"
ADAMW = ["training.optimizer.name=adamw", "training.ema.enabled=true", "training.accumulation=2"]


def test_what_a_run_leaves(build_trainer, tmp_path, rows):
    trainer = build_trainer(["training.ema.enabled=true"])
    assert trainer.run() == 0
    folder = tmp_path / "run"
    names = {entry.name for entry in folder.iterdir()} - {"tensorboard"}
    assert names == {"log.csv", "curves.png", "last.safetensors", "best.safetensors"}

    model, description = load_detector(folder / "best.safetensors")
    assert description.training["commit"] == "abc"
    assert description.training["config"]["name"] == "tiny"
    metrics = description.metrics["validation"]
    assert description.inference.score_threshold == metrics["best_threshold"]
    best = max(float(row["ap50"]) for row in rows(folder) if row["ap50"])
    assert metrics["ap50"] == pytest.approx(best, rel=1e-5)
    if description.training["epoch"] == 2:
        expected = trainer.state.average.module.state_dict()
        torch.testing.assert_close(dict(model.state_dict()), dict(expected), rtol=0, atol=0)


def test_the_kept_weights_are_the_mean(build_trainer, tmp_path):
    trainer = build_trainer(["training.ema.enabled=true", "training.epochs=1"])
    trainer.run()
    kept = load_file(tmp_path / "run" / "best.safetensors")
    average = trainer.state.average.module.network.state_dict()
    torch.testing.assert_close(kept, dict(average), rtol=0, atol=0)
    name = "roi_heads.box_predictor.cls_score.weight"
    assert (kept[name] - trainer.state.model.network.state_dict()[name]).abs().max() > 0


def test_the_best_weights_stay_the_best(build_trainer, tmp_path, monkeypatch):
    values = iter([0.5, 0.7, 0.6])

    def validate(*_arguments):
        return {"ap50": next(values), "best_threshold": 0.25}

    monkeypatch.setattr(trainer_module, "validate", validate)
    trainer = build_trainer(["training.epochs=3"])
    trainer.run()
    assert trainer.state.progress.best == 0.7
    _, description = load_detector(tmp_path / "run" / "best.safetensors")
    assert description.metrics["validation"]["ap50"] == 0.7
    assert description.training["epoch"] == 2
    assert description.inference.score_threshold == 0.25


def test_validation_each_so_many_epochs_and_at_the_end(build_trainer, tmp_path, monkeypatch, rows):
    monkeypatch.setattr(trainer_module, "validate", lambda *_: {"ap50": 0.5, "best_threshold": 0.5})
    build_trainer(["training.epochs=3", "training.validate_every=2"]).run()
    assert [row["epoch"] for row in rows(tmp_path / "run") if row["ap50"]] == ["2", "3"]


def test_a_fine_tuning_has_a_row_of_its_start_and_keeps_it_where_nothing_is_better(
    build_trainer, tmp_path, monkeypatch, rows
):
    values = iter([0.6, 0.5, 0.55])
    monkeypatch.setattr(
        trainer_module, "validate", lambda *_: {"ap50": next(values), "best_threshold": 0.25}
    )
    trainer = build_trainer(["training.initial_weights=some.safetensors"], threshold=0.4)
    trainer.run()
    validated = [row for row in rows(tmp_path / "run") if row["ap50"]]
    assert [(row["step"], row["epoch"]) for row in validated] == [
        ("0", "0"),
        ("5", "1"),
        ("10", "2"),
    ]
    assert trainer.state.progress.best_step == 0
    _, description = load_detector(tmp_path / "run" / "best.safetensors")
    assert (description.training["epoch"], description.training["step"]) == (0, 0)


@pytest.mark.parametrize(("fewest_heads", "threshold"), [(1, 0.25), (10**6, 0.4)])
def test_few_heads_do_not_move_the_threshold(
    build_trainer, tmp_path, monkeypatch, fewest_heads, threshold
):
    monkeypatch.setattr(model_selection, "FEWEST_HEADS", fewest_heads)
    monkeypatch.setattr(
        trainer_module, "validate", lambda *_: {"ap50": 0.5, "best_threshold": 0.25}
    )
    build_trainer(["training.epochs=1"], threshold=0.4).run()
    _, description = load_detector(tmp_path / "run" / "best.safetensors")
    assert description.inference.score_threshold == threshold


def test_the_best_may_be_of_the_counting_error(build_trainer, monkeypatch):
    errors = iter([3.0, 1.0, 2.0])
    monkeypatch.setattr(
        trainer_module,
        "validate",
        lambda *_: {"ap50": 0.5, "count_mae": next(errors), "best_threshold": 0.5},
    )
    trainer = build_trainer(["training.epochs=3", "training.best_metric=count_mae"])
    trainer.run()
    assert (trainer.state.progress.best, trainer.state.progress.best_step) == (1.0, 10)


def test_a_run_ends_when_it_is_out_of_patience_and_may_go_on(
    build_trainer, tmp_path, monkeypatch, capsys
):
    values = iter([0.5, 0.4, 0.5, 0.9])
    monkeypatch.setattr(
        trainer_module, "validate", lambda *_: {"ap50": next(values), "best_threshold": 0.5}
    )
    overrides = ["training.epochs=4", "training.patience=2"]
    trainer = build_trainer(overrides)
    assert trainer.run() == 0
    assert trainer.state.progress.finished_epochs == 3
    assert "2 validations in a row gave no better ap50" in capsys.readouterr().err
    checkpoint = load_checkpoint(tmp_path / "run" / "last.safetensors")
    patient = build_trainer([*overrides, "training.patience=0"], checkpoint=checkpoint)
    assert patient.run() == 0
    assert (patient.state.progress.finished_epochs, patient.state.progress.best) == (4, 0.9)


def test_the_best_of_other_pictures_is_not_the_best(build_trainer, tmp_path, labels, monkeypatch):
    values = iter([0.9, 0.5, 0.4])
    monkeypatch.setattr(
        trainer_module, "validate", lambda *_: {"ap50": next(values), "best_threshold": 0.5}
    )
    build_trainer(["training.epochs=1"]).run()
    checkpoint = load_checkpoint(tmp_path / "run" / "last.safetensors")
    same = build_trainer(["training.epochs=2"], checkpoint=checkpoint)
    assert same.state.progress.best == 0.9
    content = json.loads(labels.read_text())
    content["images"] = content["images"][:1]
    content["annotations"] = [
        a for a in content["annotations"] if a["image_id"] == content["images"][0]["id"]
    ]
    others = labels.with_name("others.json")
    others.write_text(json.dumps(content))
    entry = {"path": str(others), "images": str(labels.parent / "images")}
    override = f"data.validation={json.dumps([entry])}"
    trainer = build_trainer(["training.epochs=3", override], checkpoint=checkpoint)
    assert trainer.run() == 0
    assert (trainer.state.progress.best, trainer.state.progress.worse_in_a_row) == (0.5, 1)
    _, description = load_detector(tmp_path / "run" / "best.safetensors")
    assert (description.metrics["validation"]["ap50"], description.training["epoch"]) == (0.5, 2)


def test_weights_of_epochs_are_kept_where_asked_for(build_trainer, tmp_path):
    build_trainer([NO_VALIDATION, "training.epochs=3", "training.keep_every=2"]).run()
    kept = sorted(path.name for path in (tmp_path / "run").glob("epoch-*"))
    assert kept == ["epoch-0002.safetensors"]
    _, description = load_detector(tmp_path / "run" / kept[0])
    assert description.training["epoch"] == 2


def test_the_state_of_a_run_becomes_the_weights_that_it_keeps(build_trainer, tmp_path):
    trainer = build_trainer([NO_VALIDATION, "training.epochs=1", "training.ema.enabled=true"])
    trainer.run()
    model, description = load_state(tmp_path / "run" / "last.safetensors")
    torch.testing.assert_close(model.state_dict(), trainer.state.kept_model.state_dict())
    assert (description.training["epoch"], description.training["step"]) == (1, 5)


def test_without_validation_the_last_weights_are_kept(build_trainer, tmp_path):
    build_trainer([NO_VALIDATION, "training.epochs=1"]).run()
    _, description = load_detector(tmp_path / "run" / "best.safetensors")
    assert description.inference.score_threshold == 0.5
    assert description.metrics == {}


def test_the_rates_of_the_log_are_the_schedule_by_hand(build_trainer, values, tmp_path, rows):
    values["training"]["schedule"] = {
        "name": "step", "milestones": [1], "warmup_steps": 2, "warmup_factor": 0.5,
    }  # fmt: skip
    build_trainer([NO_VALIDATION]).run()
    rates = [float(row["learning_rate"]) for row in rows(tmp_path / "run")]
    assert rates == pytest.approx([0.005, *[0.01] * 4, *[0.001] * 5])


def spoil(trainer, steps):
    """Give these steps a loss that is not a number."""
    losses = trainer.step._losses

    def spoiled(samples):
        factor = float("nan") if trainer.state.progress.step in steps else 1.0
        return {name: loss * factor for name, loss in losses(samples).items()}

    trainer.step._losses = spoiled


def test_a_bad_step_is_skipped_counted_and_named(build_trainer, tmp_path, capsys, rows):
    trainer = build_trainer([NO_VALIDATION, "training.epochs=1"])
    spoil(trainer, {2})
    before = {}
    take = trainer.step.run

    def run(samples, step, **options):
        if step == 2:
            before.update({n: t.clone() for n, t in trainer.state.model.state_dict().items()})
        outcome = take(samples, step, **options)
        if step == 2:
            after = dict(trainer.state.model.state_dict())
            torch.testing.assert_close(after, before, rtol=0, atol=0)
        return outcome

    trainer.step.run = run
    assert trainer.run() == 0
    assert before
    assert trainer.state.progress.bad_steps == 1
    assert trainer.state.progress.bad_steps_in_a_row == 0
    line = next(line for line in capsys.readouterr().err.splitlines() if "skipped" in line)
    assert line.startswith("step 3 skipped: not finite (loss_classifier nan")
    for name in trainer.data.batches.file_names(0, 2):
        assert name in line
    assert [row["bad_steps"] for row in rows(tmp_path / "run")] == ["0", "0", "1", "1", "1"]
    assert rows(tmp_path / "run")[2]["loss"] == ""


def test_many_bad_steps_in_a_row_stop_the_run(build_trainer, tmp_path):
    trainer = build_trainer(["training.max_bad_steps=3"])
    spoil(trainer, {0, 2, 3, 4, 5})
    with pytest.raises(TrainingError, match="3 steps in a row were not finite") as caught:
        trainer.run()
    assert trainer.state.progress.step == 5
    for name in trainer.data.batches.file_names(0, 4):
        assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert load_checkpoint(tmp_path / "run" / "last.safetensors").progress.step == 5


def test_pictures_without_heads_train_and_validate(build_trainer, values, labels, tmp_path, rows):
    """HeadHunter gave them a false box in training and crashed in evaluation (its fault 8)."""
    content = json.loads(labels.read_text()) | {"annotations": []}
    empty = labels.with_name("no_heads.json")
    empty.write_text(json.dumps(content))
    for part in ("train", "validation"):
        values["data"][part] = [{"path": str(empty), "images": str(labels.parent / "images")}]
    trainer = build_trainer(["training.epochs=1"])
    assert trainer.run() == 0
    assert trainer.state.progress.bad_steps == 0
    training = [row for row in rows(tmp_path / "run") if row["loss"]]
    assert all(float(row["loss_box_reg"]) == 0 for row in training)
    assert all(float(row["loss_classifier"]) > 0 for row in training)
    _, description = load_detector(tmp_path / "run" / "best.safetensors")
    assert "ap50" not in description.metrics["validation"]


def test_frozen_parts_do_not_move(build_trainer):
    trainer = build_trainer([
        NO_VALIDATION, "training.epochs=1", "training.frozen_stages=1",
        "training.frozen_batch_norm=true",
    ])  # fmt: skip
    body = trainer.state.model.backbone.body
    before = {name: tensor.clone() for name, tensor in body.state_dict().items()}
    is_frozen = {name: not p.requires_grad for name, p in body.named_parameters()}
    assert 0 < sum(is_frozen.values()) < len(is_frozen)
    trainer.run()
    after = body.state_dict()
    for name, tensor in before.items():
        if is_frozen.get(name, "running_" in name):
            torch.testing.assert_close(after[name], tensor, rtol=0, atol=0)
    assert any(
        not torch.equal(after[n], before[n]) for n, frozen in is_frozen.items() if not frozen
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("channels_last", ["true", "false"])
def test_precisions_and_layouts_train(build_trainer, precision, channels_last):
    overrides = [NO_VALIDATION, "training.epochs=1", f"training.precision={precision}",
                 f"training.channels_last={channels_last}"]  # fmt: skip
    trainer = build_trainer(overrides)
    assert trainer.run() == 0
    assert trainer.state.progress.bad_steps == 0
    weight = trainer.state.model.backbone.body.state_dict()
    assert all(tensor.dtype != torch.bfloat16 for tensor in weight.values())


def test_a_picture_that_vanishes_saves_the_run(build_trainer, values, labels, tmp_path):
    folder = tmp_path / "pictures"
    shutil.copytree(labels.parent, folder)
    values["data"]["train"] = [{"path": str(folder / labels.name)}]
    trainer = build_trainer()
    take = trainer.step.run

    def run(samples, step, **options):
        if step == 0:
            folder.rename(tmp_path / "elsewhere")  # all of it at once
        return take(samples, step, **options)

    trainer.step.run = run
    with pytest.raises(PictureError, match="no such file"):
        trainer.run()
    checkpoint = load_checkpoint(tmp_path / "run" / "last.safetensors")
    assert checkpoint.progress.step == trainer.state.progress.step >= 1


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("training.frozen_stages=9", r"training\.frozen_stages: expected at most \d"),
        ("training.precision=fp16", "fp16 needs a CUDA device"),
    ],
)
def test_impossible_settings_are_one_line(build_trainer, override, line):
    with pytest.raises(ConfigError, match=line):
        build_trainer([override])


@pytest.mark.parametrize("is_asked_to_stop", [True, False])
def test_a_signal_that_ends_the_loader_too_is_a_stop(build_trainer, tmp_path, is_asked_to_stop):
    """``timeout`` and Slurm send theirs to every process of a job."""
    trainer = build_trainer([NO_VALIDATION])
    batches = trainer.data.batches.batches

    def broken(epoch, first):
        yield next(batches(epoch, first))
        if is_asked_to_stop:
            signal.raise_signal(signal.SIGTERM)
        raise TrainingError("a loader process ended")

    trainer.data.batches.batches = broken
    if is_asked_to_stop:
        assert trainer.run() == signal.SIGTERM
    else:
        with pytest.raises(TrainingError, match="a loader process ended"):
            trainer.run()
    checkpoint = load_checkpoint(tmp_path / "run" / "last.safetensors")
    assert checkpoint.progress.step == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_remembered(number):
    request = StopRequest()
    assert request.number is None
    with request.listening():
        signal.raise_signal(number)
    assert request.number == number


def test_a_second_interrupt_interrupts():
    request = StopRequest()
    with request.listening():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_the_old_handlers_come_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopRequest().listening():
        signal.raise_signal(signal.SIGTERM)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def what_repeats(log):
    """The log without what depends on the clock."""
    return [{k: v for k, v in row.items() if k not in ("time", "pictures_per_second", "data_share")}
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
    genuine = trainer_module.validate

    def validate(*arguments):
        stopped.request.number = signal.SIGINT
        return genuine(*arguments)

    monkeypatch.setattr(trainer_module, "validate", validate)
    assert stopped.run() == signal.SIGINT
    assert not (parts / "best.safetensors").exists()
    monkeypatch.setattr(trainer_module, "validate", genuine)
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


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_a_lost_terminal_asks_to_stop_unless_it_was_to_be_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        request = StopRequest()
        with request.listening():
            for _ in range(2):  # from the system and from the shell
                signal.raise_signal(signal.SIGHUP)
        assert request.number == signal.SIGHUP
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup has it
        request = StopRequest()
        with request.listening():
            signal.raise_signal(signal.SIGHUP)
        assert request.number is None
    finally:
        signal.signal(signal.SIGHUP, before)
