"""Box regression: encoding and decoding of boxes, and the losses.

The formulas are torchvision's. Its functions copy weights to the device on each call and index with
masks, and both synchronise with a GPU. These do neither, and take any leading dimensions.
"""

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's users know
from torch import Tensor

BoxLoss = Literal["smooth_l1", "giou", "ciou"]
CodeWeights = tuple[float, float]
"""Factors on the codes of centres and of sizes."""
RPN_WEIGHTS: CodeWeights = (1.0, 1.0)
ROI_WEIGHTS: CodeWeights = (10.0, 5.0)
"""torchvision's and Fast R-CNN's: deltas of about unit variance."""
LARGEST_SIZE_CODE = math.log(1000.0 / 16)
"""torchvision's limit, which prevents overflow in ``exp``."""
SMALLEST_AREA = 1e-7
"""torchvision's ``eps``, which prevents division by zero for boxes without area."""


def encode_boxes(
    boxes: Annotated[Tensor, "*n 4"], heads: Annotated[Tensor, "*n 4"], weights: CodeWeights
) -> Annotated[Tensor, "*n 4"]:
    """Return ``(..., 4)`` codes: the offset of each box to its head, relative to the box's size.

    Args:
        boxes: ``(..., 4)`` xyxy with an area.
        heads: ``(..., 4)`` xyxy with an area, in the same pixels.
        weights: of the codes.

    Source:
        ``encode_boxes`` of torchvision's ``models/detection/_utils.py``; Girshick et al., Rich
        feature hierarchies, CVPR 2014, appendix C.

    Example:
        >>> box, head = torch.tensor([0.0, 0, 10, 10]), torch.tensor([5.0, 0, 15, 10])
        >>> encode_boxes(box, head, (10.0, 5.0)).tolist()
        [5.0, 0.0, 0.0, 0.0]
    """
    sizes, head_sizes = boxes[..., 2:] - boxes[..., :2], heads[..., 2:] - heads[..., :2]
    centers, head_centers = boxes[..., :2] + 0.5 * sizes, heads[..., :2] + 0.5 * head_sizes
    moves = weights[0] * (head_centers - centers) / sizes
    return torch.cat((moves, weights[1] * torch.log(head_sizes / sizes)), dim=-1)


def decode_boxes(
    codes: Annotated[Tensor, "*n 4"], boxes: Annotated[Tensor, "*n 4"], weights: CodeWeights
) -> Annotated[Tensor, "*n 4"]:
    """Return ``(..., 4)`` xyxy: the boxes moved by the codes, not clipped to a picture.

    Args:
        codes: ``(..., 4)``, as ``encode_boxes`` returns them.
        boxes: ``(..., 4)`` xyxy.
        weights: of the codes.

    Source:
        ``BoxCoder.decode_single`` of torchvision's ``models/detection/_utils.py``.

    Example:
        >>> decode_boxes(torch.tensor([5.0, 0, 0, 0]), torch.tensor([0.0, 0, 10, 10]), (10.0, 5.0))
        tensor([ 5.,  0., 15., 10.])
    """
    sizes = boxes[..., 2:] - boxes[..., :2]
    centers = codes[..., :2] / weights[0] * sizes + (boxes[..., :2] + 0.5 * sizes)
    halves = 0.5 * torch.exp((codes[..., 2:] / weights[1]).clamp(max=LARGEST_SIZE_CODE)) * sizes
    return torch.cat((centers - halves, centers + halves), dim=-1)


def box_losses(
    kind: BoxLoss,
    deltas: Annotated[Tensor, "*n 4"],
    codes: Annotated[Tensor, "*n 4"],
    boxes: Annotated[Tensor, "*n 4"],
    weights: CodeWeights,
    beta: float,
) -> Annotated[Tensor, "*n"]:
    """Return the ``(...)`` loss of each box.

    Args:
        kind: smooth L1 of the codes, or generalised or complete IoU of the decoded boxes.
        deltas: ``(..., 4)`` predicted codes.
        codes: ``(..., 4)`` true codes.
        boxes: ``(..., 4)`` xyxy, which the codes move.
        weights: of the codes.
        beta: smooth L1 is quadratic below this and linear above.
    """
    if kind == "smooth_l1":
        return F.smooth_l1_loss(deltas, codes, beta=beta, reduction="none").sum(dim=-1)
    predicted, truth = decode_boxes(deltas, boxes, weights), decode_boxes(codes, boxes, weights)
    return giou_losses(predicted, truth) if kind == "giou" else ciou_losses(predicted, truth)


