import pytest
import torch
from head_detection.models.more_looks import Look

from head_detection.config import (
    AnchorConfig,
    BackboneConfig,
    BoxVotingConfig,
    LookConfig,
    ModelConfig,
    ResizeConfig,
    RoiConfig,
    override_model,
)
from head_detection.models.faster_rcnn import build_detector

RESIZE = ResizeConfig(min_sizes=(64,), max_size=128)


def found(boxes, scores):
    return {"boxes": torch.tensor(boxes).reshape(-1, 4), "scores": torch.tensor(scores)}


def detector(*looks):
    torch.manual_seed(0)
    config = ModelConfig(
        backbone=BackboneConfig(name="mobilenet0.25", strides=(8, 16), fpn_width=8),
        anchors=AnchorConfig(sizes=((16.0,), (32.0,))),
        resize=RESIZE,
        roi=RoiConfig(pool_size=3, box_head_width=16, nms_iou_threshold=1.0),
        more_looks=looks,
    )
    return build_detector(config).eval()


def test_boxes_come_back_from_an_enlarged_mirror_by_hand():
    look = Look(LookConfig(enlargement=1.5, mirrored=True), RESIZE)
    picture = torch.zeros(3, 32, 64)
    picture[:, :, :8] = 1.0
    batch = look.prepare([picture])
    assert batch.image_sizes == [(48, 96)]
    assert batch.tensors[0, 0, 24, 90] > batch.tensors[0, 0, 24, 5]  # the bright side is right now
    (placed,) = look.place([found([[84.0, 3, 96, 48]], [0.5])], [(48, 96)], [(32, 64)])
    assert placed["boxes"].tolist() == [[0, 2, 8, 32]]
    assert placed["scores"].tolist() == [0.5]


def test_the_size_of_the_first_look_counts():
    config = ResizeConfig(min_sizes=(64,), max_size=128, enlargement=2.0)
    batch = Look(LookConfig(enlargement=0.5), config).prepare([torch.zeros(3, 40, 50)])
    assert batch.image_sizes == [(40, 50)]


def test_large_heads_are_left_to_the_first_look_by_hand():
    look = Look(LookConfig(enlargement=1.5, largest_head=20), RESIZE)
    small, large = [0.0, 0, 30, 30], [0.0, 0, 31, 30]  # 20 and 20.3 pixels in the first look
    (placed,) = look.place([found([small, large], [0.5, 0.9])], [(48, 96)], [(32, 64)])
    assert placed["boxes"].tolist() == [[0, 0, 20, 20]]
    assert placed["scores"].tolist() == [0.5]
    # A proposal of 45 pixels may still become a head of 30, one of 46 may not.
    (left,) = look.leave_others([torch.tensor([[0.0, 0, 45, 45], [0, 0, 46, 46]])])
    assert left.tolist() == [[0, 0, 45, 45]]


@pytest.mark.parametrize(
    ("side", "score", "is_wanted"),
    [(10.0, 0.3, True), (10.1, 0.9, False), (9.9, 0.29, False), (50.0, 1.0, False)],
)
def test_a_picture_is_looked_at_again_for_a_small_head_only(side, score, is_wanted):
    look = Look(LookConfig(enlargement=1.5, largest_head=20), RESIZE)
    pictures = [found([], []), found([[0.0, 0, 90, 90], [5, 5, 5 + side, 5 + side]], [0.9, score])]
    assert look.wanted(pictures) == ([1] if is_wanted else [])
    assert Look(LookConfig(enlargement=1.5), RESIZE).wanted(pictures) == [0, 1]


