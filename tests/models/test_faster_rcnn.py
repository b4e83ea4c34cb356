from dataclasses import replace
from typing import Self

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

from head_detection.kernels import switched_off
from head_detection.models.network import DenseMaps
from head_detection.models.nms import EMPTY
from head_detection.models.stages import STAGES, observed


def target(boxes: list[list[float]], ignore: list[list[float]] | None = None) -> dict[str, Tensor]:
    return {
        "boxes": torch.tensor(boxes).reshape(-1, 4),
        "labels": torch.ones(len(boxes), dtype=torch.int64),
        "ignore_boxes": torch.tensor(ignore or []).reshape(-1, 4),
    }


def test_it_is_a_torchvision_detector(tiny) -> None:
    model = tiny()
    assert isinstance(model, GeneralizedRCNN)
    losses = model([torch.rand(3, 96, 96)], [target([[10, 10, 40, 40]])])
    assert set(losses) == {
        "loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg",
    }  # fmt: skip
    found = model.eval()([torch.rand(3, 96, 96), torch.rand(3, 64, 128)])
    assert [set(heads) for heads in found] == [{"boxes", "labels", "scores"}] * 2
    for heads in found:
        assert bool((heads["scores"].diff() <= 0).all())


def test_a_picture_without_heads_gives_negatives_only(tiny) -> None:
    losses = tiny()([torch.rand(3, 96, 96), torch.rand(3, 96, 96)], [target([]), target([])])
    assert losses["loss_box_reg"].item() == 0
    assert losses["loss_rpn_box_reg"].item() == 0
    assert losses["loss_classifier"].item() > 0
    sum(losses.values()).backward()


def test_a_batch_of_full_empty_and_ignored_pictures_trains(tiny) -> None:
    model = tiny()
    images = [torch.rand(3, 96, 96), torch.rand(3, 80, 64), torch.rand(3, 64, 64)]
    losses = model(
        images, [target([[5, 5, 30, 30]]), target([]), target([], ignore=[[0, 0, 64, 64]])]
    )
    total = sum(losses.values())
    assert bool(torch.isfinite(total))
    total.backward()


def test_a_wholly_ignored_picture_teaches_the_network_nothing(tiny) -> None:
    model = tiny()
    everything = [[-500.0, -500, 500, 500]]
    losses = model([torch.rand(3, 64, 64)], [target([], ignore=everything)])
    assert losses["loss_classifier"].item() == 0
    assert losses["loss_box_reg"].item() == 0
    # torchvision takes the mean over no sampled anchor: not a number, unless this is handled.
    assert losses["loss_objectness"].item() == 0
    assert losses["loss_rpn_box_reg"].item() == 0
    sum(losses.values()).backward()


@pytest.mark.parametrize("upscale", ["true", "false"])
@pytest.mark.parametrize("context", ["none", "ssh", "cpm", "deform_ssh"])
def test_every_context_with_and_without_upscaling(tiny, context: str, upscale: str) -> None:
    model = tiny(f"network.backbone.context={context}", f"network.upscale={upscale}")
    losses = model([torch.rand(3, 64, 64)], [target([[5, 5, 30, 30]])])
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in model.backbone.fpn.parameters())
    assert model.eval()([torch.rand(3, 64, 64)])[0]["boxes"].shape[1] == 4


