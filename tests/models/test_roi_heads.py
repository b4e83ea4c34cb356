import math

import pytest
import torch
from torch import Tensor

from head_detection.config import ModelConfig, parse_config
from head_detection.models.roi_heads import HeadRoIHeads, hardest_mean_loss


def roi_heads(*overrides: str) -> HeadRoIHeads:
    config: ModelConfig = parse_config({}, ["network.box_head.width=16", *overrides]).model
    return HeadRoIHeads(config, 4, [8])


def logits_of(probabilities: list[float]) -> torch.Tensor:
    head = torch.tensor(probabilities)
    return torch.stack((torch.zeros_like(head), torch.log(head / (1 - head))), dim=1)


def test_ohem_keeps_the_k_hardest_by_hand() -> None:
    # Probabilities of the head for true background: the loss of each is -log(1 - p).
    logits, labels = logits_of([0.5, 0.75, 0.875]), torch.zeros(3, dtype=torch.int64)
    losses = [math.log(2), math.log(4), math.log(8)]
    assert hardest_mean_loss(logits, labels, 0).item() == pytest.approx(sum(losses) / 3)
    assert hardest_mean_loss(logits, labels, 2).item() == pytest.approx(sum(losses[1:]) / 2)
    assert hardest_mean_loss(logits, labels, 1).item() == pytest.approx(losses[2])
    assert hardest_mean_loss(logits, labels, 99).item() == pytest.approx(sum(losses) / 3)


def test_the_ohem_of_the_config_reaches_the_loss() -> None:
    deltas, labels = torch.zeros(3, 8), [torch.zeros(3, dtype=torch.int64)]
    proposals, targets = [torch.tensor([[0.0, 0, 9, 9]] * 3)], [torch.zeros(3, 4)]
    logits = logits_of([0.5, 0.75, 0.875])
    losses = {
        keep: roi_heads(f"training.roi.ohem={keep}")
        ._losses(logits, deltas, proposals, labels, targets)["loss_classifier"]
        .item()
        for keep in (0, 1)
    }
    assert losses[1] == pytest.approx(math.log(8))
    assert losses[0] < losses[1]


@pytest.mark.parametrize("kind", ["smooth_l1", "giou", "ciou"])
def test_box_losses_vanish_on_the_truth_and_grow_off_it(kind: str) -> None:
    heads = roi_heads(f"training.roi.box_loss={kind}", "training.roi.box_loss_weight=2.0")
    proposals, labels = [torch.tensor([[10.0, 10, 30, 30]])], [torch.ones(1, dtype=torch.int64)]
    target = heads.box_coder.encode([torch.tensor([[12.0, 9, 33, 31]])], proposals)
    right = torch.cat((torch.zeros(1, 4), target[0]), dim=1)
    logits = torch.zeros(1, 2)
    exact = heads._losses(logits, right, proposals, labels, list(target))["loss_box_reg"].item()
    off = heads._losses(logits, right * 0, proposals, labels, list(target))["loss_box_reg"].item()
    assert exact == pytest.approx(0, abs=1e-5)
    assert off > 0.05


def test_proposals_in_ignored_regions_are_not_sampled_and_heads_are() -> None:
    heads = roi_heads().train()
    target = {
        "boxes": torch.tensor([[40.0, 40, 60, 60]]),
        "labels": torch.ones(1, dtype=torch.int64),
        "ignore_boxes": torch.tensor([[0.0, 0, 20, 20]]),
    }
    proposals = [torch.tensor([[1.0, 1, 15, 15], [100, 100, 120, 120], [41, 41, 60, 60]])]
    heads._targets = [target]
    sampled, _, labels, _ = heads.select_training_samples(proposals, [target])
    pairs = {
        tuple(box): label
        for box, label in zip(sampled[0].tolist(), labels[0].tolist(), strict=True)
    }
    assert pairs == {(100, 100, 120, 120): 0, (41, 41, 60, 60): 1, (40, 40, 60, 60): 1}


def finish(heads: HeadRoIHeads, logits: Tensor, proposals: Tensor) -> dict[str, Tensor]:
    """Return the heads of one picture of 400 pixels; proposals stay where they are."""
    still = torch.zeros(len(proposals), 8)
    (found,) = heads.suppress(heads.candidates(logits, still, [proposals], [(400, 400)]))
    return found


def test_more_than_300_heads_are_kept() -> None:
    heads = roi_heads("inference.suppression.detections_per_image=1000").eval()
    corners = torch.cartesian_prod(torch.arange(20.0), torch.arange(20.0)) * 12
    proposals = torch.cat((corners, corners + 10), dim=1)
    found = finish(heads, logits_of([0.9] * 400), proposals)
    assert len(found["boxes"]) == len(found["scores"]) == len(found["labels"]) == 400
    torch.testing.assert_close(found["boxes"].sort(0).values, proposals.sort(0).values)


def test_limit_threshold_and_nms_of_the_config() -> None:
    proposals = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60], [80, 0, 90, 10]])
    logits = logits_of([0.9, 0.8, 0.7, 0.04])
    found = finish(roi_heads(), logits, proposals)
    torch.testing.assert_close(found["scores"], torch.tensor([0.9, 0.7]))
    torch.testing.assert_close(found["boxes"], proposals[[0, 2]])
    one = roi_heads("inference.suppression.detections_per_image=1")
    assert len(finish(one, logits, proposals)["boxes"]) == 1


def test_soft_nms_of_the_config_keeps_the_overlapping_box_with_a_lower_score() -> None:
    heads = roi_heads(
        "inference.suppression.soft_nms.enabled=true", "inference.suppression.soft_nms.sigma=0.5"
    )
    found = finish(heads, logits_of([0.9, 0.8]), torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10]]))
    assert len(found["boxes"]) == 2
    torch.testing.assert_close(found["scores"], torch.tensor([0.9, 0.8 * math.exp(-2)]))


def test_no_proposals() -> None:
    found = finish(roi_heads(), torch.zeros(0, 2), torch.zeros(0, 4))
    assert [found[key].shape for key in ("boxes", "scores", "labels")] == [(0, 4), (0,), (0,)]
    assert hardest_mean_loss(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), 5) == 0


def test_a_gpu_is_waited_for_once_a_picture(count_waits) -> None:
    heads = HeadRoIHeads(parse_config({}).model, 4, [8]).eval()
    boxes = [torch.tensor([[0.0, 0, 9, 9]])] * 3
    maps = torch.zeros(3, 2), torch.zeros(3, 8)
    # torchvision's box coder makes two tensors of numbers.
    assert count_waits(lambda: heads.candidates(*maps, boxes, [(20, 20)] * 3)) == 2 + 3


def test_a_box_without_area_is_no_head() -> None:
    heads = HeadRoIHeads(parse_config({}).model, 4, [8]).eval()
    boxes = [torch.tensor([[5.0, 5, 5, 9], [0, 0, 9, 9]])]
    logits = torch.tensor([[0.0, 9], [0, 9]])
    (found,) = heads.candidates(logits, torch.zeros(2, 8), boxes, [(20, 20)])
    torch.testing.assert_close(found["boxes"], boxes[0][1:])
