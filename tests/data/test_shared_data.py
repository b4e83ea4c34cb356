"""The sets that the shipped weights are trained on, where they are at hand."""

from pathlib import Path

import pytest

from head_detection.config import AugmentationConfig, DatasetConfig
from head_detection.data.dataset import HeadDataset
from head_detection.data.formats import load_annotations

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not here")


@pytest.mark.parametrize(
    ("name", "num_images", "num_heads"),
    [
        # from the page beside them
        ("scut-head/train.json", 2593, 60_792),
        ("scut-head/val.json", 300, 6_851),
        ("street-auto/train.json", 762, 78_563),
    ],
)
def test_counts(name: str, num_images: int, num_heads: int) -> None:
    annotated = load_annotations(DatasetConfig(path=str(DATA / name)))
    assert (len(annotated), annotated.num_heads) == (num_images, num_heads)


def test_crops_hold_heads() -> None:
    annotated = load_annotations(DatasetConfig(path=str(DATA / "scut-head" / "val.json")))
    dataset = HeadDataset([annotated], AugmentationConfig(crop_size=256))
    counts = [len(dataset.load(index, index).target["boxes"]) for index in range(0, 300, 15)]
    assert sum(count > 0 for count in counts) >= 15, "about 9 in 10"
