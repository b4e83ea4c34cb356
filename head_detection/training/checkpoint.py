"""Checkpoints: the state of a run in one file; an interrupted save leaves the previous one intact.

The file is safetensors with ``model.*``, ``ema.*`` and ``optimizer.<parameter>.<key>``; progress
and configuration are JSON in its header. No state of random generators is needed, because every
step and every picture seeds its own.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from head_detection.errors import CheckpointError
from head_detection.files import is_unicode, write_bytes
from head_detection.models.weights import TRAINING_KEY

FORMAT_VERSION = 2


class Progress(BaseModel):
    """The progress of a run."""

    model_config = ConfigDict(extra="forbid", strict=True)

    steps_per_epoch: PositiveInt
    step: NonNegativeInt = 0
    """Steps done, including skipped ones."""
    finished_epochs: NonNegativeInt = 0
    """Epochs done, including their validation."""
    bad_steps: NonNegativeInt = 0
    """Steps skipped because something was not finite."""
    bad_steps_in_a_row: NonNegativeInt = 0
    best: float | None = None
    """Best value of ``training.best_metric`` so far; null before the first validation."""
    best_of: str | None = None
    """Digest of the labelled pictures that ``best`` was measured on."""
    best_step: NonNegativeInt = 0
    """Steps done when the best weights were validated."""
    worse_in_a_row: NonNegativeInt = 0
    """Validations since the best weights."""
    initial_threshold: float | None = None
    """Operating point of the weights that the run started from; null if there were none."""
    loss_scale: float | None = None
    """Scale of fp16's gradient scaler."""


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint file."""

    path: Path
    tensors: Mapping[str, Tensor]
    progress: Progress
    config: dict[str, Any]


def save_checkpoint(
    path: Path, parts: Mapping[str, Mapping[str, Tensor]], progress: Progress, config: BaseModel
) -> None:
    """Write the state of a run; the previous file stays until the new one is complete.

    Args:
        path: a file in an existing folder.
        parts: tensors by part and name, on any device.
        progress: counters.
        config: the experiment.

    Raises:
        CheckpointError: it cannot be written, for example because the disk is full.
    """
    tensors = {
        f"{part}.{name}": tensor.detach().cpu().contiguous()
        for part, named in parts.items()
        for name, tensor in named.items()
    }
    description = {
        "format_version": FORMAT_VERSION,
        "progress": progress.model_dump(mode="json"),
        "config": config.model_dump(mode="json"),
    }
    # In memory first, because safetensors' own writer leaves a temporary file after a kill.
    content = save(_unshared(tensors), metadata={TRAINING_KEY: json.dumps(description)})
    try:
        write_bytes(path, content)
    except OSError as error:
        there = "the one before it is whole: " if path.exists() else ""
        raise CheckpointError(
            f"{path}: the checkpoint of step {progress.step} could not be written"
            f" ({len(content) / 1e6:.0f} MB, {error.strerror}); {there}mend that, then go on with"
            " the run"
        ) from error


def is_checkpoint(path: Path) -> bool:
    """Tell by its header whether a file is a checkpoint, without reading its tensors."""
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return TRAINING_KEY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def load_checkpoint(path: Path) -> Checkpoint:
    """Read the state of a run.

    Raises:
        CheckpointError: no such file, a truncated one, or one of another format.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: expected a training checkpoint; there is no such file")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            description = json.loads((file.metadata() or {})[TRAINING_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
        if description["format_version"] != FORMAT_VERSION:
            version = description["format_version"]
            raise CheckpointError(
                f"{path}: expected format version {FORMAT_VERSION}, got {version}: the run is"
                " of another version of this package; start a new one"
            )
        progress = Progress.model_validate_json(json.dumps(description["progress"]))
        return Checkpoint(path, tensors, progress, description["config"])
    except (SafetensorError, OSError) as error:
        if not is_unicode(path):
            raise CheckpointError(f"{path}: expected a path in Unicode: rename it") from error
        raise CheckpointError(f"{path}: not a whole safetensors file; {error}") from error
    except (KeyError, TypeError, json.JSONDecodeError, ValidationError) as error:
        raise CheckpointError(f"{path}: a safetensors file, but no training checkpoint") from error


def restore_model(model: nn.Module, checkpoint: Checkpoint, part: str) -> None:
    """Load a part of the checkpoint into a model, in place.

    Raises:
        CheckpointError: names or shapes do not match.
    """
    prefix = f"{part}."
    state = {
        name.removeprefix(prefix): tensor
        for name, tensor in checkpoint.tensors.items()
        if name.startswith(prefix)
    }
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        line = " ".join(str(error).split())
        raise CheckpointError(
            f"{checkpoint.path}: {part} does not fit the model; {line}"
        ) from error


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Return the optimizer's state by parameter name and key."""
    return {
        f"{name}.{key}": torch.as_tensor(value)
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
        if value is not None
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, model: nn.Module, checkpoint: Checkpoint
) -> None:
    """Restore the state that ``optimizer_tensors`` returned.

    Raises:
        CheckpointError: state of a parameter that the model does not have, or of another shape.
    """
    parameters, is_fused = dict(model.named_parameters()), bool(optimizer.defaults.get("fused"))
    for full_name, tensor in checkpoint.tensors.items():
        if not full_name.startswith("optimizer."):
            continue
        name, _, key = full_name.removeprefix("optimizer.").rpartition(".")
        is_counter = key == "step"
        if name not in parameters or (not is_counter and tensor.shape != parameters[name].shape):
            raise CheckpointError(f"{checkpoint.path}: optimizer state does not fit at {name}")
        parameter = parameters[name]
        if is_counter:  # stays on the CPU unless the optimizer is fused
            value = tensor.to(parameter.device) if is_fused else tensor
        else:
            value = torch.empty_like(parameter).copy_(tensor)
        optimizer.state[parameter][key] = value


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors, each with its own storage, as safetensors requires."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        address = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone() if address in seen else tensor
        seen.add(address)
    return result
