"""The training losses of both stages, computed for a whole batch at once.

Sizes are fixed and masks select what counts, so that the number of operators does not depend on the
number of pictures and no step synchronises with a GPU. Masked values contribute exactly zero to a
loss and its gradient, whatever the network outputs there.
"""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's users know
from torch import Generator, Tensor

from head_detection.config import RoiTrainingConfig, RpnTrainingConfig
from head_detection.models.box_regression import (
    ROI_WEIGHTS,
    RPN_WEIGHTS,
    BoxLoss,
    CodeWeights,
    box_losses,
    decode_boxes,
    encode_boxes,
    paired_iou,
)
from head_detection.models.matching import NEITHER, BoxMatcher, best_heads
from head_detection.models.sampling import BalancedSampler
from head_detection.models.targets import Targets

NUM_CLASSES = 2
"""Background and head."""
LOOSE_IOU = 0.5
TIGHT_IOU = 0.9
LEAST_TARGET = 0.4
"""The score of a head whose box overlaps it by ``LOOSE_IOU``; from ``TIGHT_IOU`` on it is 1."""
RPN_BETA = 1 / 9
"""torchvision's beta of the smooth L1 loss of the first stage."""


class Samples(NamedTuple):
    """The boxes that the second stage is trained on: S slots per picture, in network pixels."""

    boxes: Annotated[Tensor, "b s 4"]
    """``(B, S, 4)`` float32 xyxy; (0, 0, 1, 1) in empty slots, so that they can be pooled."""
    mask: Annotated[Tensor, "b s"]
    """``(B, S)`` bool: whether the slot is filled: first heads, then background, then empty."""
    labels: Annotated[Tensor, "b s"]
    """``(B, S)`` int64: 1 for heads, 0 for background and empty slots."""
    regression: Annotated[Tensor, "b s 4"]
    """``(B, S, 4)`` float32: codes of the head that each head box matches; 0 for other slots."""


@dataclass(frozen=True)
class RpnLoss:
    """torchvision's losses of the region proposal network, leaving out ignored regions.

    Args:
        matcher: matches anchors with heads.
        sampler: samples anchors.
    """

    matcher: BoxMatcher
    sampler: BalancedSampler

    def __call__(
        self,
        anchors: Annotated[Tensor, "a 4"],
        objectness: Annotated[Tensor, "b a"],
        deltas: Annotated[Tensor, "b a 4"],
        targets: Targets,
        generator: Generator | None = None,
    ) -> dict[str, Tensor]:
        """Return ``loss_objectness`` and ``loss_rpn_box_reg``, float32 scalars.

        Both are means over the sampled anchors of the batch; 0, with a gradient of 0, if ignored
        regions leave none to sample.

        Args:
            anchors: ``(A, 4)`` xyxy float32 in network pixels, the same for every picture.
            objectness: ``(B, A)`` logits, in the order of the anchors.
            deltas: ``(B, A, 4)``, in the order of the anchors.
            targets: of B pictures, in network pixels.
            generator: of the sampling; torch's own where None.
        """
        sampled = self.sampler.sample(self.matcher.label(anchors, targets), generator)
        boxes, is_positive = anchors[sampled.indices], sampled.is_positive
        codes = _regression_targets(boxes, is_positive, targets, RPN_WEIGHTS)
        logits = _only(objectness.gather(1, sampled.indices), sampled.is_sampled)
        chosen = deltas.gather(1, sampled.indices[..., None].expand(-1, -1, 4))
        cross_entropies = F.binary_cross_entropy_with_logits(
            logits, is_positive.float(), reduction="none"
        )
        box_loss = F.smooth_l1_loss(
            _only(chosen, is_positive), codes, beta=RPN_BETA, reduction="sum"
        )
        count = sampled.is_sampled.sum().clamp(min=1)
        return {
            "loss_objectness": _only(cross_entropies, sampled.is_sampled).sum() / count,
            "loss_rpn_box_reg": box_loss / count,
        }