def test_results_are_float32_under_bfloat16(tiny) -> None:
    model = tiny()
    image = torch.rand(3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        losses = model([image], [target([[5, 5, 30, 30]])])
        found = model.eval()([image])[0]
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    assert found["boxes"].dtype == found["scores"].dtype == torch.float32


def test_boxes_stay_inside_the_picture(tiny) -> None:
    found = tiny("inference.suppression.score_threshold=0.0").eval()([torch.rand(3, 50, 70)])[0][
        "boxes"
    ]
    assert len(found)
    assert bool((found >= 0).all())
    assert bool((found[:, 2] <= 70).all())
    assert bool((found[:, 3] <= 50).all())


def test_the_limit_of_the_config_is_the_only_one(tiny) -> None:
    model = tiny(
        "inference.suppression.score_threshold=0.0", "inference.suppression.nms_iou_threshold=1.0",
        "inference.proposals.nms_iou_threshold=1.0",
    ).eval()  # fmt: skip
    assert len(model([torch.rand(3, 160, 160)])[0]["boxes"]) > 300


def test_torchvisions_names_of_the_parts_are_those_of_the_network(tiny) -> None:
    model = tiny()
    assert model.backbone is model.network.backbone
    assert model.rpn is model.network.rpn
    assert model.roi_heads is model.network.roi_heads
    assert all(name.startswith("network.") for name in model.state_dict())


def test_a_model_built_to_detect_cannot_be_trained(tiny) -> None:
    model = tiny()
    model.losses = None
    with pytest.raises(ValueError, match="expected one built for training"):
        model([torch.rand(3, 64, 64)], [target([])])
    with pytest.raises(ValueError, match="targets: expected in training; got None"):
        tiny()([torch.rand(3, 64, 64)])


class HalfNetwork:
    """Another library's network, in the type that it takes; what it was given is noted."""

    dtype = torch.bfloat16

    def __init__(self, network: nn.Module) -> None:
        self.network, self.given = network, []

    def dense(self, images: Tensor) -> DenseMaps:
        self.given.append(images.dtype)
        return self.network.dense(images.float())

    def score(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        self.given.append(pooled.dtype)
        return self.network.score(pooled)


def test_a_backend_takes_the_place_of_the_network(tiny) -> None:
    model = tiny("inference.suppression.score_threshold=0.0").eval()
    backend = HalfNetwork(model.network)
    other = type(model)(model.transform, backend, model.decoder).eval()
    image = torch.rand(3, 64, 64)
    with torch.no_grad():
        (expected,), (found,) = model([image]), other([image])
    assert backend.given == [torch.bfloat16, torch.float32]
    torch.testing.assert_close(found["scores"][0], expected["scores"][0], rtol=0, atol=0.01)
    assert not other.state_dict()


VIEWED = [
    "inference.resize={min_size: 64, max_size: 128}",
    "inference.proposals={pre_nms_top_n: 100, post_nms_top_n: 100}",
    "inference.suppression={score_threshold: 0.0, box_voting: {enabled: true}}",
    "inference.largest_head=60",
    "inference.views=[{scale: 1.5, mirrored: true, largest_head: 400, min_score: 0.0}, "
    "{scale: 0.5, smallest_head: 60, min_score: 0.0}]",
]


def pictures(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randint(0, 256, (3, 100, 180), dtype=torch.uint8, generator=generator)
        for _ in range(count)
    ]


@pytest.mark.parametrize("overrides", [VIEWED[:3], VIEWED])
def test_both_ways_find_the_same(tiny, overrides: list[str]) -> None:
    model = tiny(*overrides).eval()
    with torch.no_grad():
        exact, free = (model.detect(pictures(3), waits=waits) for waits in (True, False))
    assert bool(free.is_settled)
    width = exact.scores.shape[1]
    assert width > 20
    torch.testing.assert_close(free.scores[:, :width], exact.scores)
    torch.testing.assert_close(free.boxes[:, :width], exact.boxes, rtol=1e-5, atol=1e-3)
    assert not (free.scores[:, width:] > EMPTY).any()


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # 0 / 0 in the interpreter
def test_the_kernels_find_the_same(tiny, monkeypatch) -> None:
    few = "inference.proposals={pre_nms_top_n: 30, post_nms_top_n: 30}"
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = tiny(*VIEWED, few).eval().to(device)
    images = [image[:, :64, :96].to(device) for image in pictures(1)]
    with torch.no_grad():
        with switched_off():
            expected = model.detect(images, waits=False)
        for module in ("nms", "roi_align", "suppression"):
            monkeypatch.setattr(f"head_detection.models.{module}.can_run", lambda _: True)
        found = model.detect(images, waits=False)
    assert (expected.scores > EMPTY).sum() > 10
    torch.testing.assert_close(found.scores, expected.scores)
    torch.testing.assert_close(found.boxes, expected.boxes, rtol=1e-5, atol=1e-3)


class Directly:
    """In place of ``SideStreams``: no GPU is needed."""

    def __init__(self, device) -> None:
        self.run = lambda work: work()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_views_beside_each_other_find_the_same(tiny, monkeypatch) -> None:
    model = tiny(*VIEWED).eval()
    with torch.no_grad():
        expected = model.detect(pictures(3), waits=False)
        monkeypatch.setattr("head_detection.models.faster_rcnn.SideStreams", Directly)
        monkeypatch.setattr("head_detection.models.faster_rcnn.has_streams", lambda _: True)
        monkeypatch.setattr(model, "_with_views", None)
        found = model.detect(pictures(3), waits=False)
    assert bool(found.is_settled)
    for own, other in zip(found[:2], expected[:2], strict=True):
        assert torch.equal(own, other)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_views_beside_each_other_find_the_same_on_a_gpu(tiny, monkeypatch) -> None:
    model, images = tiny(*VIEWED).eval().cuda(), [image.cuda() for image in pictures(3)]
    with torch.no_grad():
        found = [model.detect(images) for _ in range(5)]
        monkeypatch.setattr("head_detection.models.faster_rcnn.has_streams", lambda _: False)
        expected = model.detect(images)
    for heads in found:
        torch.testing.assert_close(heads.scores, expected.scores)
        torch.testing.assert_close(heads.boxes, expected.boxes)


def test_what_is_not_settled_is_found_again(tiny, monkeypatch) -> None:
    model = tiny(*VIEWED).eval()
    with torch.no_grad():
        expected = model(pictures(2))
        monkeypatch.setattr("head_detection.models.nms.ROUNDS", 1)
        model.decoder = replace(model.decoder, waits=False)
        assert not model.detect(pictures(2)).is_settled
        for own, other in zip(model(pictures(2)), expected, strict=True):
            torch.testing.assert_close(own["scores"], other["scores"])


@pytest.mark.parametrize("waits", [None, False])
@pytest.mark.parametrize("overrides", [VIEWED[:3], VIEWED])
def test_a_batch_calls_the_operators_of_one_picture(tiny, operators, overrides, waits) -> None:
    model = tiny(*overrides).eval()
    with torch.no_grad():
        one, eight = (
            operators(lambda count=count: model.detect(pictures(count), waits=waits))
            for count in (1, 8)
        )
    assert eight.names.total() < 1.3 * one.names.total()
    if waits is False:
        assert eight.waits.total() == 0


def test_a_batch_of_unlike_targets_is_taught_by_the_operators_of_two(tiny, operators) -> None:
    model = tiny("inference.resize={min_size: 64, max_size: 128}")
    truth = [target([[5, 5, 30, 30]] * (k % 4), [[0, 0, 9, 9]] * (k % 2)) for k in range(1, 17)]
    two, sixteen = (
        operators(lambda count=count: model(pictures(count), truth[:count])) for count in (2, 16)
    )
    assert sixteen.names.total() < 1.5 * two.names.total()


def test_detecting_asks_a_gpu_for_nothing(tiny, on_fake_gpu) -> None:
    model = tiny(*VIEWED).eval()

    def detect(images: list[Tensor]) -> tuple[int, ...]:
        with torch.no_grad():
            return tuple(model.detect(images).boxes.shape)

    # Of like and unlike pictures; as many slots as proposals of all views.
    assert on_fake_gpu(model, [(100, 180)] * 3 + [(90, 180)], detect)[0] == 4


def test_teaching_asks_a_gpu_for_nothing(tiny, on_fake_gpu) -> None:
    model = tiny("inference.resize={min_size: 64, max_size: 128}")

    def teach(images: list[Tensor]) -> set[str]:
        boxes = torch.empty(2, 4, device="cuda")
        return set(model(images, [{"boxes": boxes, "ignore_boxes": boxes}] * len(images)))

    assert len(on_fake_gpu(model, [(100, 180)] * 3, teach)) == 4


def test_every_stage_has_its_name(tiny) -> None:
    seen = []

    def note(name: str):
        seen.append(name)
        return torch.no_grad()

    model = tiny(*VIEWED).eval()
    with torch.no_grad(), observed(note):
        model(pictures(1))
    assert seen == [*STAGES]
    with torch.no_grad(), torch.profiler.profile() as profile:
        model(pictures(1))
    assert {*STAGES} <= {event.key for event in profile.key_averages()}
