"""The experiment file: read from YAML, overridden with ``key.path=value``, every field checked.

One YAML file holds one experiment and names only what differs from the defaults.
The YAML key, the field and the path of an override are spelt the same.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from head_detection.config.data import DataConfig
from head_detection.config.inference import InferenceConfig
from head_detection.config.network import NetworkConfig
from head_detection.config.section import Section
from head_detection.config.tracking import TrackingConfig
from head_detection.config.training import TrainingConfig
from head_detection.config.validation import read_values, validate
from head_detection.config.yaml_text import dump_yaml
from head_detection.errors import ConfigError


class ExperimentConfig(Section):
    """One experiment."""

    name: str = "experiment"
    """Names the run's folder, ``runs/train/<name>``, and its results."""
    network: NetworkConfig = NetworkConfig()
    inference: InferenceConfig = InferenceConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Read an experiment file, apply the overrides in order, and check every field.

    Args:
        path: YAML file with only what differs from the defaults.
        overrides: ``key.path=value`` each, the value written as YAML.

    Raises:
        ConfigError: no such file, not YAML, an unknown key, a wrong type or choice. One line.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        ...     _ = file.write("name: mine")
        ...     file.flush()
        ...     load_config(file.name, ["training.epochs=5"]).training.epochs
        5
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigError(f"{path}: expected a YAML experiment file; {reason}") from error
    values = read_values(text, str(path))
    if values is not None and not isinstance(values, dict):
        raise ConfigError(f"{path}: expected keys and values; got {type(values).__name__}")
    return parse_config(values or {}, overrides, source=str(path))


def parse_config(
    values: Mapping[str, Any], overrides: Sequence[str] = (), source: str = "config"
) -> ExperimentConfig:
    """Apply the overrides to plain values, as read from YAML or JSON, and check them.

    Raises:
        ConfigError: as for ``load_config``; the line starts with ``source``.
    """
    merged: dict[str, Any] = json.loads(json.dumps(values))
    for override in overrides:
        _apply(merged, override)
    return validate(ExperimentConfig, merged, source)


def override_inference(config: InferenceConfig, overrides: Sequence[str]) -> InferenceConfig:
    """Return the config with ``inference.key=value`` applied.

    Raises:
        ConfigError: an override of another form, an unknown key, a wrong type or choice, or a key
            of another section, which training has fixed. One line.

    Example:
        >>> override_inference(InferenceConfig(), ["inference.resize.max_size=900"]).resize.max_size
        900
    """
    for override in overrides:
        if not override.startswith("inference."):
            raise ConfigError(
                f"override {override!r}: expected inference.KEY=VALUE; only that part of a config "
                "can change once the network is trained"
            )
    values = {"inference": config.model_dump(mode="json")}
    return parse_config(values, overrides, "inference").inference


def override_tracking(overrides: Sequence[str]) -> TrackingConfig:
    """Return the default tracking config with ``tracking.key=value`` applied.

    Raises:
        ConfigError: an override of another form, an unknown key, a wrong type or choice. One line.

    Example:
        >>> override_tracking(["tracking.lost_seconds=2.5"]).lost_seconds
        2.5
    """
    values: dict[str, Any] = {"tracking": {}}
    for override in overrides:
        _apply(values, override)
    return validate(TrackingConfig, values["tracking"], "tracking")


def dump_config(config: BaseModel) -> str:
    """Return every field, including defaults, as YAML that ``load_config`` reads back."""
    return dump_yaml(config.model_dump(mode="json"))


def _apply(values: dict[str, Any], override: str) -> None:
    key_path, equals, text = override.partition("=")
    keys = key_path.split(".")
    if not equals or not all(keys):
        raise ConfigError(f"override {override!r}: expected key.path=value")
    section: Any = values
    for key in keys[:-1]:
        section = _enter(section, key, override)
    value = read_values(text, f"override {override!r}")
    if isinstance(section, list):
        section[_index(section, keys[-1], override)] = value
    else:
        section[keys[-1]] = value


def _enter(section: Any, key: str, override: str) -> Any:
    if isinstance(section, list):
        inner = section[_index(section, key, override)]
    else:
        inner = section.setdefault(key, {})
    if not isinstance(inner, dict | list):
        raise ConfigError(f"override {override!r}: {key} holds a value, not a section")
    return inner


def _index(section: Sequence[Any], key: str, override: str) -> int:
    if not key.isdecimal() or int(key) >= len(section):
        raise ConfigError(
            f"override {override!r}: expected an index from 0 into a list of {len(section)}; "
            f"got {key!r}"
        )
    return int(key)