@dataclass(frozen=True)
class RoiLoss:
    """The sampling and the losses of the second stage.

    Args:
        matcher: matches proposals with heads.
        sampler: samples proposals.
        num_hardest: number of RoIs of the batch, those of highest loss, that the classification
            loss uses; 0 means all.
        box_loss: smooth L1 of the codes, or generalised or complete IoU of the boxes.
        box_loss_beta: smooth L1 is quadratic below this and linear above.
        box_loss_weight: factor of ``loss_box_reg``.
        learns_iou: the score of a head learns how well its box is placed, as ``placement_targets``.
        adds_heads: true heads are among the proposals.
    """

    matcher: BoxMatcher
    sampler: BalancedSampler
    num_hardest: int = 0
    box_loss: BoxLoss = "smooth_l1"
    box_loss_beta: float = 1.0
    box_loss_weight: float = 1.0
    learns_iou: bool = False
    adds_heads: bool = True

    @torch.no_grad()
    def sample(
        self,
        proposals: Annotated[Tensor, "b p 4"],
        is_valid: Annotated[Tensor, "b p"],
        targets: Targets,
        generator: Generator | None = None,
    ) -> Samples:
        """Sample the boxes to pool and score, without gradients.

        Args:
            proposals: ``(B, P, 4)`` xyxy float32 in network pixels; any values in invalid slots.
            is_valid: ``(B, P)`` bool: whether the slot holds a proposal.
            targets: of B pictures, in network pixels.
            generator: of the sampling; torch's own where None.
        """
        boxes = proposals
        if self.adds_heads:
            heads, is_head = targets.padded_boxes()
            boxes = torch.cat((proposals, heads), dim=1)
            is_valid = torch.cat((is_valid, is_head), dim=1)
        labels = self.matcher.label(boxes, targets).masked_fill(~is_valid, NEITHER)
        indices, mask, is_positive = self.sampler.sample(labels, generator)
        chosen = _boxes_or_unit(boxes.gather(1, indices[..., None].expand(-1, -1, 4)), mask)
        codes = _regression_targets(chosen, is_positive, targets, ROI_WEIGHTS)
        return Samples(chosen, mask, is_positive.long(), codes)

    def __call__(
        self, logits: Annotated[Tensor, "n 2"], deltas: Annotated[Tensor, "n 8"], samples: Samples
    ) -> dict[str, Tensor]:
        """Return ``loss_classifier`` and ``loss_box_reg``, float32 scalars.

        They are means over the sampled RoIs of the batch, or the hardest of them; 0, with a
        gradient of 0, if none was sampled.

        Args:
            logits: ``(N, 2)`` background and head, N = B * S, picture by picture as
                ``samples.boxes.flatten(0, 1)``.
            deltas: ``(N, 8)``, four per class.
            samples: the boxes that were pooled.
        """
        mask, labels = samples.mask.flatten(), samples.labels.flatten()
        boxes, codes = samples.boxes.flatten(0, 1), samples.regression.flatten(0, 1)
        is_positive = labels > 0
        moves = _only(deltas.unflatten(1, (NUM_CLASSES, 4))[:, 1], is_positive)
        losses = box_losses(self.box_loss, moves, codes, boxes, ROI_WEIGHTS, self.box_loss_beta)
        # The IoU loss of a box with itself is only nearly 0, so mask it again.
        box_loss = _only(losses, is_positive).sum() / mask.sum().clamp(min=1)
        wanted = labels
        if self.learns_iou:
            wanted = placement_targets(moves.detach(), codes, boxes).masked_fill(~is_positive, 0.0)
        return {
            "loss_classifier": hardest_mean_loss(logits, wanted, mask, self.num_hardest),
            "loss_box_reg": self.box_loss_weight * box_loss,
        }


def placement_targets(
    moves: Annotated[Tensor, "n 4"],
    codes: Annotated[Tensor, "n 4"],
    boxes: Annotated[Tensor, "n 4"],
) -> Annotated[Tensor, "n"]:
    """Return ``(N,)`` what scores learn: .4 to 1, by the overlap of the placed box with its head.

    A detector whose scores say how well boxes are placed ranks the best of them first, in
    suppression, in voting, and in the order of its answers.

    Args:
        moves: ``(N, 4)`` predicted codes.
        codes: ``(N, 4)`` true codes.
        boxes: ``(N, 4)`` xyxy, which the codes move.

    Source:
        Zhang et al., VarifocalNet, CVPR 2021, section 3.1, where the target is the IoU itself. Here
        even a badly placed head scores above what is none.

    Example:
        >>> box, still = torch.tensor([[0.0, 0, 10, 10]]), torch.zeros(1, 4)
        >>> shifted = torch.tensor([[1.0, 0, 0, 0]])  # a tenth of the width: IoU 9/11
        >>> [round(placement_targets(shifted, c, box).item(), 3) for c in (shifted, still)]
        [1.0, 0.877]
    """
    placed, heads = (decode_boxes(own, boxes, ROI_WEIGHTS) for own in (moves, codes))
    share = (paired_iou(placed, heads) - LOOSE_IOU) / (TIGHT_IOU - LOOSE_IOU)
    return LEAST_TARGET + (1 - LEAST_TARGET) * share.clamp(0, 1)


