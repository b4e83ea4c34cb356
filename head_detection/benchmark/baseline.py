"""The baseline, torchvision's stock detector, and its network as this project builds it."""

from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's users know
import torchvision
from torch import Tensor
from torchvision.models.detection import FasterRCNN as BaselineModel

from head_detection.config import (
    AnchorConfig,
    BackboneConfig,
    ModelConfig,
    ResizeConfig,
    RoiConfig,
    RpnConfig,
)
from head_detection.models.faster_rcnn import FasterRCNN, build_detector
from head_detection.models.roi_align import StrideMapper
from head_detection.models.roi_heads import NUM_CLASSES
from head_detection.models.transform import GeneralizedRCNNTransform
from head_detection.models.weights import fit

BASELINE_MODEL: Final = "fasterrcnn_resnet50_fpn"
BASELINE_CONFIG: Final = ModelConfig(
    backbone=BackboneConfig(name="resnet50", strides=(4, 8, 16, 32, 64), fpn_width=256),
    anchors=AnchorConfig(preset="coco", layout="legacy"),
    resize=ResizeConfig(policy="fit", min_sizes=(800,), max_size=1333, antialias=False),
    rpn=RpnConfig(pre_nms_top_n_test=1000, post_nms_top_n_test=1000, nms_iou_threshold=0.7),
    roi=RoiConfig(score_threshold=0.05, nms_iou_threshold=0.5, detections_per_image=100),
)
"""torchvision's defaults of that model."""
POOLED_STRIDES: Final = (4, 8, 16, 32)
"""torchvision pools no box from the level that is made by pooling."""


class BaselineTransform(GeneralizedRCNNTransform):
    """Samples as torchvision does where the scaled sides are no whole pixels."""

    def _resize(self, image: Tensor) -> Tensor:
        floating = image.float() / 255 if image.dtype == torch.uint8 else image
        resized: Tensor = F.interpolate(
            floating[None],
            scale_factor=self.scale_factor(image.shape[-2], image.shape[-1]),
            mode="bilinear",
            recompute_scale_factor=True,
            align_corners=False,
        )[0]
        return resized


def build_baseline(min_size: int = 800, max_size: int = 1333) -> BaselineModel:
    """Return torchvision's model for one class, of random weights, in evaluation mode.

    Args:
        min_size: network pixels of a picture's short side.
        max_size: network pixels of its long side at most.
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

    In float32 it gives the same boxes but for rounding.

    Args:
        baseline: its tensors are copied.
    """
    transform = baseline.transform
    resize = BASELINE_CONFIG.resize.model_copy(
        update={"min_sizes": tuple(transform.min_size), "max_size": transform.max_size}
    )
    model = build_detector(BASELINE_CONFIG.model_copy(update={"resize": resize}))
    model.transform = BaselineTransform(resize)
    pool = model.roi_heads.box_roi_pool
    pool.map_levels = StrideMapper(POOLED_STRIDES, pool.canonical_scale)
    fit(model, baseline.state_dict(), f"torchvision's {BASELINE_MODEL}")
    model.eval()
    return model
