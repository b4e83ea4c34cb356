import pytest
import torch
from torch import Tensor
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

from head_detection.config import parse_config
from head_detection.models.faster_rcnn import FasterRCNN, build_detector

TINY = [
    "network.backbone.name=mobilenet0.25",
    "network.backbone.fpn_width=16",
    "network.box_head.width=16",
    "network.anchors.sizes=[[8], [16], [32], [64]]",
]


def tiny(*overrides: str) -> FasterRCNN:
    torch.manual_seed(0)
    return build_detector(parse_config({}, [*TINY, *overrides]).model)


def target(boxes: list[list[float]], ignore: list[list[float]] | None = None) -> dict[str, Tensor]:
    return {
        "boxes": torch.tensor(boxes).reshape(-1, 4),
        "labels": torch.ones(len(boxes), dtype=torch.int64),
        "ignore_boxes": torch.tensor(ignore or []).reshape(-1, 4),
    }


def test_it_is_a_torchvision_detector() -> None:
    model = tiny()
    assert isinstance(model, GeneralizedRCNN)
    losses = model([torch.rand(3, 96, 96)], [target([[10, 10, 40, 40]])])
    assert set(losses) == {
        "loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg",
    }  # fmt: skip
    found = model.eval()([torch.rand(3, 96, 96), torch.rand(3, 64, 128)])
    assert [set(heads) for heads in found] == [{"boxes", "labels", "scores"}] * 2
    for heads in found:
        assert bool((heads["scores"].diff() <= 0).all())


def test_a_picture_without_heads_gives_negatives_only() -> None:
    losses = tiny()([torch.rand(3, 96, 96), torch.rand(3, 96, 96)], [target([]), target([])])
    assert losses["loss_box_reg"].item() == 0
    assert losses["loss_rpn_box_reg"].item() == 0
    assert losses["loss_classifier"].item() > 0
    sum(losses.values()).backward()


def test_a_batch_of_full_empty_and_ignored_pictures_trains() -> None:
    model = tiny()
    images = [torch.rand(3, 96, 96), torch.rand(3, 80, 64), torch.rand(3, 64, 64)]
    losses = model(
        images, [target([[5, 5, 30, 30]]), target([]), target([], ignore=[[0, 0, 64, 64]])]
    )
    total = sum(losses.values())
    assert bool(torch.isfinite(total))
    total.backward()


def test_a_wholly_ignored_picture_teaches_the_network_nothing() -> None:
    model = tiny()
    everything = [[-500.0, -500, 500, 500]]
    losses = model([torch.rand(3, 64, 64)], [target([], ignore=everything)])
    assert losses["loss_classifier"].item() == 0
    assert losses["loss_box_reg"].item() == 0
    # torchvision takes the mean over no sampled anchor: not a number, unless this is handled.
    assert losses["loss_objectness"].item() == 0
    assert losses["loss_rpn_box_reg"].item() == 0
    sum(losses.values()).backward()


@pytest.mark.parametrize("upscale", ["true", "false"])
@pytest.mark.parametrize("context", ["none", "ssh", "cpm", "deform_ssh"])
def test_every_context_with_and_without_upscaling(context: str, upscale: str) -> None:
    model = tiny(f"network.backbone.context={context}", f"network.upscale={upscale}")
    losses = model([torch.rand(3, 64, 64)], [target([[5, 5, 30, 30]])])
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in model.backbone.fpn.parameters())
    assert model.eval()([torch.rand(3, 64, 64)])[0]["boxes"].shape[1] == 4


def test_results_are_float32_under_bfloat16() -> None:
    model = tiny()
    image = torch.rand(3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        losses = model([image], [target([[5, 5, 30, 30]])])
        found = model.eval()([image])[0]
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    assert found["boxes"].dtype == found["scores"].dtype == torch.float32


def test_boxes_stay_inside_the_picture() -> None:
    found = tiny("inference.suppression.score_threshold=0.0").eval()([torch.rand(3, 50, 70)])[0][
        "boxes"
    ]
    assert len(found)
    assert bool((found >= 0).all())
    assert bool((found[:, 2] <= 70).all())
    assert bool((found[:, 3] <= 50).all())


def test_the_limit_of_the_config_is_the_only_one() -> None:
    model = tiny(
        "inference.suppression.score_threshold=0.0", "inference.suppression.nms_iou_threshold=1.0",
        "inference.proposals.nms_iou_threshold=1.0",
    ).eval()  # fmt: skip
    assert len(model([torch.rand(3, 160, 160)])[0]["boxes"]) > 300
