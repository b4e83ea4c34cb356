"""Optional packages of some backends, imported only when needed.

This module does not import torch, so that a missing package is reported before torch loads.
"""

import sys
from importlib import import_module
from types import ModuleType

from head_detection.errors import MissingPackageError


def import_extra(name: str) -> ModuleType:
    """Import a package of the ``export`` extra.

    OpenVINO's and nncf's usage reports to their makers are disabled, because a program that
    processes pictures of people must not contact anyone unasked.

    Raises:
        MissingPackageError: it is not installed.
    """
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # None: absent
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingPackageError(
            f"expected the package {name.partition('.')[0]} for this; it is not installed "
            f"({error}): pip install 'head-detection[export]'"
        ) from error
