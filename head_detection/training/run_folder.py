"""The folder of a run: what it was asked for, and how it goes on."""

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from head_detection.config import ExperimentConfig, dump_config, load_config, parse_config
from head_detection.errors import CheckpointError, ConfigError, RunFolderError
from head_detection.files import is_temporary, is_unicode, write_bytes
from head_detection.training.checkpoint import Checkpoint, load_checkpoint

CONFIG = "config.yaml"
CHECKPOINT = "last.safetensors"
"""The state of the run."""
BEST = "best.safetensors"
"""The weights of the best validation."""
EPOCH = "epoch-{:04}.safetensors"
"""The weights of an epoch, where ``training.keep_every`` asks for them."""
PROBLEMS = "annotation_problems.txt"
CHANGEABLE = (
    "name",
    "data.workers",
    "data.validation",
    "data.allow_overlap",
    "training.epochs",
    "training.threads",
    "training.validate_every",
    "training.patience",
    "training.keep_every",
    "training.checkpoint_minutes",
    "training.log_steps",
    "training.max_bad_steps",
)
"""What may differ in a run that goes on, beside the paths of its data."""
DATA_PATHS = ("path", "images")


def check_unused(folder: Path) -> None:
    """Refuse a folder that a new run would write over.

    A list of problems is no run, nor is what a killed process had not written whole.

    Raises:
        RunFolderError: the folder holds something, is a file, or has a name that its checkpoints
            could not be read by.
    """
    if not is_unicode(folder):
        raise RunFolderError(f"{folder}: expected a folder for the run with a name in Unicode")
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder}: expected a folder for the run; this is a file")
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    if any(name != PROBLEMS and not is_temporary(name) for name in names):
        raise RunFolderError(
            f"{folder}: expected a new or empty run folder, this one holds files;"
            " go on with its run, or choose another folder"
        )


def begin_run(folder: Path, config: ExperimentConfig) -> None:
    """Make the folder of a run and write its full config into it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PROBLEMS).unlink(missing_ok=True)
    write_bytes(folder / CONFIG, dump_config(config).encode())


def write_problems(folder: Path, problems: Iterable[str]) -> Path:
    """Write what is wrong with the data into the folder, a line each; return the file."""
    path = folder / PROBLEMS
    write_bytes(path, "".join(f"{line}\n" for line in problems).encode())
    return path


class Run(NamedTuple):
    """A run to begin or to go on with.

    Attributes:
        folder: of the run.
        config: what it is trained with.
        checkpoint: where it goes on from; None begins it.
        changes: a line for each field that differs from the run so far.
    """

    folder: Path
    config: ExperimentConfig
    checkpoint: Checkpoint | None = None
    changes: tuple[str, ...] = ()


def new_run(config: ExperimentConfig, folder: Path | None = None) -> Run:
    """Return a run of an experiment in a folder; None is ``runs/train/<name>``.

    Raises:
        RunFolderError: the folder is in use.
    """
    folder = folder or Path("runs", "train", config.name)
    check_unused(folder)
    return Run(folder, config)


def load_run(folder: Path, config_path: Path | None, overrides: Sequence[str]) -> Run:
    """Read the state of a run and the config that it goes on with.

    A run that was killed before its first checkpoint begins anew.

    Args:
        folder: of the run.
        config_path: experiment file; None takes the run's own.
        overrides: applied to it.

    Raises:
        CheckpointError: no whole checkpoint there.
        ConfigError: a field differs that the state depends on.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: expected the folder of a run; there is none")
    if (folder / CONFIG).is_file() and not _has_begun(folder):
        config = load_config(config_path or folder / CONFIG, overrides)
        return Run(folder, config, changes=("nothing: no checkpoint is there, the run begins",))
    checkpoint = load_checkpoint(folder / CHECKPOINT)
    config = load_config(config_path or folder / CONFIG, overrides)
    saved = parse_config(checkpoint.config, source=str(checkpoint.path))
    changes = _differences(saved.model_dump(mode="json"), config.model_dump(mode="json"))
    fixed = [line for key, line in changes if not _may_change(key)]
    if fixed:
        raise ConfigError(
            f"{folder}: the state was made with another config: {'; '.join(fixed)};"
            " set these back, or start a new run"
        )
    return Run(folder, config, checkpoint, tuple(line for _, line in changes))


def code_commit() -> str | None:
    """Return the git commit of the code; None where it is not run from a checkout."""
    git = shutil.which("git")
    if git is None:
        return None
    describe = ["describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(  # noqa: S603 - fixed words
            [git, "-C", str(Path(__file__).parent), *describe],
            capture_output=True, text=True, check=True, timeout=20,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _has_begun(folder: Path) -> bool:
    return (folder / CHECKPOINT).exists() or (folder / BEST).exists()


def _may_change(key: str) -> bool:
    is_path = key.startswith("data.train.") and key.rpartition(".")[2] in DATA_PATHS
    return is_path or any(key == name or key.startswith(f"{name}.") for name in CHANGEABLE)


def _differences(old: Any, new: Any, key: str = "") -> list[tuple[str, str]]:
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        old, new = dict(enumerate(old)), dict(enumerate(new))
    if isinstance(old, dict) and isinstance(new, dict):
        names = [*old, *(name for name in new if name not in old)]
        return [
            difference
            for name in names
            for difference in _differences(
                old.get(name), new.get(name), f"{key}.{name}" if key else str(name)
            )
        ]
    return [] if old == new else [(key, f"{key} was {old}, is {new}")]
