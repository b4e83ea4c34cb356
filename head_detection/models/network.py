"""The network with all trained tensors, and the protocol that a backend implements."""

from collections.abc import Mapping
from typing import Annotated, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from head_detection.config import NetworkConfig
from head_detection.models.anchors import build_anchors
from head_detection.models.backbones import BackBoneWithFPN, create_backbone
from head_detection.models.roi_heads import RoILayers
from head_detection.models.rpn import RegionProposalLayers


class DenseMaps(NamedTuple):
    """The network's outputs at every location of a picture, finest level first, float32.

    Attributes:
        features: ``(B, C, H_i, W_i)`` features to pool from.
        objectness: ``(B, A, H_i, W_i)`` logits of each anchor.
        deltas: ``(B, 4A, H_i, W_i)`` codes that move each anchor.
    """

    features: tuple[Annotated[Tensor, "b c _ _"], ...]
    objectness: tuple[Annotated[Tensor, "b a _ _"], ...]
    deltas: tuple[Annotated[Tensor, "b 4*a _ _"], ...]

    def in_anchor_order(self) -> tuple[Annotated[Tensor, "b n"], Annotated[Tensor, "b n 4"]]:
        """Return objectness ``(B, N)`` and deltas ``(B, N, 4)`` in the order of ``Anchors.all``."""
        objectness = [level.permute(0, 2, 3, 1).flatten(1) for level in self.objectness]
        deltas = [level.permute(0, 2, 3, 1).flatten(1) for level in self.deltas]
        return torch.cat(objectness, dim=1), torch.cat(deltas, dim=1).unflatten(1, (-1, 4))


class DetectorNetwork(Protocol):
    """The two parts of a detector with trained tensors: ``Network``, or a backend."""

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of the input pictures."""
        ...

    def dense(self, images: Annotated[Tensor, "b 3 h w"]) -> DenseMaps:
        """Return the maps of ``(B, 3, H, W)`` normalised pictures."""
        ...

    def score(
        self, pooled: Annotated[Tensor, "n c p p"]
    ) -> tuple[Annotated[Tensor, "n 2"], Annotated[Tensor, "n 8"]]:
        """Return logits ``(N, 2)`` and deltas ``(N, 8)`` of ``(N, C, P, P)`` pooled features."""
        ...


class Network(nn.Module):
    """Backbone and the layers of both stages; a weights file stores its state dict.

    The names of the tensors are torchvision's: ``backbone``, ``rpn.head``, ``roi_heads.box_head``.

    Args:
        backbone: computes the maps of every pyramid level.
        rpn: finds where a head may be.
        roi_heads: classifies the proposals and refines their boxes.
    """

    dtype = torch.float32

    def __init__(
        self, backbone: BackBoneWithFPN, rpn: RegionProposalLayers, roi_heads: RoILayers
    ) -> None:
        super().__init__()
        self.backbone, self.rpn, self.roi_heads = backbone, rpn, roi_heads

    def dense(self, images: Annotated[Tensor, "b 3 h w"]) -> DenseMaps:
        """Return the maps of ``(B, 3, H, W)`` normalised pictures."""
        return self.dense_of(self.backbone(images))

    def dense_of(self, levels: Mapping[str, Annotated[Tensor, "b c _ _"]]) -> DenseMaps:
        """Return the maps of the backbone's levels."""
        objectness, deltas = self.rpn(list(levels.values()))
        features = self.roi_heads.features(list(levels.values()))
        return DenseMaps(features, tuple(objectness), tuple(deltas))

    def score(
        self, pooled: Annotated[Tensor, "n _ _ _"]
    ) -> tuple[Annotated[Tensor, "n 2"], Annotated[Tensor, "n 8"]]:
        """Return logits ``(N, 2)`` and deltas ``(N, 8)`` of ``(N, C, P, P)`` pooled features.

        An exported network, whose first layer is reordered, takes ``(N, P, P, C)``.
        """
        logits, deltas = self.roi_heads(pooled)
        return logits, deltas


def build_network(config: NetworkConfig) -> Network:
    """Build the network that the config describes, in training mode.

    Raises:
        ValueError: parts that do not fit each other, or pretrained weights that do not fit.
    """
    backbone = create_backbone(config.backbone)
    channels, box_head = backbone.out_channels, config.box_head
    anchors = build_anchors(config.anchors, len(backbone.strides))
    return Network(
        backbone,
        RegionProposalLayers(channels, anchors.per_location, upscale=config.upscale),
        RoILayers(channels, box_head.pool_size, box_head.width, upscale=config.upscale),
    )
