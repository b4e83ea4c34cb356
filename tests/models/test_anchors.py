import pytest
import torch
from torchvision.models.detection.image_list import ImageList

from head_detection.config import AnchorConfig
from head_detection.errors import ConfigError
from head_detection.models.anchors import (
    anchor_sizes,
    build_anchor_generator,
    kmeans_anchor_sizes,
    levels_of_sizes,
    median_anchor_sizes,
    median_ratio,
)


def test_legacy_takes_the_first_size_of_each_level_as_headhunter_did() -> None:
    assert anchor_sizes(AnchorConfig(preset="scut"), 4) == ((18,), (36,), (72,), (128,))
    assert anchor_sizes(AnchorConfig(preset="combined"), 3) == ((12,), (32,), (64,))
    generator = build_anchor_generator(AnchorConfig(preset="combined"), 4)
    assert generator.num_anchors_per_location() == [3, 3, 3, 3]


def test_paper_takes_two_sizes_a_level() -> None:
    config = AnchorConfig(preset="combined", layout="paper")
    assert anchor_sizes(config, 4) == ((12, 32), (64, 112), (196, 256), (384, 512))
    assert build_anchor_generator(config, 4).num_anchors_per_location() == [6] * 4


def test_sizes_and_ratios_of_the_config_replace_the_preset() -> None:
    config = AnchorConfig(sizes=((8, 14), (22, 34)), ratios=(1.15,))
    assert build_anchor_generator(config, 2).num_anchors_per_location() == [2, 2]


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
    with pytest.raises(ConfigError, match=r"^model\.anchors.*expected \d.*") as error:
        anchor_sizes(config, levels)
    assert "\n" not in str(error.value)


def test_anchors_stay_float32_and_where_they_belong_under_bfloat16() -> None:
    generator = build_anchor_generator(AnchorConfig(sizes=((10,),), ratios=(1.0,)), 1)
    images = ImageList(torch.zeros(1, 3, 1600, 1600), [(1600, 1600)])
    anchors = generator(images, [torch.zeros(1, 8, 400, 400, dtype=torch.bfloat16)])[0]
    # The last cell of 400 at stride 4: centre 1596. bfloat16 would say 1600.
    torch.testing.assert_close(anchors[-1], torch.tensor([1591.0, 1591.0, 1601.0, 1601.0]))


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
