"""Weights files: our own, which describe themselves, and those made by others."""

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import safetensors
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from head_detection.config import ModelConfig
from head_detection.errors import WeightsError
from head_detection.files import write_bytes

METADATA_KEY = "head_detection"
FORMAT_VERSION = 1
SHOWN_KEYS = 5
LARGEST_FILE = 4 * 1024**3
"""Bytes: ten times the largest body here; a larger file is a mistake or an attack."""


class WeightsDescription(BaseModel):
    """What a weights file says of itself.

    Attributes:
        model: the full model section of the config.
        score_threshold: the operating point, chosen on validation.
        class_names: without background.
        training: config, data and commit of the run.
        figures: measured, by name.
        licence: of the weights.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: int = FORMAT_VERSION
    model: ModelConfig
    score_threshold: float = 0.5
    class_names: tuple[str, ...] = ("head",)
    training: dict[str, Any] = {}
    figures: dict[str, Any] = {}
    licence: str = "unknown"


def save_weights(path: str | Path, model: nn.Module, description: WeightsDescription) -> None:
    """Write the tensors and the description into one ``.safetensors`` file, atomically."""
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()
    }
    metadata = {METADATA_KEY: description.model_dump_json()}
    write_bytes(Path(path), save(tensors, metadata=metadata))


def replace_description(path: str | Path, description: WeightsDescription) -> None:
    """Give a weights file another description, atomically; its tensors stay as they are.

    Raises:
        WeightsError: as ``read_weights``.
    """
    tensors, _ = read_weights(path)
    metadata = {METADATA_KEY: description.model_dump_json()}
    write_bytes(Path(path).resolve(), save(tensors, metadata=metadata))  # a link stays a link


def read_description(path: str | Path) -> WeightsDescription:
    """Read the description alone; the tensors stay on disk.

    Raises:
        WeightsError: no such file, no safetensors, or not of this project.
    """
    check_file(path)
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(_not_safetensors(path, error)) from error
    if METADATA_KEY not in metadata:
        raise WeightsError(
            f"{path}: expected weights that describe themselves; this safetensors file has no "
            f"{METADATA_KEY} entry: convert it with scripts/convert.py weights"
        )
    return parse_description(path, metadata[METADATA_KEY])


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], WeightsDescription]:
    """Read tensors, on CPU, and description.

    Raises:
        WeightsError: as ``read_description``, or a truncated file.
    """
    description = read_description(path)
    try:
        return load_file(str(path)), description
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(_not_safetensors(path, error)) from error


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict made by others: ``.pth`` without running code of it, or ``.safetensors``.

    A ``state_dict``, ``model`` or ``state_dict_ema`` entry is unwrapped, ``module.`` prefixes
    are removed.

    Raises:
        WeightsError: no such file, neither format, or no tensors in it.
    """
    check_file(path)
    if str(path).endswith(".safetensors"):
        try:
            return load_file(str(path))
        except (safetensors.SafetensorError, OSError) as error:
            raise WeightsError(_not_safetensors(path, error)) from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        AttributeError,
        zipfile.BadZipFile,
    ) as error:
        reason = str(error).split("\n", 1)[0][:200]
        raise WeightsError(f"{path}: expected a PyTorch state dict; {reason}") from error
    return _unwrap(path, content)


def fit(model: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Load tensors that must match the model key by key and shape by shape.

    Raises:
        WeightsError: a line that names what is missing, left over or of another shape.
    """
    expected = model.state_dict()
    problems = [
        _some("missing", sorted(expected.keys() - tensors.keys())),
        _some("left over", sorted(tensors.keys() - expected.keys())),
        _some(
            "of another shape",
            [
                f"{key} {tuple(tensors[key].shape)} for {tuple(expected[key].shape)}"
                for key in sorted(expected.keys() & tensors.keys())
                if tensors[key].shape != expected[key].shape
            ],
        ),
    ]
    found = "; ".join(problem for problem in problems if problem)
    if found:
        raise WeightsError(f"{source}: tensors do not fit the model: {found}")
    model.load_state_dict(tensors)


def _some(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - SHOWN_KEYS} more" if len(keys) > SHOWN_KEYS else ""
    return f"{len(keys)} {what}: {', '.join(keys[:SHOWN_KEYS])}{more}"


def check_file(path: str | Path) -> None:
    """Raise WeightsError, one line, unless the path is a file of a size that may be read."""
    file = Path(path)
    if not file.is_file():
        what = "a folder" if file.is_dir() else "no such file"
        raise WeightsError(f"{path}: expected a weights file; got {what}")
    if file.stat().st_size > LARGEST_FILE:
        raise WeightsError(
            f"{path}: expected at most {LARGEST_FILE} bytes; got {file.stat().st_size}"
        )


def _not_safetensors(path: str | Path, error: Exception) -> str:
    reason = str(error).split("\n", 1)[0]
    return f"{path}: expected a whole .safetensors file, got another or a truncated one: {reason}"


def parse_description(path: str | Path, text: str) -> WeightsDescription:
    """Read what the metadata of a file holds.

    Raises:
        WeightsError: another format version, or damaged. One line.
    """
    try:
        version = json.loads(text).get("format_version")
        if version != FORMAT_VERSION:
            raise WeightsError(
                f"{path}: expected format version {FORMAT_VERSION}; got {version}: "
                "another release of head-detection wrote it"
            )
        return WeightsDescription.model_validate_json(text)
    except (ValidationError, json.JSONDecodeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{path}: its description is damaged: {reason}") from error


def _unwrap(path: str | Path, content: object) -> dict[str, Tensor]:
    for key in ("state_dict_ema", "state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = (
        {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
        if isinstance(content, dict)
        else {}
    )
    if not tensors:
        raise WeightsError(f"{path}: expected a state dict; got no named tensors")
    return {key.removeprefix("module."): value for key, value in tensors.items()}
