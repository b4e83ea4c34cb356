import pytest
import torch
from torch import Tensor

from head_detection.models.targets import Targets, collect_targets

HEADS = torch.tensor([[0.0, 0, 8, 8], [9, 9, 20, 20], [1, 2, 3, 4]])
NOTHING = torch.zeros(0, 4)


def three_pictures() -> Targets:
    return collect_targets(
        [
            {"boxes": HEADS[:2], "labels": torch.ones(2), "ignore_boxes": HEADS[2:]},
            {"boxes": NOTHING},
            {"boxes": HEADS[2:], "ignore_boxes": HEADS[:2]},
        ]
    )


def test_a_batch_in_one_row() -> None:
    targets = three_pictures()
    assert targets.boxes.tolist() == HEADS.tolist()
    assert targets.owner.tolist() == [0, 0, 2]
    assert targets.ignore_boxes.tolist() == HEADS[[2, 0, 1]].tolist()
    assert targets.ignore_owner.tolist() == [0, 2, 2]
    assert targets.head_counts == (2, 0, 1)
    assert targets.num_images == 3
    assert targets.owner.dtype == targets.ignore_owner.dtype == torch.int64


def test_whole_numbers_become_float32() -> None:
    targets = collect_targets([{"boxes": HEADS.long(), "ignore_boxes": HEADS.double()}])
    assert targets.boxes.dtype == targets.ignore_boxes.dtype == torch.float32


def test_each_picture_is_scaled_by_its_own_factors() -> None:
    factors = torch.tensor([[2.0, 3.0], [50.0, 50.0], [0.5, 10.0]])
    targets = three_pictures()
    scaled = targets.scaled(factors)
    assert scaled.boxes.tolist() == [[0, 0, 16, 24], [18, 27, 40, 60], [0.5, 20, 1.5, 40]]
    assert scaled.ignore_boxes.tolist() == [[2, 6, 6, 12], [0, 0, 4, 80], [4.5, 90, 10, 200]]
    assert scaled.head_counts == targets.head_counts
    assert targets.boxes.tolist() == HEADS.tolist()


def test_padded_heads_of_each_picture() -> None:
    boxes, is_head = three_pictures().padded_boxes()
    assert boxes.shape == (3, 2, 4)
    assert is_head.tolist() == [[True, True], [False, False], [True, False]]
    assert boxes[is_head].tolist() == HEADS.tolist()


def test_pictures_without_anything() -> None:
    targets = collect_targets([{"boxes": NOTHING}] * 2)
    assert targets.num_images == 2
    assert targets.boxes.shape == targets.ignore_boxes.shape == (0, 4)
    assert targets.scaled(torch.ones(2, 2)).boxes.shape == (0, 4)
    boxes, is_head = targets.padded_boxes()
    assert boxes.shape == (2, 0, 4)
    assert is_head.shape == (2, 0)


def test_moving_keeps_everything() -> None:
    targets = three_pictures()
    moved = targets.to(torch.device("cpu"))
    assert moved.boxes.tolist() == targets.boxes.tolist()
    assert moved.head_counts == targets.head_counts
    assert targets.to(torch.device("meta")).ignore_owner.device.type == "meta"


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([], "at least one picture"),
        ([{"labels": HEADS}], "boxes for every picture; picture 0 has none"),
        ([{"boxes": NOTHING}, {"boxes": torch.zeros(0)}], r"picture 1 has \(0,\)"),
        ([{"boxes": torch.zeros(2, 5)}], r"shape \(N, 4\).*picture 0 has \(2, 5\)"),
        ([{"boxes": HEADS, "ignore_boxes": torch.zeros(4)}], r"ignore_boxes.*has \(4,\)"),
    ],
)
def test_what_is_not_targets(targets: list[dict[str, Tensor]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        collect_targets(targets)
