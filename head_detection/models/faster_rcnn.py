"""The detector: backbone, proposals, heads, and the transform around them."""

from pathlib import Path

from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

from head_detection.config import ModelConfig
from head_detection.models.backbones import BackBoneWithFPN, create_backbone
from head_detection.models.roi_heads import HeadRoIHeads
from head_detection.models.rpn import HeadProposalNetwork
from head_detection.models.transform import GeneralizedRCNNTransform
from head_detection.models.weights import WeightsDescription, WeightsError, fit, read_weights


class FasterRCNN(GeneralizedRCNN):
    """torchvision's two-stage detector with this project's parts.

    ``model(images, targets)`` gives a dict of losses in training; ``model(images)`` a list of
    ``{"boxes", "labels", "scores"}`` otherwise, boxes ``(N, 4)`` xyxy in original pixels, by
    falling score. Images are ``(3, H, W)`` each, uint8 or floating in 0..1.

    Source:
        Ren et al., Faster R-CNN, NeurIPS 2015, as torchvision builds it.
    """

    def __init__(self, backbone: BackBoneWithFPN, config: ModelConfig) -> None:
        super().__init__(
            backbone,
            HeadProposalNetwork(config, backbone.out_channels, len(backbone.strides)),
            HeadRoIHeads(config, backbone.out_channels, backbone.strides),
            GeneralizedRCNNTransform(config.resize),
        )
        self.config = config


def build_detector(config: ModelConfig) -> FasterRCNN:
    """Build the network that the config describes, in training mode.

    Raises:
        ValueError: parts that do not fit each other, or pretrained weights that do not fit.
    """
    return FasterRCNN(create_backbone(config.backbone), config)


def load_detector(path: str | Path) -> tuple[FasterRCNN, WeightsDescription]:
    """Build the network that a weights file describes and fill it: on CPU, in evaluation mode.

    Raises:
        WeightsError: no such file, another format, or tensors that do not fit. One line.
    """
    tensors, description = read_weights(path)
    # The file holds the body too: nothing is to be fetched for it.
    backbone = description.model.backbone.model_copy(update={"pretrained": False})
    config = description.model.model_copy(update={"backbone": backbone})
    try:
        model = build_detector(config)
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from error
    fit(model, tensors, str(path))
    return model.eval(), description
