import pytest
import torch
from torch import Tensor
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from head_detection.models import matching
from head_detection.models.matching import BoxMatcher, best_heads
from head_detection.models.targets import Targets, collect_targets

NOTHING = torch.zeros(0, 4)
COUNTS = ([4, 0, 1, 9], [0, 0], [30], [1, 1, 0])
RPN = BoxMatcher(0.7, 0.3, allow_low_quality_matches=True)
ROI = BoxMatcher(0.5, 0.5, allow_low_quality_matches=False)


def random_boxes(count: int, generator: torch.Generator, *, on_grid: bool) -> Tensor:
    """Boxes of 2 to 30 pixels; on a grid of whole pixels many overlap equally, and some twice."""
    corners = torch.rand(count, 2, generator=generator) * 40
    boxes = torch.cat((corners, corners + 2 + torch.rand(count, 2, generator=generator) * 28), 1)
    return (boxes / 4).round() * 4 + torch.tensor([0, 0, 4, 4]) if on_grid else boxes


def targets_of(heads: list[Tensor]) -> Targets:
    return collect_targets([{"boxes": boxes} for boxes in heads])


def torchvision_match(
    matcher: BoxMatcher, heads: Tensor, boxes: Tensor
) -> tuple[list[int], list[int]]:
    """Labels, and the matched head of each box that is a head, as torchvision's two stages do."""
    if not len(heads):
        return [0] * len(boxes), []
    theirs = Matcher(
        matcher.fg_iou_threshold, matcher.bg_iou_threshold, matcher.allow_low_quality_matches
    )
    matches = theirs(box_iou(heads, boxes))
    labels = (matches >= 0).long()
    labels[matches == Matcher.BETWEEN_THRESHOLDS] = -1
    return labels.tolist(), matches[matches >= 0].tolist()


@pytest.mark.parametrize("counts", COUNTS, ids=str)
@pytest.mark.parametrize("on_grid", [True, False])
@pytest.mark.parametrize("matcher", [RPN, ROI, BoxMatcher(0.6, 0.2, False)], ids=str)
@pytest.mark.parametrize("is_shared", [True, False])
def test_labels_and_matches_are_torchvisions(
    counts: list[int], on_grid: bool, matcher: BoxMatcher, is_shared: bool
) -> None:
    generator = torch.Generator().manual_seed(len(counts))
    heads = [random_boxes(count, generator, on_grid=on_grid) for count in counts]
    own = [random_boxes(200, generator, on_grid=on_grid) for _ in counts]
    if is_shared:
        own = own[:1] * len(counts)
    targets, boxes = targets_of(heads), own[0] if is_shared else torch.stack(own)
    labels, best = matcher.label(boxes, targets), best_heads(boxes, targets)
    assert labels.shape == best.shape == (len(counts), 200)
    for k, first_row in enumerate(torch.tensor([0, *counts]).cumsum(0)[:-1].tolist()):
        their_labels, their_matches = torchvision_match(matcher, heads[k], own[k])
        assert labels[k].tolist() == their_labels
        assert (best[k][labels[k] == 1] - first_row).tolist() == their_matches
        assert (best[k] == -1).all() == (not counts[k])


def test_overlaps_by_hand() -> None:
    # IoU with the first head: 1, 60/100, 40/100, 20/100, 0; the fifth is the second head's best.
    boxes = torch.tensor([[0.0, 0, 10, h] for h in (10, 6, 4, 2)] + [[50, 50, 60, 60]])
    targets = targets_of([torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 52]])])
    assert RPN.label(boxes, targets).tolist() == [[1, -1, -1, 0, 1]]
    assert ROI.label(boxes, targets).tolist() == [[1, 1, 0, 0, 0]]
    assert best_heads(boxes, targets).tolist() == [[0, 0, 0, 0, 1]]


def test_a_head_that_no_box_meets_does_as_in_torchvision() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [22, 20, 30, 30]])
    heads = torch.tensor([[500.0, 500, 510, 510], [20, 20, 30, 30]])
    labels = RPN.label(boxes, targets_of([heads]))
    assert labels.tolist() == [torchvision_match(RPN, heads, boxes)[0]] == [[1, 1, 1]]


def test_a_threshold_belongs_to_what_is_above_it() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 5]])
    targets = targets_of([torch.tensor([[0.0, 0, 10, 10]])])
    assert BoxMatcher(0.5, 0.25, False).label(boxes, targets).tolist() == [[1]]
    assert BoxMatcher(0.75, 0.5, False).label(boxes, targets).tolist() == [[-1]]


def test_of_equal_heads_the_first_is_matched() -> None:
    head = torch.tensor([[0.0, 0, 10, 10]])
    targets = targets_of([head, head.repeat(3, 1)])
    assert best_heads(head, targets).tolist() == [[0], [1]]


def test_thresholds_of_0_leave_pictures_without_heads_to_the_background() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]])
    targets = targets_of([NOTHING, boxes + 50])
    assert BoxMatcher(0.0, 0.0, False).label(boxes, targets).tolist() == [[0], [1]]


def test_background_mostly_inside_an_ignored_region_is_neither() -> None:
    sizes = [(10, 10), (10, 20), (10, 19), (9, 9)]
    boxes = torch.tensor([[0.0, 0, *size] for size in sizes] + [[50, 50, 60, 60], [5, 5, 5, 9]])
    head, region = torch.tensor([[0.0, 0, 9, 9]]), torch.tensor([[0.0, 0, 10, 10]])
    far = region + 100
    targets = collect_targets(
        [
            {"boxes": head, "ignore_boxes": torch.cat((far, region, far))},
            {"boxes": head},
            {"boxes": NOTHING, "ignore_boxes": region},
        ]
    )
    # Shares 1, 100/200, 100/190, 1, 0, and 0 without an area. The fourth is a head in the first.
    matcher = BoxMatcher(0.9, 0.9, False)
    assert matcher.label(boxes, targets).tolist() == [
        [-1, 0, -1, 1, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [-1, 0, -1, -1, 0, 0],
    ]


def test_two_regions_do_not_add_up() -> None:
    halves = torch.tensor([[0.0, 0, 5, 10], [5, 0, 10, 10]])
    targets = collect_targets([{"boxes": NOTHING, "ignore_boxes": halves}])
    assert ROI.label(torch.tensor([[0.0, 0, 10, 10]]), targets).tolist() == [[0]]


def test_a_crowd_in_parts_is_the_crowd_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    targets = collect_targets(
        [
            {"boxes": boxes, "ignore_boxes": boxes[:2] * 1.5}
            for boxes in (random_boxes(n, generator, on_grid=True) for n in (7, 0, 40))
        ]
    )
    boxes = random_boxes(100, generator, on_grid=True)
    at_once = RPN.label(boxes, targets)
    assert {-1, 0, 1} == set(at_once.flatten().tolist())
    for pairs in (99, 300):
        monkeypatch.setattr(matching, "CACHED_PAIRS", pairs)
        assert torch.equal(RPN.label(boxes, targets), at_once)
        own = boxes.expand(3, -1, -1)
        assert torch.equal(RPN.label(own, targets), at_once)


def test_no_boxes() -> None:
    targets = targets_of([NOTHING, torch.tensor([[0.0, 0, 10, 10]])])
    assert ROI.label(torch.zeros(2, 0, 4), targets).shape == (2, 0)
    assert best_heads(torch.zeros(2, 0, 4), targets).shape == (2, 0)
