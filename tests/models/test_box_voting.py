import torch
from head_detection.models.box_voting import vote as vote_by_overlap
from torchvision.ops import box_iou

from head_detection.config import parse_config
from head_detection.models.roi_heads import HeadRoIHeads

BOXES = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 2], [50, 50, 60, 60]])
SCORES = torch.tensor([0.6, 0.2, 0.9, 0.5])


def vote(boxes, scores, kept, iou_threshold):
    overlaps = box_iou(boxes[kept], boxes)
    return vote_by_overlap(overlaps, boxes, scores, kept, iou_threshold)


def test_boxes_that_overlap_vote_by_their_score_by_hand():
    # IoU with the first: 0.8 and 0.2; (0.6 * 10 + 0.2 * 8) / 0.8 = 9.5.
    placed = vote(BOXES, SCORES, torch.tensor([0, 3]), 0.8)
    torch.testing.assert_close(placed, torch.tensor([[0.0, 0, 10, 9.5], [50, 50, 60, 60]]))


def test_a_box_of_no_area_keeps_its_place():
    boxes = torch.tensor([[5.0, 5, 5, 5], [0, 0, 9, 9]])
    placed = vote(boxes, torch.tensor([0.3, 0.9]), torch.tensor([0]), 0.5)
    torch.testing.assert_close(placed, boxes[:1])


def test_nothing_kept_places_nothing():
    assert vote(BOXES, SCORES, torch.zeros(0, dtype=torch.int64), 0.5).shape == (0, 4)
    empty = torch.zeros(0, 4)
    assert vote(empty, torch.zeros(0), torch.zeros(0, dtype=torch.int64), 0.5).shape == (0, 4)


def test_boxes_keep_their_digits_under_autocast():
    # 8 bits of bfloat16 know no number between 1000 and 1004.
    boxes = torch.tensor([[1001.0, 1002, 1101, 1102], [1003, 1002, 1103, 1102]])
    with torch.autocast("cpu", torch.bfloat16):
        placed = vote(boxes, torch.tensor([0.5, 0.5]), torch.tensor([0]), 0.5)
    assert placed.tolist() == [[1002, 1002, 1102, 1102]]


def test_the_config_turns_voting_on():
    found = {}
    for enabled in ("false", "true"):
        overrides = [
            f"inference.suppression.box_voting.enabled={enabled}",
            "inference.suppression.box_voting.iou_threshold=0.8",
            "inference.suppression.detections_per_image=2",
        ]
        heads = HeadRoIHeads(parse_config({}, overrides).model, 4, [8]).eval()
        probabilities = torch.tensor([0.6, 0.2, 0.1, 0.5])
        logits = torch.stack([torch.zeros(4), torch.logit(probabilities)], dim=1)
        (result,) = heads.suppress(
            heads.candidates(logits, torch.zeros(4, 8), [BOXES], [(100, 100)])
        )
        found[enabled] = result["boxes"]
        torch.testing.assert_close(result["scores"], torch.tensor([0.6, 0.5]))
    torch.testing.assert_close(found["false"], BOXES[[0, 3]])
    torch.testing.assert_close(found["true"][:, 3], torch.tensor([9.5, 60.0]))
