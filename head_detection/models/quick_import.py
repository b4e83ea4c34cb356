"""Importing torchvision without PyTorch's compiler, whose import takes seconds and 150 MB."""

import importlib
import sys
from collections.abc import Mapping
from functools import partial
from types import ModuleType
from typing import Final

COMPILER: Final = "torch._dynamo"
ASKED: Final = f"{COMPILER}.utils"


def import_torchvision() -> None:
    """Import ``torchvision.ops``, which imports the compiler for one function that it rarely calls.

    During the import, a stand-in module replaces the compiler. It imports the real one when the
    function is called or another attribute is read. A compiler already imported is used as it is.
    """
    if COMPILER not in sys.modules:
        stand_ins = {name: ModuleType(name) for name in (COMPILER, ASKED)}
        stand_ins[COMPILER].__dict__.update(utils=stand_ins[ASKED], __path__=[])
        stand_ins[ASKED].__dict__["is_compile_supported"] = _is_compile_supported
        for name, module in stand_ins.items():
            module.__dict__["__getattr__"] = partial(_from_compiler, name, stand_ins)
        sys.modules.update(stand_ins)
        try:
            importlib.import_module("torchvision.ops")
        finally:
            _take_away(stand_ins)
    importlib.import_module("torchvision.ops")


def _take_away(stand_ins: Mapping[str, ModuleType]) -> None:
    for name, module in stand_ins.items():
        if sys.modules.get(name) is module:
            del sys.modules[name]


def _from_compiler(name: str, stand_ins: Mapping[str, ModuleType], asked: str) -> object:
    """Import the compiler and return the attribute of the given module."""
    if asked.startswith("__"):  # the import system reads these from any module
        raise AttributeError(asked)
    _take_away(stand_ins)
    return getattr(importlib.import_module(name), asked)


def _is_compile_supported(device_type: str) -> bool:
    module = importlib.import_module(ASKED)
    return bool(module.is_compile_supported(device_type))
