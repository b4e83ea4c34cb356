"""Decoding the network's outputs to heads: proposals, pooling, candidates, suppression.

Nothing here has trained parameters. All pictures of a batch are processed together: sizes are
fixed, empty slots are scored ``EMPTY``, and the number of operators does not depend on the number
of pictures. On a CPU, empty slots are dropped before the costly parts. On a GPU they stay, because
counting them would synchronise.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's users know
from torch import Tensor

from head_detection.config import InferenceConfig, NetworkConfig
from head_detection.models.anchors import Anchors, build_anchors
from head_detection.models.box_regression import ROI_WEIGHTS, decode_boxes
from head_detection.models.calibration import SizeCalibration, build_calibration
from head_detection.models.network import DenseMaps
from head_detection.models.nms import EMPTY
from head_detection.models.proposals import (
    ImageSizes,
    ProposalLimits,
    Proposals,
    SizeRange,
    clip_boxes,
    empty_others,
    has_sides,
    propose,
)
from head_detection.models.roi_align import PyramidRoIAlign
from head_detection.models.roi_heads import NUM_CLASSES
from head_detection.models.suppression import Candidates, Heads, SoftNms, Suppression

SMALLEST_HEAD: Final = 1e-2
"""Heads thinner than this many network pixels are dropped, as torchvision does."""


@dataclass(frozen=True)
class Decoder:
    """Turns the maps of a network into heads; plain values, changed with ``replace``.

    Args:
        anchors: the boxes that the first stage moves.
        limits: limits of the proposals.
        roi_align: pools the features of boxes.
        suppression: suppression of the candidates.
        waits: whether it may synchronise to read sizes; None: only on a CPU, where that is free.
        calibration: calibration of the heads' scores; None: none.
    """

    anchors: Anchors
    limits: ProposalLimits
    roi_align: PyramidRoIAlign
    suppression: Suppression
    waits: bool | None = None
    calibration: SizeCalibration | None = None

    def with_score_threshold(self, score_threshold: float) -> "Decoder":
        """Return a copy with another score threshold."""
        suppression = replace(self.suppression, score_threshold=score_threshold)
        return replace(self, suppression=suppression)

    def with_room(self, room: int) -> "Decoder":
        """Return a copy whose limits may grow by a factor on a device that is not synchronised.

        Args:
            room: the factor, a power of two; larger is slower.
        """
        limits = replace(self.limits, room=room)
        return replace(self, limits=limits, suppression=replace(self.suppression, room=room))

    @torch.no_grad()
    def propose(
        self,
        maps: DenseMaps,
        padded_size: tuple[int, int],
        image_sizes: ImageSizes,
        *,
        limits: ProposalLimits | None = None,
        sizes: SizeRange | None = None,
    ) -> Proposals:
        """Return the likeliest boxes of each picture, as ``proposals.propose`` does.

        Args:
            maps: float32.
            padded_size: ``(height, width)`` of the batch.
            image_sizes: of its pictures.
            limits: instead of the decoder's own.
            sizes: proposals outside this range are left to other views; None: keep all.
        """
        limits = self.limits if limits is None else limits
        waits = self.may_wait_for(maps.objectness[0].device)
        return propose(
            self.anchors, limits, maps, padded_size, image_sizes, waits=waits, sizes=sizes
        )

    def pool(
        self,
        features: Sequence[Annotated[Tensor, "b c _ _"]],
        boxes: Annotated[Tensor, "b p 4"],
        rows: Annotated[Tensor, "m"] | None,
    ) -> Annotated[Tensor, "m c s s"]:
        """Return ``(M, C, S, S)`` float32, the input of the second stage.

        Args:
            features: ``(B, C, H_i, W_i)`` float32, finest first.
            boxes: ``(B, P, 4)`` xyxy in network pixels.
            rows: ``(M,)`` indices of the B*P boxes to pool, as in ``Proposals``. None pools all:
                M = B*P.
        """
        batch, count = boxes.shape[:2]
        flat = boxes.flatten(0, 1)
        if rows is None:
            rows = torch.arange(batch * count, device=boxes.device)
        else:
            flat = flat.index_select(0, rows)
        image = rows.div(max(count, 1), rounding_mode="floor")
        return self.roi_align(features, flat, image)

    def candidates(
        self,
        logits: Annotated[Tensor, "m 2"],
        deltas: Annotated[Tensor, "m 8"],
        proposals: Proposals,
        image_sizes: ImageSizes,
    ) -> Candidates:
        """Return the candidates for heads, in network pixels.

        Args:
            logits: ``(M, 2)`` float32, background and head, for the boxes that ``pool`` pooled.
            deltas: ``(M, 8)`` float32, four per class.
            proposals: the proposals that were pooled.
            image_sizes: of the pictures.
        """
        codes = deltas.unflatten(1, (NUM_CLASSES, 4))[:, 1]
        likelihoods = F.softmax(logits, dim=1)[:, 1]
        shape = proposals.scores.shape
        if proposals.rows is None:
            codes, scores = codes.view(*shape, 4), likelihoods.view(shape)
        else:
            slots = codes.new_zeros((shape.numel(), 4))
            codes = slots.index_copy(0, proposals.rows, codes).view(*shape, 4)
            slots = likelihoods.new_full((shape.numel(),), EMPTY)
            scores = slots.index_copy(0, proposals.rows, likelihoods).view(shape)
        boxes = clip_boxes(decode_boxes(codes, proposals.boxes, ROI_WEIGHTS), image_sizes)
        is_likely = (scores > self.suppression.score_threshold) & proposals.is_filled
        is_likely &= has_sides(boxes, SMALLEST_HEAD)
        boxes, scores = empty_others(boxes, scores, is_likely)
        return Candidates(boxes, scores, is_settled=proposals.is_settled, is_cut=proposals.is_cut)

    def chosen(self, is_wanted: Annotated[Tensor, "b"] | None) -> list[int] | None:
        """Return which pictures are viewed again; None: all, also if reading it would synchronise.

        Args:
            is_wanted: ``(B,)`` bool.
        """
        if is_wanted is None or not self.may_wait_for(is_wanted.device):
            return None
        indices: list[int] = np.flatnonzero(is_wanted.cpu().numpy()).tolist()
        return indices

    def suppress(self, candidates: Candidates) -> Heads:
        """Return one box per head, in the pixels of the candidates, by descending score."""
        heads = self.suppression(candidates, waits=self.may_wait_for(candidates.scores.device))
        return heads if self.calibration is None else self.calibration(heads)

    def may_wait_for(self, device: torch.device) -> bool:
        """Tell whether reading sizes from this device is allowed."""
        return device.type == "cpu" if self.waits is None else self.waits


def build_decoder(network: NetworkConfig, inference: InferenceConfig) -> Decoder:
    """Return the decoder that the configs describe.

    Raises:
        ConfigError: anchors that do not fit the pyramid.
    """
    strides, box_head = network.backbone.strides, network.box_head
    suppression = inference.suppression
    soft_nms = suppression.soft_nms
    voting = suppression.box_voting
    return Decoder(
        build_anchors(network.anchors, len(strides)),
        build_limits(inference),
        PyramidRoIAlign(
            tuple(stride / (2 if network.upscale else 1) for stride in strides),
            box_head.pool_size,
            box_head.sampling_ratio,
            box_head.canonical_scale,
        ),
        Suppression(
            suppression.score_threshold,
            suppression.nms_iou_threshold,
            suppression.detections_per_image,
            SoftNms(soft_nms.sigma, soft_nms.score_threshold) if soft_nms.enabled else None,
            voting.iou_threshold if voting.enabled else None,
            grows=inference.growing_limits,
        ),
        calibration=build_calibration(inference.calibration),
    )


def build_limits(inference: InferenceConfig) -> ProposalLimits:
    """Return the limits of the proposals that the config describes."""
    proposals = inference.proposals
    return ProposalLimits(
        proposals.pre_nms_top_n,
        proposals.post_nms_top_n,
        proposals.nms_iou_threshold,
        proposals.score_threshold,
        grows=inference.growing_limits,
    )
