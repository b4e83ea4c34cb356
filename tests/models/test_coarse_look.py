import pytest
import torch
from head_detection.models.coarse_look import CoarseLook
from torchvision.models.detection.image_list import ImageList

from head_detection.config import (
    AnchorConfig,
    BackboneConfig,
    CoarseLookConfig,
    ModelConfig,
    ResizeConfig,
    RoiConfig,
)
from head_detection.models.faster_rcnn import build_detector


def look(**config):
    config = {"factor": 4, "smallest_head": 100, "smallest_picture": 128, **config}
    return CoarseLook(CoarseLookConfig(enabled=True, **config), 32, 0.5, 10)


def found(boxes, scores):
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "scores": torch.tensor(scores, dtype=torch.float32),
        "labels": torch.ones(len(scores), dtype=torch.int64),
    }


def test_a_batch_shrinks_to_means_on_padding_by_hand():
    tensors = torch.zeros(1, 3, 128, 160)
    tensors[:, :, 0, :4] = torch.tensor([4.0, 8.0, 12.0, 16.0])
    small = look().shrink(ImageList(tensors, [(126, 157)]), [0])
    assert small.tensors.shape == (1, 3, 32, 64)
    assert small.image_sizes == [(32, 40)]
    assert small.tensors[0, 0, 0, 0] == 40 / 16  # four pixels of a square of sixteen


def test_the_last_row_of_a_batch_is_not_lost():
    tensors = torch.zeros(1, 3, 64, 64)
    tensors[:, :, 63] = 9.0
    small = look(factor=3).shrink(ImageList(tensors, [(64, 64)]), [0])
    assert small.image_sizes == [(22, 22)]
    assert small.tensors[0, 0, 21, 0] == 9  # the one row that is left of three


def test_a_head_of_the_coarse_look_alone_ends_at_the_picture():
    coarse = found([[-1, 0, 22, 30]], [0.9])  # 88 wide: of both looks' sizes
    (joined,) = look().join([found([], [])], [coarse], [(100, 200)])
    assert joined["boxes"].tolist() == [[0, 0, 88, 100]]


def test_each_look_answers_for_its_sizes_by_hand():
    full = found([[0, 0, 50, 50], [0, 0, 130, 130], [300, 300, 399, 399]], [0.9, 0.8, 0.7])
    coarse = found([[0, 0, 12, 12], [10, 10, 60, 50], [75, 75, 101, 101]], [0.95, 0.85, 0.6])
    (joined,) = look().join([full], [coarse], [(380, 400)])
    # Sizes part at 100, both answer from 80 to 125. The full look's head of 130 and the coarse
    # one's of 48 are not theirs to tell; of the two around (350, 350), 99 and 89 wide within the
    # picture, the likelier stays.
    expected = [[0, 0, 50, 50], [40, 40, 240, 200], [300, 300, 399, 399]]
    assert joined["boxes"].tolist() == expected
    torch.testing.assert_close(joined["scores"], torch.tensor([0.9, 0.85, 0.7]))


def test_neighbours_that_the_full_look_kept_stay():
    full = found([[0, 0, 50, 50], [5, 0, 55, 50]], [0.9, 0.8])
    (joined,) = look().join([full], [found([], [])], [(380, 400)])
    assert len(joined["boxes"]) == 2


@pytest.mark.parametrize(("score", "kept"), [(0.8, [0, 0, 84, 84]), (0.95, [0, 0, 78, 78])])
def test_a_head_that_both_looks_found_is_one(score, kept):
    # 78 is the full look's alone, 84 of both looks' sizes; IoU .86.
    full, coarse = found([[0, 0, 78, 78]], [score]), found([[0, 0, 21, 21]], [0.9])
    (joined,) = look().join([full], [coarse], [(380, 400)])
    assert joined["boxes"].tolist() == [kept]
    assert joined["scores"][0] == pytest.approx(max(score, 0.9))


