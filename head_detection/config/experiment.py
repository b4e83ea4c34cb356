"""The experiment file: read from YAML, overridden with ``key.path=value``, every field checked.

One YAML holds one experiment and names only what differs from the defaults.
The YAML key, the field and the path of an override are spelt alike.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from head_detection.config.data import DataConfig
from head_detection.config.inference import InferenceConfig
from head_detection.config.network import NetworkConfig
from head_detection.config.section import Section
from head_detection.config.tracking import TrackingConfig
from head_detection.config.training import TrainingConfig
from head_detection.config.yaml_text import dump_yaml, parse_yaml
from head_detection.errors import ConfigError

_Model = TypeVar("_Model", bound=BaseModel)


class ExperimentConfig(Section):
    """One experiment."""

    name: str = "experiment"
    """Of the run's folder, ``runs/train/<name>``, and of what is made of it."""
    network: NetworkConfig = NetworkConfig()
    inference: InferenceConfig = InferenceConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Read an experiment file, apply the overrides in order, and check every field.

    Args:
        path: YAML file; only what differs from the defaults need be in it.
        overrides: ``key.path=value`` each, the value written as YAML.

    Raises:
        ConfigError: no such file, no YAML, an unknown key, a wrong type or choice. One line.

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
    values = _read_yaml(text, str(path))
    if values is not None and not isinstance(values, dict):
        raise ConfigError(f"{path}: expected keys and values; got {type(values).__name__}")
    return parse_config(values or {}, overrides, source=str(path))


def parse_config(
    values: Mapping[str, Any], overrides: Sequence[str] = (), source: str = "config"
) -> ExperimentConfig:
    """Check plain values, as YAML or JSON gives them, with overrides applied.

    Raises:
        ConfigError: as for ``load_config``; the line starts with ``source``.
    """
    merged: dict[str, Any] = json.loads(json.dumps(values))
    for override in overrides:
        _apply(merged, override)
    return _validate(ExperimentConfig, merged, source)


def override_inference(config: InferenceConfig, overrides: Sequence[str]) -> InferenceConfig:
    """Return the config with ``inference.key=value`` applied.

    Raises:
        ConfigError: not of that form, an unknown key, a wrong type or choice, or a key of another
            section: those are decided by training. One line.

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
    """Return how heads are followed, with ``tracking.key=value`` applied to the defaults.

    Raises:
        ConfigError: not of that form, an unknown key, a wrong type or choice. One line.

    Example:
        >>> override_tracking(["tracking.lost_seconds=2.5"]).lost_seconds
        2.5
    """
    values: dict[str, Any] = {"tracking": {}}
    for override in overrides:
        _apply(values, override)
    return _validate(TrackingConfig, values["tracking"], "tracking")


def dump_config(config: BaseModel) -> str:
    """Write every field, defaults too, as YAML that ``load_config`` reads back."""
    return dump_yaml(config.model_dump(mode="json"))


def _read_yaml(text: str, source: str) -> Any:
    try:
        values = parse_yaml(text)
        json.dumps(values)
    except RecursionError as error:
        raise ConfigError(f"{source}: not a config: brackets within brackets, too deep") from error
    except (yaml.YAMLError, TypeError, ValueError) as error:
        first_line = " ".join(str(error).split())
        raise ConfigError(f"{source}: not YAML that a config can hold: {first_line}") from error
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    key_path, equals, text = override.partition("=")
    keys = key_path.split(".")
    if not equals or not all(keys):
        raise ConfigError(f"override {override!r}: expected key.path=value")
    section: Any = values
    for key in keys[:-1]:
        section = _enter(section, key, override)
    value = _read_yaml(text, f"override {override!r}")
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


def _validate(model: type[_Model], values: Mapping[str, Any], source: str) -> _Model:
    try:
        return model.model_validate_json(json.dumps(values))
    except ValidationError as error:
        lines = _explain(model, error.errors())
        raise ConfigError(f"{source}: {'; '.join(lines)}") from error


def _explain(model: type[BaseModel], errors: Sequence[ErrorDetails]) -> list[str]:
    """Say each mistake once: pydantic reports every kind that a union allows on its own."""
    lines: dict[tuple[str, str], str] = {}
    for error in errors:
        path, section = _walk(model, error["loc"])
        ending = f"; got {error['input']!r}"
        if error["type"] == "extra_forbidden":
            expected, ending = _unknown_key(path[-1], section), ""
        elif error["type"] == "value_error":
            expected, ending = str(error["ctx"]["error"]), ""
        else:
            expected = error["msg"].replace("Input should be", "expected")
        # A check of a whole section begins with the field's own name.
        separator = "." if error["type"] == "value_error" else ": "
        start = f"{'.'.join(path)}{separator}"
        known = lines.get((start, ending))
        lines[start, ending] = expected if known is None else f"{known} or {expected}"
    return [f"{start}{expected}{ending}" for (start, ending), expected in lines.items()]


def _unknown_key(key: str, section: type[BaseModel]) -> str:
    known = list(section.model_fields)
    close = difflib.get_close_matches(key, known, n=1)
    return "unknown key; " + (
        f"did you mean {close[0]}?" if close else f"known keys: {', '.join(known)}"
    )


def _walk(
    model: type[BaseModel], location: Sequence[str | int]
) -> tuple[list[str], type[BaseModel]]:
    """Return the key path without pydantic's names for the kinds of a union, and its section."""
    path: list[str] = []
    section = model
    inner: type[BaseModel] | None = model
    for part in location:
        if isinstance(part, int):
            path.append(str(part))
        elif inner is not None:
            path.append(part)
            section = inner
            field = section.model_fields.get(part)
            inner = None if field is None else _section_of(field.annotation)
    return path, section


def _section_of(annotation: Any) -> type[BaseModel] | None:
    kinds = (annotation, *get_args(annotation))
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, Section):
            return kind
    return None
