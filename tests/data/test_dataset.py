"""Labelled pictures as tensors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from head_detection.config import AugmentationConfig, DatasetConfig
from head_detection.data.annotations import AnnotatedImage, AnnotatedSet, build_truth
from head_detection.data.dataset import HeadDataset
from head_detection.data.formats import load_annotations
from head_detection.errors import PictureError

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
TRUTH = build_truth(
    [
        ((1, 2, 11, 22), False),
        ((-0.5, 0, 5, 30.5), False),
        ((3, 3, 9, 9), True),
        ((50, 50, 60, 60), False),
        ((5, 5, 5, 9), False),
    ]
)

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
"""The sets that the shipped weights are trained on, where they are at hand."""
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not here")


@pytest.fixture
def sets(tmp_path: Path) -> list[AnnotatedSet]:
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path)
    full = AnnotatedImage(path, "a.png", TRUTH)
    empty = AnnotatedImage(path, "b.png", build_truth([]))
    gone = AnnotatedImage(tmp_path / "gone.png", "gone.png", TRUTH)
    return [AnnotatedSet("first", (full, empty)), AnnotatedSet("second", (gone,))]


def test_whole_pictures(sets: list[AnnotatedSet]) -> None:
    dataset = HeadDataset(sets, None)
    assert len(dataset) == 3
    assert dataset.set_sizes == (2, 1)
    sample = dataset.load(0, 0)
    assert_close(sample.image, torch.from_numpy(PIXELS).permute(2, 0, 1).contiguous())
    assert sample.image.is_contiguous()
    # clipped to the picture; what has no area in it is no head
    assert_close(sample.target["boxes"], torch.tensor([[1, 2, 11, 22], [0, 0, 5, 30.0]]))
    assert_close(sample.target["labels"], torch.ones(2, dtype=torch.int64))
    assert_close(sample.target["ignore_boxes"], torch.tensor([[3, 3, 9, 9.0]]))
    assert_close(sample.target["image_id"], torch.tensor(0))


def test_a_picture_without_heads_has_none(sets: list[AnnotatedSet]) -> None:
    for augmentation in (None, AugmentationConfig(crop_size=16), AugmentationConfig()):
        target = HeadDataset(sets, augmentation).load(1, 0).target
        assert_close(target["boxes"], torch.zeros(0, 4))
        assert_close(target["labels"], torch.zeros(0, dtype=torch.int64))
        assert_close(target["ignore_boxes"], torch.zeros(0, 4))
        assert_close(target["image_id"], torch.tensor(1))


def test_the_seed_decides_the_sample(sets: list[AnnotatedSet]) -> None:
    dataset = HeadDataset(sets, AugmentationConfig(crop_size=24))
    first, same, other = (dataset.load(0, seed) for seed in (5, 5, 6))
    assert first.image.shape == (3, 24, 24)
    assert_close(first.image, same.image)
    assert_close(first.target, same.target)
    assert not torch.equal(first.image, other.image)


def test_augmented_without_a_crop_keeps_the_size(sets: list[AnnotatedSet]) -> None:
    assert HeadDataset(sets, AugmentationConfig()).load(0, 0).image.shape == (3, 30, 40)


def test_boxes_of_a_crop_lie_inside_it(sets: list[AnnotatedSet]) -> None:
    dataset = HeadDataset(sets, AugmentationConfig(crop_size=20))
    for seed in range(50):
        target = dataset.load(0, seed).target
        boxes = torch.cat([target["boxes"], target["ignore_boxes"]])
        assert (boxes >= 0).all()
        assert (boxes <= 20).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_a_missing_file_is_named(sets: list[AnnotatedSet]) -> None:
    with pytest.raises(PictureError, match=r"gone\.png: no such file"):
        HeadDataset(sets, None).load(2, 0)


@needs_data
@pytest.mark.parametrize(
    ("name", "num_images", "num_heads"),
    [
        # from the page beside them
        ("scut-head/train.json", 2593, 60_792),
        ("scut-head/val.json", 300, 6_851),
        ("street-auto/train.json", 762, 78_563),
    ],
)
def test_counts_of_the_shared_sets(name: str, num_images: int, num_heads: int) -> None:
    annotated = load_annotations(DatasetConfig(path=str(DATA / name)))
    assert (len(annotated), annotated.num_heads) == (num_images, num_heads)


@needs_data
def test_crops_of_the_shared_set_hold_heads() -> None:
    annotated = load_annotations(DatasetConfig(path=str(DATA / "scut-head" / "val.json")))
    dataset = HeadDataset([annotated], AugmentationConfig(crop_size=256))
    counts = [len(dataset.load(index, index).target["boxes"]) for index in range(0, 300, 15)]
    assert sum(count > 0 for count in counts) >= 15, "about 9 in 10"