def giou_losses(
    predicted: Annotated[Tensor, "*n 4"], truth: Annotated[Tensor, "*n 4"]
) -> Annotated[Tensor, "*n"]:
    """Return ``(...)`` in 0..2: 1 - IoU + the share of the enclosing box covered by neither box.

    Args:
        predicted: ``(..., 4)`` xyxy.
        truth: ``(..., 4)`` xyxy.

    Source:
        Rezatofighi et al., Generalized Intersection over Union, CVPR 2019; as
        ``torchvision.ops.generalized_box_iou_loss``.

    Example:
        >>> giou_losses(torch.tensor([0.0, 0, 1, 1]), torch.tensor([3.0, 0, 4, 1])).item()
        1.5
    """
    iou, union, enclosing = _overlap(predicted, truth)
    area = _area(enclosing)
    return 1 - (iou - (area - union) / (area + SMALLEST_AREA))


def paired_iou(
    predicted: Annotated[Tensor, "*n 4"], truth: Annotated[Tensor, "*n 4"]
) -> Annotated[Tensor, "*n"]:
    """Return ``(...)`` IoU of each box with its own counterpart.

    Args:
        predicted: ``(..., 4)`` xyxy.
        truth: ``(..., 4)`` xyxy.

    Example:
        >>> round(paired_iou(torch.tensor([0.0, 0, 2, 1]), torch.tensor([1.0, 0, 3, 1])).item(), 4)
        0.3333
    """
    return _overlap(predicted, truth)[0]


def ciou_losses(
    predicted: Annotated[Tensor, "*n 4"], truth: Annotated[Tensor, "*n 4"]
) -> Annotated[Tensor, "*n"]:
    """Return ``(...)``: 1 - IoU + distance of the centres + difference of the aspects.

    Args:
        predicted: ``(..., 4)`` xyxy with a height.
        truth: ``(..., 4)`` xyxy with a height.

    Source:
        Zheng et al., Enhancing Geometric Factors, arXiv:2005.03572; as
        ``torchvision.ops.complete_box_iou_loss``.

    Example:
        >>> loss = ciou_losses(torch.tensor([0.0, 0, 1, 1]), torch.tensor([3.0, 0, 4, 1]))
        >>> round(loss.item(), 4)  # 1 + 9/17
        1.5294
    """
    iou, _, enclosing = _overlap(predicted, truth)
    sizes = torch.stack((predicted[..., 2:] - predicted[..., :2], truth[..., 2:] - truth[..., :2]))
    apart = (predicted - truth).unflatten(-1, (2, 2)).mean(dim=-2)
    distance = apart.square().sum(dim=-1) / (enclosing.square().sum(dim=-1) + SMALLEST_AREA)
    angles = torch.atan(sizes[..., 0] / sizes[..., 1])
    aspect = (4 / math.pi**2) * (angles[1] - angles[0]).square()
    with torch.no_grad():
        share = aspect / (1 - iou + aspect + SMALLEST_AREA)
    loss: Tensor = 1 - iou + distance + share * aspect
    return loss


def _overlap(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return IoU ``(...)``, area of the union ``(...)`` and enclosing box's sizes ``(..., 2)``."""
    top_left = torch.maximum(first[..., :2], second[..., :2])
    bottom_right = torch.minimum(first[..., 2:], second[..., 2:])
    intersection = _area((bottom_right - top_left).clamp(min=0))
    areas = [_area(boxes[..., 2:] - boxes[..., :2]) for boxes in (first, second)]
    union = areas[0] + areas[1] - intersection
    outer_top_left = torch.minimum(first[..., :2], second[..., :2])
    outer_bottom_right = torch.maximum(first[..., 2:], second[..., 2:])
    return intersection / (union + SMALLEST_AREA), union, outer_bottom_right - outer_top_left


def _area(sizes: Tensor) -> Tensor:
    """Return ``(...)`` for ``(..., 2)``; the gradient of ``prod`` would synchronise."""
    return sizes[..., 0] * sizes[..., 1]
