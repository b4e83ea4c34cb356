import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from head_detection.config import AnchorConfig
from head_detection.errors import ConfigError
from head_detection.models.anchors import (
    Anchors,
    anchor_sizes,
    build_anchors,
    kmeans_anchor_sizes,
    levels_of_sizes,
    median_anchor_sizes,
    median_ratio,
)


def test_legacy_takes_the_first_size_of_each_level_as_headhunter_did() -> None:
    assert anchor_sizes(AnchorConfig(preset="scut"), 4) == ((18,), (36,), (72,), (128,))
    assert anchor_sizes(AnchorConfig(preset="combined"), 3) == ((12,), (32,), (64,))
    assert build_anchors(AnchorConfig(preset="combined"), 4).per_location == 3


def test_paper_takes_two_sizes_a_level() -> None:
    config = AnchorConfig(preset="combined", layout="paper")
    assert anchor_sizes(config, 4) == ((12, 32), (64, 112), (196, 256), (384, 512))
    assert build_anchors(config, 4).per_location == 6


def test_sizes_and_ratios_of_the_config_replace_the_preset() -> None:
    config = AnchorConfig(sizes=((8, 14), (22, 34)), ratios=(1.15,))
    assert build_anchors(config, 2).per_location == 2


@pytest.mark.parametrize(
    ("config", "levels"),
    [
        (AnchorConfig(preset="crowdhuman", layout="paper"), 4),
        (AnchorConfig(sizes=((8,), (16,))), 3),
        (AnchorConfig(sizes=((8, 9), (16,))), 2),
    ],
)
def test_sizes_that_do_not_fit_the_levels_are_one_clear_line(
    config: AnchorConfig, levels: int
) -> None:
    with pytest.raises(ConfigError, match=r"^network\.anchors.*expected \d.*") as error:
        anchor_sizes(config, levels)
    assert "\n" not in str(error.value)


def test_anchors_at_some_places_by_hand() -> None:
    anchors = Anchors(
        (((-5.0, -5.0, 5.0, 5.0), (-1.0, -2.0, 1.0, 2.0)), ((0.0, 0.0, 9.0, 9.0),) * 2)
    )
    # Two a place: place 3 is the second of cell 1, place 6 the first of cell 3, under cell 0.
    places = torch.tensor([[[3, 6], [0, 1]]])
    at = anchors.at(places, ((2, 3), (1, 1)), (8, 12))
    assert at.tolist() == [[[[3, -2, 5, 2], [-5, -1, 5, 9]], [[0, 0, 9, 9]] * 2]]


def test_all_anchors_are_torchvisions_and_those_at_every_location() -> None:
    config = AnchorConfig(preset="combined", layout="paper")
    anchors, grids = build_anchors(config, 4), ((24, 40), (12, 20), (6, 10), (3, 5))
    found = anchors.all(grids, (96, 160), torch.device("cpu"))
    stock = AnchorGenerator(anchor_sizes(config, 4), ((0.5, 1.0, 1.5),) * 4)
    maps = [torch.zeros(1, 8, *grid) for grid in grids]
    (expected,) = stock(ImageList(torch.zeros(1, 3, 96, 160), [(96, 160)]), maps)
    torch.testing.assert_close(found, expected)
    fewest = 3 * 5 * anchors.per_location
    places = torch.arange(fewest).expand(1, 4, -1)
    at = anchors.at(places, grids, (96, 160))[0]
    starts = [
        0,
        *torch.tensor([h * w * anchors.per_location for h, w in grids[:3]]).cumsum(0).tolist(),
    ]
    for level, start in enumerate(starts):
        torch.testing.assert_close(at[level], expected[start : start + fewest])


def test_anchors_stay_where_they_belong_far_from_the_origin() -> None:
    anchors = build_anchors(AnchorConfig(sizes=((10,),), ratios=(1.0,)), 1)
    found = anchors.all(((400, 400),), (1600, 1600), torch.device("cpu"))
    # The last cell of 400 at stride 4: centre 1596. bfloat16 would say 1600.
    assert found[-1].tolist() == [1591.0, 1591.0, 1601.0, 1601.0]


def test_medians_and_kmeans_by_hand() -> None:
    sides = torch.tensor([4.0, 6.0, 8.0, 100.0, 120.0, 140.0])
    boxes = torch.stack((sides * 0, sides * 0, sides, sides), dim=1)
    assert median_anchor_sizes(boxes, 2) == (6.0, 120.0)
    # In logs the means are geometric: (4 * 6 * 8)^(1/3) and (100 * 120 * 140)^(1/3).
    assert kmeans_anchor_sizes(boxes, 2) == (5.77, 118.88)
    assert median_ratio(torch.tensor([[0, 0, 10, 10], [0, 0, 10, 12], [0, 0, 10, 20.0]])) == 1.2
    assert levels_of_sizes((5, 7, 9, 11), 2) == ((5, 7), (9, 11))


def test_boxes_that_cannot_be_fitted_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        median_anchor_sizes(torch.zeros(0, 4), 2)
    with pytest.raises(ValueError, match="area"):
        kmeans_anchor_sizes(torch.tensor([[5.0, 5, 5, 9], [0, 0, 1, 1]]), 2)
