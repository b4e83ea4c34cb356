import pytest
import torch

from head_detection.models.targets import collect_targets
from head_detection.models.transform import GeneralizedRCNNTransform, Resize


def build(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), min_sizes=(), **values: object):
    resize = Resize(**{"policy": "never_upsample", "min_size": 800, "max_size": 1400, **values})
    return GeneralizedRCNNTransform(resize, mean, std, 32, min_sizes).eval()


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
    transform = build(policy=policy, min_size=300, max_size=400)
    assert transform.resize.factor(*size) == pytest.approx(expected)


def test_several_short_sides_in_training_and_one_otherwise() -> None:
    transform = build(min_size=300, min_sizes=(100, 200, 400), max_size=1000)
    image = torch.zeros(3, 600, 600)
    assert transform([image])[0].image_sizes == [(300, 300)]
    transform.train()
    sizes = {size[0] for _ in range(20) for size in transform([image] * 3)[0].image_sizes}
    assert sizes == {100, 200, 400}


def test_pictures_are_normalised_and_padded_to_one_batch() -> None:
    transform = build(mean=(0.5, 0.5, 0.5), std=(0.25, 0.5, 1.0))
    images = [torch.ones(3, 40, 33), torch.ones(3, 10, 70)]
    batch, _ = transform(images)
    assert batch.tensors.shape == (2, 3, 64, 96)
    assert batch.image_sizes == [(40, 33), (10, 70)]
    torch.testing.assert_close(batch.tensors[0, :, 0, 0], torch.tensor([2.0, 1.0, 0.5]))
    assert batch.tensors[1, :, 10:].abs().sum() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pixels_that_lie_side_by_side_are_normalised_alike(dtype) -> None:
    """As files are read: all colours of a pixel, then the next."""
    transform = build(mean=(0.0, 0.2, 0.4), std=(1.0, 0.5, 0.25))
    planes = torch.randint(0, 256, (3, 40, 33), dtype=torch.uint8)
    pixels = planes.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    batch = transform([pixels], dtype=dtype)[0].tensors
    assert torch.equal(batch, transform([planes], dtype=dtype)[0].tensors)
    expected = [(value / 255 - k * 0.2) * 2**k for k, value in enumerate(planes[:, 5, 7].tolist())]
    assert batch[0, :, 5, 7].tolist() == pytest.approx(expected, abs=1e-2)
    assert batch[0, :, :, 33:].abs().sum() == batch[0, :, 40:].abs().sum() == 0


def test_bytes_and_floats_are_the_same_picture() -> None:
    image = torch.randint(0, 256, (3, 50, 60), dtype=torch.uint8)
    transform = build(min_size=25, max_size=100)
    a_level = 1 / 255 / min(transform.std)  # bytes are scaled to bytes, in two passes
    torch.testing.assert_close(
        transform([image])[0].tensors,
        transform([image.float() / 255])[0].tensors,
        rtol=0,
        atol=a_level,
    )


def test_targets_go_along() -> None:
    transform = build(min_size=30, max_size=1000)
    target = {
        "boxes": torch.tensor([[10.0, 20.0, 30.0, 40.0]]),
        "ignore_boxes": torch.tensor([[0.0, 0.0, 60.0, 60.0]]),
    }
    images = [torch.zeros(3, 20, 20), torch.zeros(3, 60, 90)]
    taught = collect_targets([{"boxes": torch.zeros(0, 4)}, target])
    batch, scaled = transform(images, taught)
    assert batch.image_sizes == [(20, 20), (30, 45)]
    assert scaled is not None
    torch.testing.assert_close(scaled.boxes, torch.tensor([[5.0, 10.0, 15.0, 20.0]]))
    torch.testing.assert_close(scaled.ignore_boxes, torch.tensor([[0.0, 0.0, 30.0, 30.0]]))
    torch.testing.assert_close(taught.boxes, target["boxes"])


def test_a_line_of_pixels_keeps_one() -> None:
    batch, targets = build(min_size=30, max_size=100)([torch.zeros(3, 1, 5000)])
    assert batch.image_sizes == [(1, 100)]
    assert targets is None
    assert build().factors([(1, 100)], [torch.zeros(3, 1, 5000)], torch.device("cpu")).tolist() == [
        [pytest.approx(0.02), 1.0]
    ]


def test_a_mirrored_batch_is_the_mirror_of_each_picture() -> None:
    image = torch.zeros(3, 4, 40)
    image[:, :, 0] = 1.0
    batch, _ = build()([image, image[:, :, :20]], mirrored=True)
    assert batch.tensors[0, 0, 0].nonzero().tolist() == [[39]]
    assert batch.tensors[1, 0, 0].nonzero().tolist() == [[19]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_pixels_are_normalised_in_float32_whatever_the_batch_is(dtype) -> None:
    transform = build(mean=(0.485,) * 3, std=(0.229,) * 3)
    batch, _ = transform([torch.full((3, 64, 96), 124, dtype=torch.uint8)], dtype=dtype)
    # bfloat16 has .484 for the mean of .485, and would give 0.0083.
    expected = torch.tensor((124 / 255 - 0.485) / 0.229).to(dtype)
    assert batch.tensors.dtype == dtype
    torch.testing.assert_close(batch.tensors[0, 0, 0, 0], expected)


def test_neighbours_of_one_size_go_together_and_each_keeps_its_place(operators) -> None:
    transform = build(min_size=30, max_size=1000)
    images = [torch.full((3, 60, 60), value) for value in (0.1, 0.2, 0.3)]
    images.insert(2, torch.full((3, 50, 60), 0.9))
    batch, _ = transform(images)
    assert batch.tensors[:, 0, 0, 0].tolist() == pytest.approx([0.1, 0.2, 0.9, 0.3])
    like = operators(lambda: transform([images[0]] * 8)).names
    assert like["addcmul"] == like["_upsample_bilinear2d_aa"] == 1


@pytest.mark.parametrize("shape", [(1, 20, 20), (4, 20, 20), (3, 0, 20), (20, 20)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected shape \(3, H, W\)"):
        build()([torch.zeros(shape)])


def test_no_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="expected at least one picture"):
        build()([])


def test_enlargement_comes_on_top_of_the_policy_by_hand() -> None:
    transform = build(min_size=100, max_size=1000, enlargement=1.5)
    assert transform.network_size(50, 80) == (75, 120)
    assert transform.network_size(200, 400) == (150, 300)