def hardest_mean_loss(
    logits: Annotated[Tensor, "n 2"],
    wanted: Annotated[Tensor, "n"],
    mask: Annotated[Tensor, "n"],
    num_hardest: int,
) -> Annotated[Tensor, ""]:
    """Return the mean cross-entropy of the hardest RoIs of the batch, 0 if there are none.

    Args:
        logits: ``(N, 2)``.
        wanted: ``(N,)`` int64 labels, or float32 scores in 0..1.
        mask: ``(N,)`` bool: whether the RoI counts.
        num_hardest: number of RoIs; 0 means all. HeadHunter intended 500, but kept
            ``min(N, N * 500)``, which is all.

    Source:
        Shrivastava et al., Training Region-based Object Detectors with Online Hard Example
        Mining, CVPR 2016.

    Example:
        >>> logits = torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 0.0]])
        >>> labels = torch.tensor([0, 0, 1])
        >>> round(hardest_mean_loss(logits, labels, labels >= 0, 2).item(), 4)
        0.6931
    """
    if wanted.is_floating_point():
        wanted = torch.stack((1 - wanted, wanted), dim=1)
    losses = F.cross_entropy(_only(logits, mask), wanted, reduction="none")
    if num_hardest and num_hardest < len(losses):
        # RoIs that do not count rank as easier than any that do.
        losses, indices = losses.masked_fill(~mask, -1.0).topk(num_hardest)
        mask = mask[indices]
    return _only(losses, mask).sum() / mask.sum().clamp(min=1)


def build_rpn_loss(config: RpnTrainingConfig) -> RpnLoss:
    """Return the losses of the first stage with the thresholds and numbers of the config."""
    return RpnLoss(
        BoxMatcher(
            config.fg_iou_threshold, config.bg_iou_threshold, allow_low_quality_matches=True
        ),
        BalancedSampler(config.samples_per_image, config.positive_fraction),
    )


def build_roi_loss(config: RoiTrainingConfig, *, adds_heads: bool = True) -> RoiLoss:
    """Return the losses of the second stage with the thresholds and numbers of the config.

    Args:
        config: of the second stage.
        adds_heads: as ``RoiLoss``.
    """
    return RoiLoss(
        BoxMatcher(
            config.fg_iou_threshold, config.bg_iou_threshold, allow_low_quality_matches=False
        ),
        BalancedSampler(config.samples_per_image, config.positive_fraction),
        num_hardest=config.ohem,
        box_loss=config.box_loss,
        box_loss_beta=config.box_loss_beta,
        box_loss_weight=config.box_loss_weight,
        learns_iou=config.score_target == "iou",
        adds_heads=adds_heads,
    )


def _only(values: Tensor, mask: Tensor) -> Tensor:
    """Return float32 values, 0 and without a gradient where the mask is False, even for NaN.

    Args:
        values: of the shape of the mask, or with one more dimension at the end.
        mask: bool.
    """
    rest = ~mask if values.dim() == mask.dim() else ~mask[..., None]
    return values.float().masked_fill(rest, 0.0)


def _boxes_or_unit(boxes: Tensor, mask: Tensor) -> Tensor:
    """Return the ``(B, S, 4)`` boxes, with (0, 0, 1, 1) where the ``(B, S)`` mask is False."""
    unit = torch.arange(4, device=boxes.device) // 2
    return torch.where(mask[..., None], boxes, unit.to(boxes.dtype))


@torch.no_grad()
def _regression_targets(
    boxes: Tensor, is_positive: Tensor, targets: Targets, weights: CodeWeights
) -> Tensor:
    """Return ``(B, S, 4)`` codes from each positive box to the head it matches, 0 for others."""
    if not len(targets.boxes):
        return torch.zeros_like(boxes)
    heads = targets.boxes[best_heads(boxes, targets).clamp(min=0)]
    # Boxes that are not positive may have no area, and then no codes.
    return encode_boxes(
        _boxes_or_unit(boxes, is_positive), _boxes_or_unit(heads, is_positive), weights
    )
