"""YAML as an experiment file has it: no key twice, ``1e-3`` a number, ``yes`` as key a name."""

import re
from typing import Any

import yaml

FLOAT_TAG = "tag:yaml.org,2002:float"
# YAML 1.1, which the library follows, reads 1e-3 as text and only 1.0e-3 as a number; YAML 1.2 and
# everybody who types a learning rate mean a number.
TEXT_TAG = "tag:yaml.org,2002:str"
RETAGGED = {f"tag:yaml.org,2002:{kind}" for kind in ("bool", "null", "float", "timestamp")}
"""What unquoted keys may become in YAML 1.1: ``yes``, ``no``, ``on`` and a date are names here."""
INT_TAG = "tag:yaml.org,2002:int"
NUMBER = re.compile(r"0|[1-9]\d*")
"""Whole numbers that are written as JSON does; ``0x1F``, ``007`` and ``1:30`` are names."""
EXPONENT = re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$")


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):  # a list has no hash; the library refuses it
                continue
            if key.value in seen:
                raise yaml.MarkedYAMLError(None, None, f"the key {key.value} twice", key.start_mark)
            seen.add(key.value)
            is_name = key.tag == INT_TAG and not NUMBER.fullmatch(key.value)
            if is_name or key.tag in RETAGGED:
                key.tag = TEXT_TAG
        return node


class _Dumper(yaml.SafeDumper):
    """Quotes text that ``_Loader`` would take for a number."""


for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(FLOAT_TAG, EXPONENT, list("-+.0123456789"))


def parse_yaml(text: str) -> Any:
    """Read one YAML document into plain values.

    Raises:
        yaml.YAMLError: no YAML, or the same key twice in one mapping.

    Example:
        >>> parse_yaml("{rate: 1e-3, sizes: [8, 16]}")
        {'rate': 0.001, 'sizes': [8, 16]}
        >>> parse_yaml("{yes: no, 0x1F: 0x1F, 7: 7}")
        {'yes': False, '0x1F': 31, 7: 7}
    """
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def dump_yaml(values: Any) -> str:
    """Write plain values as YAML, keys in their order.

    Example:
        >>> print(dump_yaml({"name": "1e-3", "rate": 0.5}), end="")
        name: '1e-3'
        rate: 0.5
    """
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False)
