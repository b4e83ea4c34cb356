"""Packages that only some backends need, imported when one of them is asked for.

No torch here: what is missing is known before it loads.
"""

import sys
from importlib import import_module
from types import ModuleType

from head_detection.errors import MissingPackageError


def import_extra(name: str) -> ModuleType:
    """Import a package of the ``export`` extra.

    OpenVINO and nncf would report their use to a server of their makers; they are kept from it:
    what is given pictures of people calls nobody unasked.

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
