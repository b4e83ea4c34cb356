"""torchvision without PyTorch's compiler, whose import takes seconds and 150 MB."""

import importlib
import sys
from types import ModuleType
from typing import Final

import torch

COMPILER: Final = "torch._dynamo"
ASKED: Final = f"{COMPILER}.utils"


def import_torchvision() -> None:
    """Import ``torchvision.ops``, which wants one function of the compiler and hardly calls it.

    Meanwhile another stands in its place, which imports the compiler once it is called. Where
    torchvision asks for more, or something has imported the compiler already, all is as usual.
    """
    if COMPILER not in sys.modules:
        package, asked = ModuleType(COMPILER), ModuleType(ASKED)
        package.__dict__.update(utils=asked, __path__=[])
        asked.__dict__["is_compile_supported"] = _is_compile_supported
        sys.modules.update({COMPILER: package, ASKED: asked})
        try:
            importlib.import_module("torchvision.ops")
        except ImportError:  # another torchvision: anew, below
            for name in [name for name in sys.modules if name.startswith("torchvision")]:
                del sys.modules[name]
        finally:
            for name in (COMPILER, ASKED):
                sys.modules.pop(name, None)
            torch.__dict__.pop("_dynamo", None)
    importlib.import_module("torchvision.ops")


def _is_compile_supported(device_type: str) -> bool:
    module = importlib.import_module(ASKED)
    return bool(module.is_compile_supported(device_type))
