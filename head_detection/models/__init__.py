"""The network: bodies, pyramids, proposals, heads, and the files that hold them."""

from head_detection.models.quick_import import import_torchvision

import_torchvision()  # before any module here does
