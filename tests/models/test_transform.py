import pytest
import torch

from head_detection.config import ResizeConfig
from head_detection.models.transform import GeneralizedRCNNTransform, scale_boxes

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def build(**values: object) -> GeneralizedRCNNTransform:
    return GeneralizedRCNNTransform(ResizeConfig.model_validate({**PLAIN, **values})).eval()


@pytest.mark.parametrize(
    ("policy", "size", "expected"),
    [
        ("never_upsample", (600, 800), 0.5),  # the short side comes down to 300
        ("never_upsample", (100, 200), 1.0),
        ("fit", (100, 200), 2.0),  # 3 for the short side, but the long one may only reach 400
        ("never_upsample", (300, 4000), 0.1),
    ],
)
def test_scale_factor_by_hand(policy: str, size: tuple[int, int], expected: float) -> None:
    transform = build(policy=policy, min_sizes=(300,), max_size=400)
    assert transform.scale_factor(*size) == pytest.approx(expected)


def test_several_short_sides_in_training_and_the_last_one_otherwise() -> None:
    transform = build(min_sizes=(100, 200, 300), max_size=1000)
    assert transform.scale_factor(600, 600) == 0.5
    transform.train()
    drawn = {round(transform.scale_factor(600, 600) * 600) for _ in range(60)}
    assert drawn == {100, 200, 300}


def test_pictures_are_normalised_and_padded_to_one_batch() -> None:
    transform = build(mean=(0.5, 0.5, 0.5), std=(0.25, 0.5, 1.0))
    images = [torch.ones(3, 40, 33), torch.ones(3, 10, 70)]
    batch, _ = transform(images)
    assert batch.tensors.shape == (2, 3, 64, 96)
    assert batch.image_sizes == [(40, 33), (10, 70)]
    torch.testing.assert_close(batch.tensors[0, :, 0, 0], torch.tensor([2.0, 1.0, 0.5]))
    assert batch.tensors[1, :, 10:].abs().sum() == 0


def test_bytes_and_floats_are_the_same_picture() -> None:
    image = torch.randint(0, 256, (3, 50, 60), dtype=torch.uint8)
    transform = build(min_sizes=(25,), max_size=100)
    a_level = 1 / 255 / min(transform.config.std)  # bytes are scaled to bytes, in two passes
    torch.testing.assert_close(
        transform([image])[0].tensors,
        transform([image.float() / 255])[0].tensors,
        rtol=0,
        atol=a_level,
    )


def test_targets_go_along_and_detections_come_back() -> None:
    transform = build(min_sizes=(30,), max_size=1000)
    target = {
        "boxes": torch.tensor([[10.0, 20.0, 30.0, 40.0]]),
        "ignore_boxes": torch.tensor([[0.0, 0.0, 60.0, 60.0]]),
        "labels": torch.ones(1, dtype=torch.int64),
    }
    batch, targets = transform([torch.zeros(3, 60, 90)], [target])
    assert batch.image_sizes == [(30, 45)]
    assert targets is not None
    torch.testing.assert_close(targets[0]["boxes"], torch.tensor([[5.0, 10.0, 15.0, 20.0]]))
    torch.testing.assert_close(targets[0]["ignore_boxes"], torch.tensor([[0.0, 0.0, 30.0, 30.0]]))
    torch.testing.assert_close(target["boxes"], torch.tensor([[10.0, 20.0, 30.0, 40.0]]))
    found = transform.postprocess([{"boxes": targets[0]["boxes"]}], [(30, 45)], [(60, 90)])
    torch.testing.assert_close(found[0]["boxes"], target["boxes"])


def test_a_picture_without_heads_and_a_line_of_pixels() -> None:
    transform = build(min_sizes=(30,), max_size=100)
    target = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    batch, targets = transform([torch.zeros(3, 1, 5000)], [target])
    assert batch.image_sizes == [(1, 100)]
    assert targets is not None
    assert targets[0]["boxes"].shape == (0, 4)


@pytest.mark.parametrize("shape", [(1, 20, 20), (4, 20, 20), (3, 0, 20), (20, 20)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected shape \(3, H, W\)"):
        build()([torch.zeros(shape)])


def test_scaling_boxes_of_none() -> None:
    assert scale_boxes(torch.zeros(0, 4), (10, 10), (20, 20)).shape == (0, 4)


def test_enlargement_comes_on_top_of_the_policy_by_hand() -> None:
    transform = build(min_sizes=(100,), max_size=1000, enlargement=1.5)
    assert transform.network_size(50, 80) == (75, 120)
    assert transform.network_size(200, 400) == (150, 300)


def test_scaling_boxes_waits_for_no_gpu(count_waits) -> None:
    boxes = torch.tensor([[1.0, 2, 3, 4]])
    assert count_waits(lambda: scale_boxes(boxes, (10, 10), (20, 30))) == 0
