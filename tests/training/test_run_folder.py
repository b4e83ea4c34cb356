from pathlib import Path

import pytest
import torch

from head_detection.config import load_config, parse_config
from head_detection.errors import CheckpointError, ConfigError, RunFolderError
from head_detection.training.checkpoint import Progress, save_checkpoint
from head_detection.training.run_folder import (
    BEST,
    CHECKPOINT,
    CONFIG,
    PROBLEMS,
    begin_run,
    check_unused,
    code_commit,
    load_run,
    new_run,
    write_problems,
)


@pytest.fixture
def run(tmp_path):
    config = parse_config({"data": {"train": [{"path": "a.json"}]}})
    folder = tmp_path / "run"
    begin_run(folder, config)
    tensors = {"model": {"a": torch.zeros(1)}}
    save_checkpoint(folder / CHECKPOINT, tensors, Progress(steps_per_epoch=5, step=3), config)
    return folder


def test_the_full_config_is_written(run):
    text = (run / CONFIG).read_text()
    assert "warmup_steps: 500" in text  # a default
    assert load_config(run / CONFIG).data.train[0].path == "a.json"


def test_a_run_is_not_written_over(run):
    with pytest.raises(RunFolderError, match="holds files; go on with its run, or choose"):
        check_unused(run)


def test_new_empty_and_failed_folders_are_free(tmp_path):
    check_unused(tmp_path / "new")
    check_unused(tmp_path)
    (tmp_path / PROBLEMS).touch()
    check_unused(tmp_path)
    begin_run(tmp_path, parse_config({}))
    assert not (tmp_path / PROBLEMS).exists()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(RunFolderError, match="this is a file"):
        check_unused(tmp_path / "run")


def test_a_folder_whose_checkpoints_could_not_be_read_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match=r"expected a folder .* name in Unicode"):
        check_unused(tmp_path / "caf\udce9")
    with pytest.raises(CheckpointError, match="expected the folder of a run"):
        load_run(tmp_path / "caf\udce9", None, [])


def test_a_new_run_has_a_folder_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = parse_config({"name": "one", "training": {"epochs": 3}})
    run = new_run(config)
    assert run.folder == Path("runs/train/one")
    assert not run.folder.exists()
    assert (run.config.training.epochs, run.checkpoint, run.changes) == (3, None, ())
    assert new_run(config, Path("elsewhere")).folder == Path("elsewhere")
    run.folder.mkdir(parents=True)
    (run.folder / "log.csv").touch()
    with pytest.raises(RunFolderError, match="holds files"):
        new_run(config)


def test_problems_are_lines_of_a_file(tmp_path):
    path = write_problems(tmp_path / "run", ["one: broken", "two: gone"])
    assert path == tmp_path / "run" / PROBLEMS
    assert path.read_text() == "one: broken\ntwo: gone\n"


def test_a_run_goes_on_with_its_own_config(run):
    resumed = load_run(run, None, [])
    assert resumed.folder == run
    assert resumed.config == load_config(run / CONFIG)
    assert resumed.checkpoint.progress.step == 3
    assert resumed.changes == ()


def test_epochs_and_paths_may_change_and_are_named(run):
    overrides = ["training.epochs=40", "data.train=[{path: b.json}]", "training.teacher=moved"]
    resumed = load_run(run, None, overrides)
    assert resumed.config.training.epochs == 40
    assert resumed.changes == (
        "data.train.0.path was a.json, is b.json",
        "training.teacher was None, is moved",
        "training.epochs was 30, is 40",
    )


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("network.upscale=true", "network.upscale was False, is True"),
        ("network.anchors.ratios=[1.0]", "network.anchors.ratios was None, is [1.0]"),
        ("training.optimizer.name=adamw", "training.optimizer.name was sgd, is adamw"),
        ("training.batch_size=4", "training.batch_size was 2, is 4"),
        ("training.schedule.name=cosine", "training.schedule.name was step, is cosine"),
        ("training.ema.enabled=true", "training.ema.enabled was False, is True"),
        ("data.train=[{path: a.json, weight: 2.0}]", "data.train.0.weight was 1.0, is 2.0"),
        ("data.train=[]", "data.train was [{"),
    ],
)
def test_what_the_state_depends_on_may_not_change(run, override, line):
    with pytest.raises(ConfigError) as caught:
        load_run(run, None, [override])
    assert line in str(caught.value)
    assert "set these back, or start a new run" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_config_file_is_compared_too(run, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text("network: {upscale: true}\ndata: {train: [{path: a.json}]}")
    with pytest.raises(ConfigError, match=r"network\.upscale was False"):
        load_run(run, other, [])


def test_no_run_there(tmp_path):
    with pytest.raises(CheckpointError, match="expected the folder of a run; there is none"):
        load_run(tmp_path / "none", None, [])
    with pytest.raises(CheckpointError, match=r"last\.safetensors: expected a training checkpoint"):
        load_run(tmp_path, None, [])


def test_a_run_that_was_killed_before_its_first_checkpoint_begins(tmp_path):
    config = load_config(_write(tmp_path / "a.yaml"), [])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".config.yaml.0123456789abcdef.part").touch()
    check_unused(tmp_path / "run")
    begin_run(tmp_path / "run", config)
    begun = load_run(tmp_path / "run", None, [])
    assert (begun.config, begun.checkpoint) == (config, None)
    (tmp_path / "run" / BEST).touch()  # what has weights has lost its checkpoint
    with pytest.raises(CheckpointError, match=r"last\.safetensors: expected a training checkpoint"):
        load_run(tmp_path / "run", None, [])


def _write(path):
    path.write_text("data: {train: [{path: a.json}]}")
    return path


def test_the_commit_is_a_hash_or_none(monkeypatch):
    commit = code_commit()
    assert commit is None or len(commit.removesuffix("-dirty")) == 40
    monkeypatch.setenv("PATH", "")
    assert code_commit() is None
