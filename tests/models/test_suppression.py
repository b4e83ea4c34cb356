import pytest
import torch
from head_detection.models.candidates import ALL_HEADS, HeadSizes, gather

from head_detection.config import BoxVotingConfig, RoiConfig, SoftNmsConfig
from head_detection.models.suppression import suppress

CONFIG = RoiConfig(score_threshold=0.1)


def found(*rows):
    values = torch.tensor(rows).reshape(-1, 5)
    return {"boxes": values[:, :4], "scores": values[:, 4]}


def test_a_score_is_the_mean_of_the_looks_by_hand():
    first = found((0.0, 0, 10, 10, 0.9), (0.0, 1, 10, 10, 0.8), (30.0, 30, 40, 40, 0.6))
    second = found((0.0, 0, 10, 9, 0.5), (60.0, 60, 70, 70, 0.7))
    result = suppress(gather([(ALL_HEADS, first), (ALL_HEADS, second)]), CONFIG)
    assert result["boxes"].tolist() == [[0, 0, 10, 10], [60, 60, 70, 70], [30, 30, 40, 40]]
    # (.9 + .5) / 2, and half of what one look alone found.
    assert result["scores"].tolist() == pytest.approx([0.7, 0.35, 0.3])
    assert result["labels"].tolist() == [1, 1, 1]


def test_a_look_has_no_say_over_heads_that_are_not_its_own():
    first = found((0.0, 0, 90, 90, 0.9), (0.0, 200, 46, 246, 0.8), (200.0, 0, 240, 40, 0.6))
    result = suppress(gather([(ALL_HEADS, first), (HeadSizes(largest=48), found())]), CONFIG)
    # 46 pixels are more than nine tenths of 48: the second look may have measured them as 49.
    assert result["scores"].tolist() == pytest.approx([0.9, 0.8, 0.3])


def test_a_look_for_large_heads_has_no_say_over_small_ones():
    first = found((0.0, 0, 26, 26, 0.9), (100.0, 0, 127, 27, 0.8))
    result = suppress(gather([(ALL_HEADS, first), (HeadSizes(smallest=24), found())]), CONFIG)
    # Nine tenths of 26 pixels are less than 24: the second look may have measured them as 23.
    assert result["scores"].tolist() == pytest.approx([0.9, 0.4])


def test_what_the_looks_hardly_believe_is_left_out():
    result = suppress(
        gather([(ALL_HEADS, found((0.0, 0, 9, 9, 0.19))), (HeadSizes(largest=48), found())]), CONFIG
    )
    assert len(result["boxes"]) == len(result["scores"]) == len(result["labels"]) == 0


def test_a_neighbour_does_not_lend_its_score():
    """A box that suppression took for one head says nothing about the next one."""
    head, neighbour = (0.0, 0, 10, 10, 0.9), (4.0, 0, 14, 10, 0.2)  # IoU 6 / 14
    between = (2.0, 0, 12, 10, 0.8)  # IoU 8 / 12 with both
    result = suppress(
        gather([(ALL_HEADS, found(head, neighbour)), (HeadSizes(largest=48), found(between))]),
        CONFIG,
    )
    assert result["scores"].tolist() == pytest.approx([0.85])
    low = CONFIG.model_copy(update={"score_threshold": 0.05})
    result = suppress(
        gather([(ALL_HEADS, found(head, neighbour)), (HeadSizes(largest=48), found(between))]), low
    )
    assert result["scores"].tolist() == pytest.approx([0.85, 0.1])


def test_boxes_past_the_limit_lend_nothing_either():
    config = CONFIG.model_copy(update={"detections_per_image": 1})
    first = found((0.0, 0, 10, 10, 0.9), (50.0, 50, 60, 60, 0.8))
    second = found((50.0, 50, 60, 59, 0.7))
    result = suppress(gather([(ALL_HEADS, first), (HeadSizes(largest=48), second)]), config)
    assert result["scores"].tolist() == pytest.approx([0.45])


def test_looks_that_found_nothing_find_nothing():
    result = suppress(gather([(ALL_HEADS, found()), (HeadSizes(largest=48), found())]), CONFIG)
    assert result["boxes"].shape == (0, 4)


def test_a_box_of_no_area_keeps_its_own_score():
    first = found((5.0, 5, 5, 5, 0.8), (0.0, 0, 9, 9, 0.9))
    result = suppress(gather([(ALL_HEADS, first), (HeadSizes(largest=1), found())]), CONFIG)
    assert result["scores"].tolist() == pytest.approx([0.9, 0.4])


@pytest.mark.parametrize("voting", [False, True])
def test_one_look_keeps_its_scores(voting):
    config = CONFIG.model_copy(update={"box_voting": BoxVotingConfig(enabled=voting)})
    only = found((0.0, 0, 10, 10, 0.9), (0.0, 0, 10, 8, 0.3), (30.0, 30, 40, 40, 0.6))
    result = suppress(gather([(ALL_HEADS, only)]), config)
    assert result["scores"].tolist() == pytest.approx([0.9, 0.6])
    assert result["boxes"][0].tolist() == pytest.approx([0, 0, 10, 9.5 if voting else 10])


def test_soft_nms_gives_scores_of_its_own():
    config = CONFIG.model_copy(update={"soft_nms": SoftNmsConfig(enabled=True)})
    looks = gather([(ALL_HEADS, found((0.0, 0, 10, 10, 0.9))), (HeadSizes(largest=48), found())])
    assert suppress(looks, config)["scores"].tolist() == pytest.approx([0.9])
