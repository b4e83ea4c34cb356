"""Weights files of the first format become files of today's."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from head_detection.config import ViewConfig
from head_detection.errors import WeightsError
from head_detection.models.version1 import read_version1
from head_detection.models.weights import read_description

LOOK = {"enlargement": 1.5, "mirrored": True, "smallest_head": None, "largest_head": 48.0}
VERSION1: dict[str, Any] = {
    "format_version": 1,
    "model": {
        "backbone": {"name": "resnet18", "strides": [8, 16], "fpn_width": 32},
        "anchors": {"preset": "crohd", "layout": "legacy"},
        "resize": {
            "policy": "fit", "min_sizes": [600, 700], "max_size": 1100, "enlargement": 2.0,
            "antialias": False, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "size_divisor": 16,
        },
        "rpn": {
            "pre_nms_top_n_train": 1, "pre_nms_top_n_test": 30, "post_nms_top_n_train": 2,
            "post_nms_top_n_test": 20, "nms_iou_threshold": 0.6, "fg_iou_threshold": 0.7,
            "bg_iou_threshold": 0.3, "samples_per_image": 5, "positive_fraction": 0.5,
            "score_threshold": 0.1,
        },
        "roi": {
            "pool_size": 5, "sampling_ratio": 1, "canonical_scale": 112, "box_head_width": 64,
            "fg_iou_threshold": 0.5, "bg_iou_threshold": 0.5, "samples_per_image": 9,
            "positive_fraction": 0.25, "ohem": 3, "box_loss": "giou", "box_loss_beta": 1.0,
            "box_loss_weight": 1.0, "score_threshold": 0.02, "nms_iou_threshold": 0.4,
            "soft_nms": {"enabled": True}, "box_voting": {"enabled": True},
            "detections_per_image": 70,
        },
        "more_looks": [LOOK],
        "coarse_look": {
            "enabled": True, "factor": 4, "smallest_head": 200.0, "smallest_picture": 512,
        },
        "upscale": True,
    },
    "score_threshold": 0.37,
    "class_names": ["head"],
    "training": {"commit": "abc"},
    "figures": {"ap50": 0.5, "street": {"num_heads": 7, "figures": {"coco": {"ap50": 0.4}}}},
    "licence": "none",
}  # fmt: skip


def write(path: Path, description: Any) -> Path:
    save_file({"a": torch.ones(2)}, path, metadata={"head_detection": json.dumps(description)})
    return path


def test_every_value_has_its_new_section(tmp_path: Path) -> None:
    tensors, new = read_version1(write(tmp_path / "old.safetensors", VERSION1))
    assert tensors["a"].tolist() == [1.0, 1.0]
    network, inference = new.network, new.inference
    assert (network.backbone.name, network.backbone.strides) == ("resnet18", (8, 16))
    assert (network.anchors.preset, network.upscale) == ("crohd", True)
    assert (network.mean, network.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert network.size_divisor == 16
    head = network.box_head
    assert (head.pool_size, head.sampling_ratio, head.canonical_scale, head.width) == (
        5,
        1,
        112,
        64,
    )
    resize = inference.resize
    assert (resize.policy, resize.min_size, resize.max_size) == ("fit", 700, 1100)
    assert (resize.enlargement, resize.antialias) == (2.0, False)
    proposals = inference.proposals
    assert (proposals.pre_nms_top_n, proposals.post_nms_top_n) == (30, 20)
    assert (proposals.nms_iou_threshold, proposals.score_threshold) == (0.6, 0.1)
    suppression = inference.suppression
    assert (suppression.score_threshold, suppression.nms_iou_threshold) == (0.02, 0.4)
    assert suppression.soft_nms.enabled
    assert suppression.box_voting.enabled
    assert suppression.detections_per_image == 70
    assert inference.largest_head == 200.0
    assert inference.views == (
        ViewConfig(scale=1.5, mirrored=True, largest_head=48.0),
        ViewConfig(scale=0.25, smallest_head=200.0, min_score=0.1),
    )
    assert inference.score_threshold == 0.37
    street = {"num_heads": 7, "metrics": {"coco": {"ap50": 0.4}}}
    assert new.training == {"commit": "abc"}
    assert new.metrics == {"ap50": 0.5, "street": street}
    assert (new.class_names, new.licence, new.format_version) == (("head",), "none", 2)


def test_a_file_of_the_first_format_is_not_read_otherwise(tmp_path: Path) -> None:
    path = write(tmp_path / "old.safetensors", VERSION1)
    with pytest.raises(WeightsError, match=r"version 2; got 1: convert the file"):
        read_description(path)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"format_version": 2}, "expected format version 1; got 2"),
        ([], "damaged"),
        ({"format_version": 1}, "damaged"),
        ({**VERSION1, "model": {**VERSION1["model"], "rpn": {}}}, "damaged"),
        ({**VERSION1, "licence": 5}, "damaged"),
    ],
)
def test_what_is_not_of_the_first_format_is_one_line(
    tmp_path: Path, description: Any, message: str
) -> None:
    with pytest.raises(WeightsError, match=message) as caught:
        read_version1(write(tmp_path / "x.safetensors", description))
    assert "\n" not in str(caught.value)
