"""The detector's model: bodies, pyramids, proposals, heads, losses, and weights files."""

from head_detection.models.quick_import import import_torchvision

import_torchvision()  # before any module here does
