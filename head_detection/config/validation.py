"""From the text of a file that people write to checked values, and what is wrong in one line."""

import difflib
import json
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from head_detection.config.section import Section
from head_detection.config.yaml_text import parse_yaml
from head_detection.errors import ConfigError

MAX_VALUES: Final = 100_000
"""Of a file, aliases written out: a few lines of them would fill any memory."""
SHOWN_CHARACTERS: Final = 100
"""Of a value in an error: a section given in place of a number is long."""

LONGEST_LINE: Final = 600
"""Characters of the mistakes that are told: aliases within aliases make thousands of one."""

_Model = TypeVar("_Model", bound=BaseModel)


def read_values(text: str, source: str) -> Any:
    """Return the plain values of YAML, which JSON can hold too.

    Raises:
        ConfigError: anything else; the line starts with ``source``.
    """
    try:
        values = parse_yaml(text)
        _check_number(values)
        json.dumps(values)
    except RecursionError as error:
        raise ConfigError(f"{source}: not a config: brackets within brackets, too deep") from error
    except (yaml.YAMLError, TypeError, ValueError) as error:
        first_line = " ".join(str(error).split())
        raise ConfigError(f"{source}: not YAML that a config can hold: {first_line}") from error
    return values


def validate(model: type[_Model], values: Any, source: str) -> _Model:
    """Return the checked section that plain values make.

    Raises:
        ConfigError: no mapping, or the mistakes in them, in one line that starts with ``source``.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{source}: expected keys with values; got {_shown(values)}")
    try:
        return model.model_validate_json(json.dumps(values))
    except ValidationError as error:
        lines = _explain(model, error.errors())
        raise ConfigError(f"{source}: {_joined(lines)}") from error


def _joined(lines: Sequence[str]) -> str:
    """Return mistakes as one line that can be read, those that are too many as a number."""
    ends = accumulate(len(line) for line in lines)
    number = max(1, sum(end <= LONGEST_LINE for end in ends))
    shown = [*lines[:number]]
    if number < len(lines):
        shown.append(f"and {len(lines) - number:,} more")
    # Names that users choose may hold anything, and be of any length.
    text = " ".join("; ".join(shown).split())
    return text if len(text) <= 2 * LONGEST_LINE else f"{text[: 2 * LONGEST_LINE]}..."


def _shown(value: Any) -> str:
    """Return a value as an error shows it, cut short."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def _check_number(values: Any) -> None:
    """Count the values with each alias written out, as JSON has them."""
    waiting, count = [values], 0
    while waiting:
        value = waiting.pop()
        count += 1
        if count > MAX_VALUES:
            raise ValueError(f"more than {MAX_VALUES:,} values, or one inside itself")
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _explain(model: type[BaseModel], errors: Sequence[ErrorDetails]) -> list[str]:
    """Say each mistake once: pydantic reports every kind that a union allows on its own."""
    lines: dict[tuple[str, str], str] = {}
    for error in errors:
        path, section = _walk(model, error["loc"])
        ending = f"; got {_shown(error['input'])}"
        if error["type"] == "extra_forbidden":
            expected, ending = _unknown_key(path[-1], section), ""
        elif error["type"] == "missing":
            expected, ending = "expected a value; there is no such key", ""
        elif error["type"] == "value_error":
            expected, ending = str(error["ctx"]["error"]), ""
        else:
            expected = error["msg"].replace("Input should be", "expected")
        # A check of a whole section begins with the field's own name.
        separator = "." if error["type"] == "value_error" else ": "
        start = f"{'.'.join(path)}{separator}" if path else ""
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
    is_named = False
    for part in location:
        if isinstance(part, int):
            path.append(str(part))
        elif is_named:  # a name that the user chose, before the section's own keys
            path.append(part)
            is_named = False
        elif inner is not None:
            path.append(part)
            section = inner
            field = section.model_fields.get(part)
            inner = None if field is None else _section_of(field.annotation)
            is_named = field is not None and get_origin(field.annotation) is dict
    return path, section


def _section_of(annotation: Any) -> type[BaseModel] | None:
    kinds = (annotation, *get_args(annotation))
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, Section):
            return kind
    return None
