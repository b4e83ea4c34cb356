"""HeadHunter's state dicts in this project's names."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

RENAMED = (
    # Checkpoints of older torchvision name the convolutions without the inner index.
    (re.compile(r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$"), r"\1.0.\2"),
    (re.compile(r"^rpn\.head\.conv\.(weight|bias)$"), r"rpn.head.conv.0.0.\1"),
    (re.compile(r"^(rpn|roi_heads)\.upscale_feat\."), r"\1.upscale."),
)
RENAMED_LEVELS = (
    (re.compile(r"^backbone\.fpn\.output(\d+)\."), "backbone.fpn.laterals.{}."),
    (re.compile(r"^backbone\.fpn\.merge(\d+)\."), "backbone.fpn.merges.{}."),
    (re.compile(r"^backbone\.ssh(\d+)\."), "backbone.contexts.{}."),
)
RENAMED_BRANCHES = (
    (".conv3X3.0.p_conv.", ".conv3.0.offset."),
    (".conv3X3.0.m_conv.", ".conv3.0.mask."),
    (".conv3X3.", ".conv3."),
    (".conv5X5_", ".conv5_"),
    (".conv7X7_", ".conv7_"),
    (".conv7x7_", ".conv7_"),
)


def from_headhunter(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a HeadHunter checkpoint, and reorder deformable offsets.

    HeadHunter's offsets come as nine rows and then nine columns; torchvision's operator wants
    (row, column) of each of the nine in turn.

    Example:
        >>> list(from_headhunter({"backbone.ssh2.conv5X5_1.0.weight": torch.zeros(1)}))
        ['backbone.contexts.1.conv5_1.0.weight']
    """
    renamed = {}
    for key, tensor in tensors.items():
        name = rename(key)
        renamed[name] = _interleave(tensor) if ".conv3.0.offset." in name else tensor
    return renamed


def rename(key: str) -> str:
    """Return this project's name of a tensor of HeadHunter's."""
    key = key.removeprefix("module.")
    for pattern, replacement in RENAMED:
        key = pattern.sub(replacement, key)
    for pattern, template in RENAMED_LEVELS:
        key = pattern.sub(lambda found, t=template: t.format(int(found[1]) - 1), key)
    for old, new in RENAMED_BRANCHES:
        key = key.replace(old, new)
    return key


def _interleave(offsets: Tensor) -> Tensor:
    rows, columns = offsets.chunk(2)
    return torch.stack((rows, columns), dim=1).flatten(0, 1)
