import pytest
import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import complete_box_iou_loss, generalized_box_iou_loss

from head_detection.models.box_regression import (
    ROI_WEIGHTS,
    RPN_WEIGHTS,
    BoxLoss,
    CodeWeights,
    box_losses,
    ciou_losses,
    decode_boxes,
    encode_boxes,
    giou_losses,
)


def random_boxes(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(shape[0])
    corners = torch.rand(*shape, 2, generator=generator) * 40
    return torch.cat((corners, corners + 2 + torch.rand(*shape, 2, generator=generator) * 28), -1)


@pytest.mark.parametrize("weights", [RPN_WEIGHTS, ROI_WEIGHTS])
def test_codes_are_torchvisions(weights: CodeWeights) -> None:
    coder = BoxCoder((weights[0], weights[0], weights[1], weights[1]))
    boxes, heads = random_boxes(50), random_boxes(51)[:50]
    codes = encode_boxes(boxes, heads, weights)
    torch.testing.assert_close(codes, coder.encode_single(heads, boxes))
    torch.testing.assert_close(
        decode_boxes(codes * 3, boxes, weights), coder.decode_single(codes * 3, boxes)
    )
    torch.testing.assert_close(decode_boxes(codes, boxes, weights), heads, rtol=0, atol=1e-4)


def test_codes_by_hand() -> None:
    box, head = torch.tensor([10.0, 10, 20, 30]), torch.tensor([15.0, 20, 25, 40])
    # Centres (15, 20) and (20, 30): half a width to the right, half a height down, the same size.
    assert encode_boxes(box, head, (1.0, 1.0)).tolist() == [0.5, 0.5, 0.0, 0.0]
    assert encode_boxes(box, head, (10.0, 5.0)).tolist() == [5.0, 5.0, 0.0, 0.0]


def test_a_wild_code_is_held() -> None:
    box = torch.tensor([0.0, 0, 16, 16])
    wild = decode_boxes(torch.tensor([0.0, 0, 1e4, 0]), box, RPN_WEIGHTS)
    torch.testing.assert_close(wild, torch.tensor([-492.0, 0, 508, 16]))  # 16 * 1000/16 wide


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [(giou_losses, generalized_box_iou_loss), (ciou_losses, complete_box_iou_loss)],
)
def test_iou_losses_and_their_gradients_are_torchvisions(mine, theirs) -> None:
    gradients = []
    values = []
    for losses in (mine, theirs):
        boxes = random_boxes(60, 5).requires_grad_()
        found = losses(boxes, random_boxes(61, 5)[:60])
        found.sum().backward()
        values.append(found.detach())
        gradients.append(boxes.grad)
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("kind", ["smooth_l1", "giou", "ciou"])
def test_losses_vanish_on_the_truth_and_grow_off_it(kind: BoxLoss) -> None:
    boxes, heads = random_boxes(20), random_boxes(21)[:20]
    codes = encode_boxes(boxes, heads, ROI_WEIGHTS)
    right = box_losses(kind, codes, codes, boxes, ROI_WEIGHTS, 1.0)
    off = box_losses(kind, codes + 0.5, codes, boxes, ROI_WEIGHTS, 1.0)
    assert right.shape == (20,)
    assert right.abs().max() < 1e-5
    assert (off > right + 1e-3).all()


def test_smooth_l1_by_hand() -> None:
    # Below beta 0.5 d^2 / beta, above d - beta / 2: 0.25 + 1.5, with beta 1 and 2 in turn.
    deltas, codes, box = torch.tensor([0.5, 2.0, 0, 0]), torch.zeros(4), torch.ones(4)
    for beta, expected in ((1.0, 0.125 + 1.5), (2.0, 0.0625 + 1.0)):
        loss = box_losses("smooth_l1", deltas, codes, box, RPN_WEIGHTS, beta)
        assert loss.item() == expected