def test_small_heads_are_left_to_the_first_look_by_hand():
    look = Look(LookConfig(enlargement=0.5, smallest_head=20), RESIZE)
    large, small = [0.0, 0, 10, 10], [0.0, 0, 9, 10]  # 20 and 19 pixels in the first look
    (placed,) = look.place([found([large, small], [0.5, 0.9])], [(16, 32)], [(32, 64)])
    assert placed["boxes"].tolist() == [[0, 0, 20, 20]]
    assert placed["scores"].tolist() == [0.5]
    # A proposal of 7 pixels may still become a head of 10, one of 6 may not.
    (left,) = look.leave_others([torch.tensor([[0.0, 0, 7, 7], [0, 0, 6, 6]])])
    assert left.tolist() == [[0, 0, 7, 7]]
    pictures = [found([[0.0, 0, 40, 40]], [0.3]), found([[0.0, 0, 39, 40]], [0.9])]
    assert look.wanted(pictures) == [0]


def test_a_look_for_sizes_that_no_head_surely_has_is_refused():
    LookConfig(smallest_head=12, largest_head=48)
    with pytest.raises(ValueError, match=r"at most a quarter of largest_head.*got 13 and 48"):
        LookConfig(smallest_head=13, largest_head=48)


def test_a_mirrored_look_makes_a_picture_and_its_mirror_equal():
    """Every box of one look is found in the other picture's, which has the same two looks."""
    picture = torch.rand(3, 64, 96)
    alone, both = detector(), detector(LookConfig(mirrored=True))
    both.load_state_dict(alone.state_dict())
    for model, are_equal in ((alone, False), (both, True)):
        with torch.no_grad():
            (straight,), (mirrored,) = model([picture]), model([picture.flip(-1)])
        boxes = mirrored["boxes"][:, [2, 1, 0, 3]]
        boxes[:, [0, 2]] = 96 - boxes[:, [0, 2]]
        distances = (boxes[:, None] - straight["boxes"]).abs().amax(dim=2)
        assert len(boxes) > 3
        assert bool((distances.amin(dim=1) < 1e-3).all()) is are_equal


def test_a_detector_looks_as_often_as_its_config_says():
    config = override_model(ModelConfig(), ["inference.views=[{enlargement: 1.5}]"])
    model = detector(*config.more_looks)
    sizes = []
    model.backbone.register_forward_hook(
        lambda _module, inputs, _maps: sizes.append(tuple(inputs[0].shape))
    )
    with torch.no_grad():
        model([torch.rand(3, 64, 96), torch.rand(3, 50, 90)])
    assert sizes == [(2, 3, 64, 96), (2, 3, 96, 160)]


def test_only_the_pictures_that_want_it_are_looked_at_again(monkeypatch):
    alone, again = detector(), detector(LookConfig(enlargement=1.5, largest_head=400))
    again.load_state_dict(alone.state_dict())
    shapes = []
    again.backbone.register_forward_hook(
        lambda _module, inputs, _maps: shapes.append(tuple(inputs[0].shape))
    )
    monkeypatch.setattr(Look, "wanted", lambda _look, _candidates: [1])
    pictures = [torch.rand(3, 64, 96), torch.rand(3, 64, 96)]
    with torch.no_grad():
        first, second = alone(pictures)
        same, more = again(pictures)
        monkeypatch.setattr(Look, "wanted", lambda _look, _candidates: [])
        unlooked = again(pictures)
    assert shapes == [(2, 3, 64, 96), (1, 3, 96, 160), (2, 3, 64, 96)]
    assert torch.equal(same["boxes"], first["boxes"])
    assert len(more["boxes"]) > len(second["boxes"])
    assert torch.equal(unlooked[1]["boxes"], second["boxes"])


def test_a_look_that_is_no_other_changes_nothing():
    alone, twice = detector(), detector(LookConfig())
    twice.load_state_dict(alone.state_dict())
    for model in (alone, twice):
        model.roi_heads.config = model.roi_heads.config.model_copy(
            update={"nms_iou_threshold": 0.5, "box_voting": BoxVotingConfig(enabled=True)}
        )
    pictures = [torch.rand(3, 64, 96)]
    with torch.no_grad():
        (once,), (same,) = alone(pictures), twice(pictures)
    assert len(once["scores"]) > 3
    for key in ("boxes", "scores"):
        torch.testing.assert_close(same[key], once[key])
