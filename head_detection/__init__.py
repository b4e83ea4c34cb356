"""Finds and counts human heads in pictures with torchvision's Faster R-CNN.

The names below are imported when they are first used, so that ``import head_detection`` and
``head-detection --help`` do not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from head_detection.version import __version__

if TYPE_CHECKING:
    from head_detection.config import load_config
    from head_detection.inference.detector import HeadDetector
    from head_detection.models.backbones import create_backbone
    from head_detection.models.faster_rcnn import build_detector
    from head_detection.structures import Detections

__all__ = [
    "Detections",
    "HeadDetector",
    "__version__",
    "build_detector",
    "create_backbone",
    "load_config",
]

_HOMES = {
    "Detections": "head_detection.structures",
    "HeadDetector": "head_detection.inference.detector",
    "build_detector": "head_detection.models.faster_rcnn",
    "create_backbone": "head_detection.models.backbones",
    "load_config": "head_detection.config",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
