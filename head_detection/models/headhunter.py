"""Conversion of HeadHunter's state dicts to this project's names."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

HALF_STEM = 2
"""Side of the first kernel in HeadHunter's MobileNet, whose ``conv_bn(3, 8, 2)`` has no stride."""
MOBILENET_SLOPE = 0.1
STACKED_KERNEL = 3
RESNET_OF_BLOCKS = {6: "resnet50", 23: "resnet101", 36: "resnet152"}
"""Name of the ResNet by the number of blocks in ``layer3``."""

RENAMED = (
    # Checkpoints of older torchvision lack the inner index in convolutions' names.
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

    HeadHunter's offsets are nine rows and then nine columns; torchvision's operator expects
    (row, column) for each of the nine in turn.

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
    """Return this project's name for a HeadHunter tensor."""
    key = key.removeprefix("module.")
    for pattern, replacement in RENAMED:
        key = pattern.sub(replacement, key)
    for pattern, template in RENAMED_LEVELS:
        found = pattern.match(key)
        if found:
            key = template.format(int(found[1]) - 1) + key[found.end() :]
    for old, new in RENAMED_BRANCHES:
        key = key.replace(old, new)
    return key


def _interleave(offsets: Tensor) -> Tensor:
    rows, columns = offsets.chunk(2)
    return torch.stack((rows, columns), dim=1).flatten(0, 1)


def options_of(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Infer from a HeadHunter checkpoint the options that it was trained with.

    Anchors, picture sizes and thresholds cannot be inferred from the tensors; they come from the
    config.

    Returns:
        ``{key path of the config: value}``, without keys that the tensors do not determine.

    Example:
        >>> options_of({"roi_heads.upscale_feat.bias": torch.zeros(64)})["network.upscale"]
        True
    """
    shapes = {key.removeprefix("module."): tuple(tensor.shape) for key, tensor in tensors.items()}
    upscale = any(key.startswith("roi_heads.upscale_feat.") for key in shapes)
    options = {"upscale": upscale} | _body_options(shapes) | _context_options(shapes)
    return {f"network.{key}": value for key, value in options.items()}


def _body_options(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    merged = shapes.get("backbone.fpn.merge1.0.weight")
    plain = shapes.get("backbone.fpn.layer_blocks.0.weight")  # older torchvision's name
    plain = shapes.get("backbone.fpn.layer_blocks.0.0.weight", plain)
    if merged or plain:
        options["backbone.fpn"] = "retinaface" if merged else "top_down"
        options["backbone.fpn_width"] = (merged or plain or (0,))[0]
    stem = shapes.get("backbone.body.stage1.0.0.weight")
    if stem:
        half = stem[-1] == HALF_STEM
        options["backbone.name"] = "mobilenet0.25"
        options["backbone.mobilenet_stem"] = "2x2_stride1" if half else "3x3_stride2"
        options["backbone.strides"] = [4, 8, 16] if half else [8, 16, 32]
        options["backbone.negative_slope"] = MOBILENET_SLOPE
    elif "backbone.body.conv1.weight" in shapes:
        blocks = {key.split(".")[3] for key in shapes if key.startswith("backbone.body.layer3.")}
        options["backbone.name"] = RESNET_OF_BLOCKS.get(len(blocks), "resnet50")
        options["backbone.strides"] = [8, 16, 32] if merged else [4, 8, 16, 32]
    return options


def _context_options(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    wide = shapes.get("backbone.ssh1.conv5X5_1.0.weight")
    if wide:
        deformable = "backbone.ssh1.conv3X3.0.p_conv.weight" in shapes
        return {
            "backbone.context": "deform_ssh" if deformable else "ssh",
            "backbone.ssh_kernels": "stacked" if wide[-1] == STACKED_KERNEL else "large",
        }
    return {"backbone.context": "cpm" if "backbone.ssh1.branch1.0.weight" in shapes else "none"}