def test_the_limit_is_of_both_looks():
    full = found([[10 * k, 0, 10 * k + 9, 9] for k in range(9)], [0.5] * 9)
    coarse = found([[0, 0, 60, 60], [65, 0, 125, 60]], [0.9, 0.1])
    (joined,) = look().join([full], [coarse], [(500, 500)])
    assert len(joined["boxes"]) == 10
    assert joined["scores"][0] == pytest.approx(0.9)
    assert joined["scores"][-1] == pytest.approx(0.5)


def test_nothing_joins_nothing():
    (joined,) = look().join([found([], [])], [found([], [])], [(200, 200)])
    assert joined["boxes"].shape == (0, 4)


def test_only_the_wanted_pictures_shrink():
    tensors = torch.zeros(2, 3, 128, 128)
    tensors[1] = 5.0
    small = look().shrink(ImageList(tensors, [(128, 128), (120, 100)]), [1])
    assert small.image_sizes == [(30, 25)]
    assert small.tensors.shape == (1, 3, 32, 32)
    assert small.tensors.unique().tolist() == [5.0]


@pytest.mark.parametrize(
    ("side", "score", "is_wanted"),
    # Heads are large from 100 pixels on; half of that is a hint, if it is likely at all.
    [(50, 0.1, True), (49, 0.9, False), (50, 0.09, False), (180, 0.5, True)],
)
def test_a_picture_with_a_hint_of_a_large_head_is_looked_at(side, score, is_wanted):
    batch = ImageList(torch.zeros(2, 3, 256, 256), [(256, 256), (256, 256)])
    candidates = [found([], []), found([[0, 0, 9, 9], [0, 0, side, side]], [0.9, score])]
    assert look().wanted(batch, candidates) == ([1] if is_wanted else [])


@pytest.mark.parametrize(("size", "wanted"), [((96, 128), [0]), ((96, 96), [])])
def test_small_pictures_need_no_second_look(size, wanted):
    batch = ImageList(torch.zeros(1, 3, *size), [size])
    assert look().wanted(batch, [found([[0, 0, 90, 90]], [0.9])]) == wanted


@pytest.mark.parametrize(
    ("enabled", "wanted", "shapes"),
    [
        (True, [0, 1], [(2, 3, 64, 96), (2, 3, 32, 32)]),
        (True, [1], [(2, 3, 64, 96), (1, 3, 32, 32)]),
        (True, [], [(2, 3, 64, 96)]),
        (False, [0, 1], [(2, 3, 64, 96)]),
    ],
)
def test_a_detector_looks_twice_where_it_is_wanted(monkeypatch, enabled, wanted, shapes):
    torch.manual_seed(0)
    config = ModelConfig(
        backbone=BackboneConfig(name="mobilenet0.25", strides=(8, 16), fpn_width=8),
        anchors=AnchorConfig(sizes=((16.0,), (32.0,))),
        resize=ResizeConfig(min_sizes=(64,), max_size=128),
        roi=RoiConfig(pool_size=3, box_head_width=16, score_threshold=0.1),
        coarse_look=CoarseLookConfig(enabled=enabled, smallest_head=60, smallest_picture=64),
    )
    model = build_detector(config).eval()
    seen = []
    model.backbone.register_forward_hook(
        lambda _module, inputs, _maps: seen.append(tuple(inputs[0].shape))
    )
    monkeypatch.setattr(CoarseLook, "wanted", lambda _look, _images, _candidates: wanted)
    with torch.no_grad():
        result = model([torch.rand(3, 64, 96), torch.rand(3, 50, 90)])
    assert seen == shapes
    assert len(result) == 2


def test_small_proposals_are_not_looked_at_by_hand():
    # 100 / (1.25 * 1.5 * 4) is 13.3 pixels of the shrunken batch.
    proposals = torch.tensor([[0, 0, 13, 13], [0, 0, 14, 14], [0, 0, 5, 50.0]])
    (kept,) = look().leave_small([proposals])
    assert kept.tolist() == proposals[1:].tolist()


def test_a_gpu_is_waited_for_once_a_choice(count_waits):
    full, coarse = found([[0, 0, 50, 50]], [0.9]), found([[0, 0, 60, 60]], [0.8])
    # What each look answers for, then what the other one did not beat.
    assert count_waits(lambda: look().join([full], [coarse], [(400, 400)])) == 4
