"""A network small enough for tests of whole commands."""

from pathlib import Path

import pytest
import torch

from head_detection.config import parse_config
from head_detection.models.faster_rcnn import build_detector
from head_detection.models.weights import WeightsDescription, save_weights


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of an untrained network: they find nothing sensible, quickly."""
    config = parse_config(
        {},
        [
            "model.backbone.name=mobilenet0.25",
            "model.backbone.fpn_width=8",
            "model.roi.box_head_width=16",
            "model.roi.score_threshold=0.0",
            "model.roi.detections_per_image=20",
            "model.anchors.sizes=[[8], [16], [32], [64]]",
        ],
    ).model
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, build_detector(config), WeightsDescription(model=config))
    return path
