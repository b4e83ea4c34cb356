import signal
import subprocess
import sys
import textwrap

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from head_detection import files
from head_detection.config import ExperimentConfig
from head_detection.errors import CheckpointError
from head_detection.training.checkpoint import (
    Progress,
    load_checkpoint,
    optimizer_tensors,
    restore_model,
    restore_optimizer,
    save_checkpoint,
)

CONFIG = ExperimentConfig(name="one")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)).to(
        memory_format=torch.channels_last
    )


def stepped(model, kind):
    optimizer = kind(model.parameters(), lr=0.1)
    model(torch.ones(2, 2, 4, 4)).square().sum().backward()
    optimizer.step()
    return optimizer


def save(path, model, optimizer=None, step=1):
    parts = {"model": model.state_dict()}
    if optimizer is not None:
        parts["optimizer"] = optimizer_tensors(optimizer, model)
    save_checkpoint(path, parts, Progress(steps_per_epoch=5, step=step), CONFIG)


def sgd(parameters, lr):
    return torch.optim.SGD(parameters, lr=lr, momentum=0.9)


def fused(parameters, lr):
    return torch.optim.AdamW(parameters, lr=lr, fused=True)


@pytest.mark.parametrize("kind", [sgd, torch.optim.AdamW, fused])
def test_round_trip_of_model_and_optimizer(tmp_path, model, kind):
    path = tmp_path / "last.safetensors"
    optimizer = stepped(model, kind)
    save(path, model, optimizer, step=3)
    checkpoint = load_checkpoint(path)
    assert checkpoint.progress == Progress(steps_per_epoch=5, step=3)
    assert checkpoint.config["name"] == "one"

    other = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))
    other_optimizer = kind(other.parameters(), lr=0.1)
    restore_model(other, checkpoint, "model")
    restore_optimizer(other_optimizer, other, checkpoint)
    torch.testing.assert_close(dict(other.state_dict()), dict(model.state_dict()), rtol=0, atol=0)
    expected = optimizer_tensors(optimizer, model)
    assert len(expected) >= 4
    torch.testing.assert_close(optimizer_tensors(other_optimizer, other), expected, rtol=0, atol=0)
    images, slope = torch.rand(2, 2, 4, 4), torch.arange(4.0).view(2, 2)
    for own, its_optimizer in ((model, optimizer), (other, other_optimizer)):
        own.eval().zero_grad()
        (own(images) * slope).square().sum().backward()
        its_optimizer.step()
    torch.testing.assert_close(dict(other.state_dict()), dict(model.state_dict()))


def test_a_kill_in_the_middle_of_a_save_leaves_the_previous_one(tmp_path, model):
    path = tmp_path / "last.safetensors"
    save(path, model, step=1)
    before = path.read_bytes()
    script = f"""
        import pathlib, time
        from head_detection.config import ExperimentConfig
        from head_detection import files
        from head_detection.training import checkpoint

        def never(descriptor):
            print("half", flush=True)
            time.sleep(60)

        files.os.fsync = never
        progress = checkpoint.Progress(steps_per_epoch=5, step=2)
        path = pathlib.Path({str(path)!r})
        checkpoint.save_checkpoint(path, {{}}, progress, ExperimentConfig())
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
    assert len(list(tmp_path.iterdir())) == 2  # the old one, and what was killed
    assert path.read_bytes() == before
    assert load_checkpoint(path).progress.step == 1
    files.clear_leftovers.cache_clear()  # as in the process that goes on with the run
    save(path, model, step=2)
    assert list(tmp_path.iterdir()) == [path]
    assert load_checkpoint(path).progress.step == 2


def test_a_save_that_fails_leaves_nothing_behind(tmp_path, model, monkeypatch):
    path = tmp_path / "last.safetensors"
    save(path, model, step=1)

    def disk_full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("head_detection.training.checkpoint.write_bytes", disk_full)
    line = (
        rf"^{path}: the checkpoint of step 2 could not be written"
        r" \(0 MB, No space left on device\); the one before it is whole: mend that, then go on"
        " with the run$"
    )
    with pytest.raises(CheckpointError, match=line):
        save(path, model, step=2)
    assert list(tmp_path.iterdir()) == [path]
    assert load_checkpoint(path).progress.step == 1


def test_missing(tmp_path):
    with pytest.raises(CheckpointError, match="expected a training checkpoint; there is no such"):
        load_checkpoint(tmp_path / "last.safetensors")


@pytest.mark.parametrize("kept", [0, 4, 60, -1])
def test_truncated(tmp_path, model, kept):
    path = tmp_path / "last.safetensors"
    save(path, model)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "metadata", [None, {}, {"head_detection_training": "{"}, {"head_detection_training": "{}"}]
)
def test_other_safetensors(tmp_path, metadata):
    path = tmp_path / "last.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata=metadata)
    with pytest.raises(CheckpointError, match="no training checkpoint"):
        load_checkpoint(path)


def test_another_format(tmp_path):
    path = tmp_path / "last.safetensors"
    text = '{"format_version": 1, "progress": {"steps_per_epoch": 1}, "config": {}}'
    save_file({"a": torch.zeros(1)}, path, metadata={"head_detection_training": text})
    with pytest.raises(CheckpointError, match=r"version 2, got 1: .* start a new one"):
        load_checkpoint(path)


def test_tensors_that_do_not_fit(tmp_path, model):
    path = tmp_path / "last.safetensors"
    save(path, model, stepped(model, torch.optim.AdamW))
    checkpoint = load_checkpoint(path)
    wider = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4))
    with pytest.raises(CheckpointError, match=r"model does not fit the model; .*size mismatch"):
        restore_model(wider, checkpoint, "model")
    optimizer = torch.optim.AdamW(wider.parameters())
    with pytest.raises(CheckpointError, match=r"optimizer state does not fit at 0\."):
        restore_optimizer(optimizer, wider, checkpoint)
    with pytest.raises(CheckpointError, match="ema does not fit"):
        restore_model(model, checkpoint, "ema")
