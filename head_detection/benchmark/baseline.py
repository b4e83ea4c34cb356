"""The baseline, torchvision's stock detector, and its network built by this project."""

from dataclasses import replace
from typing import Final

import torch.nn.functional as F  # noqa: N812 - the name that torch's users know
import torchvision
from torch import Tensor
from torchvision.models.detection import FasterRCNN as BaselineModel

from head_detection.config import (
    AnchorConfig,
    BackboneConfig,
    InferenceConfig,
    NetworkConfig,
    ProposalConfig,
    ResizeConfig,
    SuppressionConfig,
)
from head_detection.models.decoder import build_decoder
from head_detection.models.faster_rcnn import FasterRCNN
from head_detection.models.network import build_network
from head_detection.models.roi_heads import NUM_CLASSES
from head_detection.models.transform import GeneralizedRCNNTransform, Resize
from head_detection.models.weights import fit

BASELINE_MODEL: Final = "fasterrcnn_resnet50_fpn"
BASELINE_NETWORK: Final = NetworkConfig(
    backbone=BackboneConfig(name="resnet50", strides=(4, 8, 16, 32, 64), fpn_width=256),
    anchors=AnchorConfig(preset="coco", layout="legacy"),
)
BASELINE_INFERENCE: Final = InferenceConfig(
    resize=ResizeConfig(policy="fit", min_size=800, max_size=1333, antialias=False),
    proposals=ProposalConfig(pre_nms_top_n=1000, post_nms_top_n=1000, nms_iou_threshold=0.7),
    suppression=SuppressionConfig(
        score_threshold=0.05, nms_iou_threshold=0.5, detections_per_image=100
    ),
    growing_limits=False,
)
"""torchvision's defaults for that model."""
NUM_POOLED: Final = 4
"""torchvision pools no boxes from the coarsest level, stride 64, which is made by max pooling."""


class BaselineTransform(GeneralizedRCNNTransform):
    """Resizes as torchvision does if the scaled sides are not whole pixels."""

    def _resize(self, images: Tensor, factor: float) -> Tensor:
        resized: Tensor = F.interpolate(
            images.float(),
            scale_factor=factor,
            mode="bilinear",
            recompute_scale_factor=True,
            align_corners=False,
        )
        return resized


def build_baseline(min_size: int = 800, max_size: int = 1333) -> BaselineModel:
    """Return torchvision's model for one class, with random weights, in evaluation mode.

    Args:
        min_size: short side of a picture, in network pixels.
        max_size: largest long side, in network pixels.
    """
    detector: BaselineModel = torchvision.models.get_model(
        BASELINE_MODEL,
        weights=None,
        weights_backbone=None,
        num_classes=NUM_CLASSES,
        min_size=min_size,
        max_size=max_size,
    )
    detector.eval()
    return detector


def build_same_network(baseline: BaselineModel) -> FasterRCNN:
    """Return this project's model with the network, weights and sizes of ``build_baseline``'s.

    In float32 it returns the same boxes, up to rounding.

    Args:
        baseline: its tensors are copied.
    """
    resize = Resize(
        "fit", baseline.transform.min_size[-1], baseline.transform.max_size, antialias=False
    )
    config = BASELINE_NETWORK
    network = build_network(config)
    fit(network, baseline.state_dict(), f"torchvision's {BASELINE_MODEL}")
    decoder = build_decoder(config, BASELINE_INFERENCE)
    roi_align = replace(decoder.roi_align, num_pooled=NUM_POOLED)
    transform = BaselineTransform(resize, config.mean, config.std, config.size_divisor)
    model = FasterRCNN(transform, network, replace(decoder, roi_align=roi_align))
    model.eval()
    return model
