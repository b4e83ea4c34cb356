"""The folder of a run: creating, checking and resuming it."""

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
"""The weights of an epoch, with ``training.keep_every``."""
PROBLEMS = "annotation_problems.txt"
CHANGEABLE = (
    "name",
    "data.workers",
    "data.validation",
    "data.allow_overlap",
    "training.teacher",
    "training.epochs",
    "training.threads",
    "training.validate_every",
    "training.patience",
    "training.keep_every",
    "training.checkpoint_minutes",
    "training.log_steps",
    "training.max_bad_steps",
)
"""Settings that may change when a run is resumed, in addition to the paths of its data."""
DATA_PATHS = ("path", "images")


def check_unused(folder: Path) -> None:
    """Refuse a folder in which a new run would overwrite files.

    A list of problems and temporary files of a killed process do not count.

    Raises:
        RunFolderError: the folder holds something else, is a file, or has a name under which its
            checkpoints could not be read.
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
    """Create the folder of a run and write its full config into it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PROBLEMS).unlink(missing_ok=True)
    write_bytes(folder / CONFIG, dump_config(config).encode())


def write_problems(folder: Path, problems: Iterable[str]) -> Path:
    """Write the problems of the data into the folder, one line each, and return the file."""
    path = folder / PROBLEMS
    write_bytes(path, "".join(f"{line}\n" for line in problems).encode())
    return path


class Run(NamedTuple):
    """A run to start or to resume.

    Attributes:
        folder: folder of the run.
        config: its experiment.
        checkpoint: checkpoint to resume from; None starts the run.
        changes: one line for each setting that differs from the run so far.
    """

    folder: Path
    config: ExperimentConfig
    checkpoint: Checkpoint | None = None
    changes: tuple[str, ...] = ()


def new_run(config: ExperimentConfig, folder: Path | None = None) -> Run:
    """Return a new run of an experiment; its folder is by default ``runs/train/<name>``.

    Raises:
        RunFolderError: the folder is in use.
    """
    folder = folder or Path("runs", "train", config.name)
    check_unused(folder)
    return Run(folder, config)


def load_run(folder: Path, config_path: Path | None, overrides: Sequence[str]) -> Run:
    """Read the state of a run and the config to resume it with.

    A run that was killed before its first checkpoint starts again.

    Args:
        folder: folder of the run.
        config_path: experiment file; None takes the run's own.
        overrides: applied to the config.

    Raises:
        CheckpointError: no complete checkpoint there.
        ConfigError: a setting that the state depends on has changed.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: expected the folder of a run; there is none")
    if (folder / CONFIG).is_file() and not _has_begun(folder):
        config = load_config(config_path or folder / CONFIG, overrides)
        return Run(folder, config, changes=("nothing: no checkpoint is there, the run begins",))
    checkpoint = load_checkpoint(folder / CHECKPOINT)
    config = load_config(config_path or folder / CONFIG, overrides)
    saved = parse_config(checkpoint.config, source=str(checkpoint.path))
    changes = differences(saved.model_dump(mode="json"), config.model_dump(mode="json"))
    fixed = [line for key, line in changes if not _may_change(key)]
    if fixed:
        raise ConfigError(
            f"{folder}: the state was made with another config: {'; '.join(fixed)};"
            " set these back, or start a new run"
        )
    return Run(folder, config, checkpoint, tuple(line for _, line in changes))


def code_commit() -> str | None:
    """Return the git commit of the code, or None if it does not run from a checkout."""
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


def differences(old: Any, new: Any, key: str = "") -> list[tuple[str, str]]:
    """Return the dotted keys in which two nested values differ, each with a text that says how.

    Example:
        >>> differences({"a": 1, "b": [1, 2]}, {"a": 1, "b": [1, 3]})
        [('b.1', 'b.1 was 2, is 3')]
    """
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        old, new = dict(enumerate(old)), dict(enumerate(new))
    if isinstance(old, dict) and isinstance(new, dict):
        names = [*old, *(name for name in new if name not in old)]
        return [
            difference
            for name in names
            for difference in differences(
                old.get(name), new.get(name), f"{key}.{name}" if key else str(name)
            )
        ]
    return [] if old == new else [(key, f"{key} was {old}, is {new}")]
