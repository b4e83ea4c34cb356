"""Parses and checks files that users write, and reports their mistakes in one line."""

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
"""Most values in a file with its aliases expanded: a few lines of them could fill any memory."""
SHOWN_CHARACTERS: Final = 100
"""Most characters of a value in an error: a section in the place of a number is long."""

LONGEST_LINE: Final = 600
"""Most characters of listed mistakes: nested aliases turn one into thousands."""

_Model = TypeVar("_Model", bound=BaseModel)


def read_values(text: str, source: str) -> Any:
    """Return the plain values of a YAML text, restricted to what JSON can hold.

    Raises:
        ConfigError: the text holds anything else; the line starts with ``source``.
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
    """Check plain values and return them as a section.

    Raises:
        ConfigError: not a mapping, or mistakes in it; one line that starts with ``source``.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{source}: expected keys with values; got {_shown(values)}")
    try:
        return model.model_validate_json(json.dumps(values))
    except ValidationError as error:
        lines = _explain(model, error.errors())
        raise ConfigError(f"{source}: {_joined(lines)}") from error


def _joined(lines: Sequence[str]) -> str:
    """Return mistakes as one readable line, which gives only the number of those beyond a limit."""
    ends = accumulate(len(line) for line in lines)
    number = max(1, sum(end <= LONGEST_LINE for end in ends))
    shown = [*lines[:number]]
    if number < len(lines):
        shown.append(f"and {len(lines) - number:,} more")
    # Names chosen by users may hold any characters, and be of any length.
    text = " ".join("; ".join(shown).split())
    return text if len(text) <= 2 * LONGEST_LINE else f"{text[: 2 * LONGEST_LINE]}..."


def _shown(value: Any) -> str:
    """Return a value for an error message, cut short."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def _check_number(values: Any) -> None:
    """Limit the number of values with every alias expanded, as JSON stores them."""
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
    """Report each mistake once: for a union, pydantic reports every allowed type separately."""
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
        # The message of a check of a whole section starts with the name of the field.
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
    """Return the key path, without pydantic's names for the types of a union, and its section."""
    path: list[str] = []
    section = model
    inner: type[BaseModel] | None = model
    is_named = False
    for part in location:
        if isinstance(part, int):
            path.append(str(part))
        elif is_named:  # a name chosen by the user, followed by the keys of a section
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
