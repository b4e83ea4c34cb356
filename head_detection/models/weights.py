"""Weights files: this project's, which contain a description, and those made by others."""

import hashlib
import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load_file, save
from torch import Tensor, nn

from head_detection.config import (
    CalibrationConfig,
    InferenceConfig,
    NetworkConfig,
    override_inference,
)
from head_detection.config.validation import read_values, validate
from head_detection.config.yaml_text import dump_yaml
from head_detection.errors import ConfigError, WeightsError
from head_detection.files import is_unicode, real_path, write_bytes

METADATA_KEY = "head_detection"
TRAINING_KEY = "head_detection_training"
"""Header key of a training checkpoint, which is not a weights file."""
FORMAT_VERSION = 2
PRESET_SUFFIX = ".yaml"
EXPORT_SUFFIXES = (".onnx", ".xml")
SHOWN_KEYS = 5
LARGEST_FILE = 4 * 1024**3
"""Bytes: ten times the largest body here; a larger file is a mistake or an attack."""
LARGEST_PRESET = 1024**2


class WeightsDescription(BaseModel):
    """The description in a weights file.

    Attributes:
        network: determines the tensors.
        inference: everything around the network, with the operating point chosen on validation.
        class_names: without background.
        training: config, data and commit of the run.
        metrics: measured metrics, by name.
        licence: licence of the weights.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: int = FORMAT_VERSION
    network: NetworkConfig
    inference: InferenceConfig = InferenceConfig()
    class_names: tuple[str, ...] = ("head",)
    training: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    licence: str = "unknown"

    def with_score_threshold(self, score_threshold: float) -> "WeightsDescription":
        """Return a copy with another operating point."""
        inference = self.inference.model_copy(update={"score_threshold": score_threshold})
        return self.model_copy(update={"inference": inference})


class Preset(BaseModel):
    """Other inference settings for an existing weights file.

    Attributes:
        weights: name of the ``.safetensors`` file in the folder of the preset.
        inference: values that differ from the file's own.
        metrics: metrics measured with these settings, by name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: str
    inference: dict[str, Any] = {}
    metrics: dict[str, Any] = {}


def save_weights(path: str | Path, model: nn.Module, description: WeightsDescription) -> None:
    """Write the tensors and the description into one ``.safetensors`` file, atomically."""
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()
    }
    write_weights(Path(path), tensors, description)


def write_weights(path: Path, tensors: dict[str, Tensor], description: WeightsDescription) -> None:
    """Write tensors, which must be contiguous on CPU, and description, as ``save_weights``."""
    write_bytes(path, _to_bytes(tensors, description))


def digest_described(path: Path, description: WeightsDescription) -> str:
    """Return the SHA-256 that a file with this one's tensors and this description would have.

    Raises:
        WeightsError: as ``read_weights``.
    """
    return hashlib.sha256(_to_bytes(read_weights(path)[0], description)).hexdigest()


def _to_bytes(tensors: dict[str, Tensor], description: WeightsDescription) -> bytes:
    return save(tensors, metadata={METADATA_KEY: description.model_dump_json()})


def store_operating_point(
    path: str | Path,
    score_threshold: float,
    metrics: Mapping[str, Any],
    calibration: CalibrationConfig | None = None,
) -> None:
    """Store an operating point and metrics in a weights file or a preset, atomically.

    Args:
        path: as ``read_description``; its tensors do not change.
        score_threshold: the operating point.
        metrics: by name, added to those in the file.
        calibration: calibration for which the threshold was chosen; None keeps the file's own.

    Raises:
        WeightsError: as ``read_weights``.
    """
    path = Path(path)
    changed: dict[str, Any] = {"score_threshold": score_threshold}
    if path.suffix.lower() == PRESET_SUFFIX:
        preset = _read_preset(path)
        if calibration is not None:
            changed["calibration"] = calibration.model_dump()
        stored = {
            "weights": preset.weights,
            "inference": {**preset.inference, **changed},
            "metrics": {**preset.metrics, **metrics},
        }
        write_bytes(real_path(path), dump_yaml(stored).encode())
        return
    tensors, description = read_weights(path)
    if calibration is not None:
        changed["calibration"] = calibration
    inference = description.inference.model_copy(update=changed)
    description = description.model_copy(
        update={"inference": inference, "metrics": {**description.metrics, **metrics}}
    )
    write_weights(real_path(path), tensors, description)  # a link stays a link


def tensors_path(path: str | Path) -> Path:
    """Return the ``.safetensors`` file of a preset; any other path unchanged.

    Raises:
        WeightsError: as ``read_description``.
    """
    path = Path(path)
    return (
        path.parent / _read_preset(path).weights if path.suffix.lower() == PRESET_SUFFIX else path
    )


def read_description(path: str | Path) -> WeightsDescription:
    """Read only the description, not the tensors.

    Args:
        path: a ``.safetensors`` file of this project, or a preset beside one.

    Raises:
        WeightsError: no such file, no safetensors, or not of this project.
    """
    path = Path(path)
    if path.suffix.lower() == PRESET_SUFFIX:
        return _describe_preset(path, _read_preset(path))
    return parse_description(path, read_metadata(path))


