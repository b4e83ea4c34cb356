"""The YAML of experiment files: no duplicate keys, ``1e-3`` is a number, the key ``yes`` a name."""

import re
from typing import Any

import yaml

FLOAT_TAG = "tag:yaml.org,2002:float"
# YAML 1.1, which the library follows, reads 1e-3 as text and only 1.0e-3 as a number. In YAML 1.2,
# and to anyone who types a learning rate, 1e-3 is a number.
TEXT_TAG = "tag:yaml.org,2002:str"
RETAGGED = {f"tag:yaml.org,2002:{kind}" for kind in ("bool", "null", "float", "timestamp")}
"""Types that YAML 1.1 gives to unquoted keys such as ``yes``, ``no``, ``on`` or a date; here, such
keys stay names."""
INT_TAG = "tag:yaml.org,2002:int"
NUMBER = re.compile(r"0|[1-9]\d*")
"""Integers as JSON writes them; the keys ``0x1F``, ``007`` and ``1:30`` are names."""
EXPONENT = re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$")


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):  # unhashable; the library refuses it
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
        yaml.YAMLError: not YAML, or the same key twice in one mapping.

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
    """Return plain values as YAML, with keys in their given order.

    Example:
        >>> print(dump_yaml({"name": "1e-3", "rate": 0.5}), end="")
        name: '1e-3'
        rate: 0.5
    """
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False)