def read_metadata(path: str | Path) -> str:
    """Return the description in a ``.safetensors`` file of this project, as JSON text.

    Raises:
        WeightsError: no such file, no safetensors, or not of this project.
    """
    check_file(path)
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(_not_safetensors(path, error)) from error
    if TRAINING_KEY in metadata:
        raise WeightsError(
            f"{path}: expected weights; this is the state of a training run: its folder's best."
            "safetensors, or `convert release` of this file, are its weights"
        )
    if METADATA_KEY not in metadata:
        raise WeightsError(
            f"{path}: expected weights that describe themselves; this safetensors file has no "
            f"{METADATA_KEY} entry: convert it with `convert weights`"
        )
    text: str = metadata[METADATA_KEY]
    return text


def _read_preset(path: Path) -> Preset:
    check_file(path, LARGEST_PRESET)
    source = f"{path}: expected a preset with weights and inference"
    try:
        preset = validate(Preset, read_values(path.read_text(encoding="utf-8"), source), source)
    except UnicodeDecodeError as error:
        raise WeightsError(f"{source}; this is no UTF-8 text") from error
    except ConfigError as error:
        raise WeightsError(str(error)) from error
    name = preset.weights
    if Path(name).name != name or name.lower().endswith(PRESET_SUFFIX):
        raise WeightsError(
            f"{path}: expected the name of a .safetensors file beside it as weights; got {name!r}"
        )
    return preset


def _describe_preset(path: Path, preset: Preset) -> WeightsDescription:
    own = read_description(path.parent / preset.weights)
    overrides = [f"inference.{key}={json.dumps(value)}" for key, value in preset.inference.items()]
    try:
        inference = override_inference(own.inference, overrides)
    except ConfigError as error:
        raise WeightsError(f"{path}: {error}") from error
    return own.model_copy(update={"inference": inference, "metrics": preset.metrics})


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], WeightsDescription]:
    """Read the tensors, on CPU, and the description.

    Raises:
        WeightsError: as ``read_description``, a truncated file, or NaN or infinite values.
    """
    description = read_description(path)
    path = tensors_path(path)
    try:
        tensors = load_file(str(path))
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(_not_safetensors(path, error)) from error
    broken = _some(
        "with NaN or infinity", [name for name, values in tensors.items() if not _is_finite(values)]
    )
    if broken:
        raise WeightsError(
            f"{path}: expected tensors of numbers; {broken}: the training that made them went "
            "astray; use others"
        )
    return tensors, description


def _is_finite(tensor: Tensor) -> bool:
    return bool(tensor.isfinite().all())


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict made by others: ``.safetensors``, or ``.pth`` without running its code.

    A ``state_dict``, ``model`` or ``state_dict_ema`` entry is unwrapped, and ``module.`` prefixes
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
        WeightsError: one line that names tensors that are missing, left over or of another shape.
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


def check_file(path: str | Path, largest: int = LARGEST_FILE) -> None:
    """Raise WeightsError, one line, unless the path is a file of a size that may be read."""
    file = Path(path)
    if not file.is_file():
        what = "a folder" if file.is_dir() else "no such file"
        raise WeightsError(f"{path}: expected a weights file; got {what}")
    if file.stat().st_size > largest:
        raise WeightsError(f"{path}: expected at most {largest} bytes; got {file.stat().st_size}")


def _not_safetensors(path: str | Path, error: Exception) -> str:
    reason = str(error).split("\n", 1)[0]
    if not is_unicode(path):
        return f"{path}: expected a path in Unicode, safetensors opens no other: rename it"
    if is_torch_file(Path(path)):
        return (
            f"{path}: expected a .safetensors file; got one of torch.save: `convert weights` takes "
            "HeadHunter's detectors, network.backbone.pretrained takes a body's weights"
        )
    if Path(path).suffix.lower() in EXPORT_SUFFIXES:
        return f"{path}: expected a .safetensors file; got an export: give what it was made from"
    if Path(path).suffix.lower() == ".yml":
        return f"{path}: expected a .safetensors file or a .yaml preset; got a .yml file: rename it"
    return f"{path}: expected a whole .safetensors file, got another or a truncated one: {reason}"


def is_torch_file(path: Path) -> bool:
    """Tell by its first bytes whether ``torch.save`` wrote a file: a zip, or a bare pickle.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        ...     torch.save({}, file.name)
        ...     is_torch_file(Path(file.name))
        True
    """
    try:
        with path.open("rb") as file:
            return file.read(2) in (b"PK", b"\x80\x02")
    except OSError:
        return False


def parse_description(path: str | Path, text: str) -> WeightsDescription:
    """Parse the description in a file's metadata.

    Raises:
        WeightsError: another format version, or damaged. One line.
    """
    source = f"{path}: its description is damaged"
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{source}: expected JSON; {error}") from error
    version = content.get("format_version") if isinstance(content, dict) else FORMAT_VERSION
    if version == 1:
        raise WeightsError(
            f"{path}: expected format version {FORMAT_VERSION}; got 1: convert the file with "
            "`convert weights`"
        )
    if version != FORMAT_VERSION:
        raise WeightsError(
            f"{path}: expected format version {FORMAT_VERSION}; got {version!r:.40}: "
            "another release of head-detection wrote it"
        )
    try:
        return validate(WeightsDescription, content, source)
    except ConfigError as error:
        raise WeightsError(str(error)) from error


def _unwrap(path: str | Path, content: object) -> dict[str, Tensor]:
    for key in ("state_dict_ema", "state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    named = content if isinstance(content, dict) else {}
    tensors = {str(key): value for key, value in named.items() if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(f"{path}: expected a state dict; got no named tensors")
    return {key.removeprefix("module."): value for key, value in tensors.items()}
