"""Tiles: what is detected in which, and a picture that is never in memory as a whole."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from head_detection.inference import tiling
from head_detection.inference.batching import LikeShapeBatches
from head_detection.inference.detector import HeadDetector
from head_detection.inference.loading import load_pictures
from head_detection.inference.tiling import TiledEngine


@pytest.fixture
def small(engine):
    """An engine that shrinks what has a side of over 100 pixels, as ``dark`` sees it."""

    def enough(image_size):
        factor = min(1.0, 100 / max(image_size))
        return tuple(int(side * factor) for side in image_size)

    engine.enough_size = enough
    return engine


def white(height, width):
    return np.full((height, width, 3), 255, np.uint8)


def tensor_of(pixels):
    return torch.from_numpy(pixels).permute(2, 0, 1)


def test_a_head_in_two_tiles_is_one(small):
    pixels = white(100, 180)
    pixels[20:40, 84:96] = 0  # both tiles have it: 0 to 100 and 80 to 180
    tiled = TiledEngine(small, 100, 0.2, 0.5)
    (found,) = tiled.detect([tensor_of(pixels)])
    assert found.image_size == (100, 180)
    assert found.boxes.tolist() == [[84, 20, 96, 40]]
    assert small.batches == [[(100, 100)] * 2, [(100, 180)]]


def test_a_head_larger_than_a_tile_is_found_in_the_whole(small):
    pixels = white(100, 300)
    pixels[10:90, 20:280] = 0
    (found,) = TiledEngine(small, 100, 0.2, 0.5).detect([tensor_of(pixels)])
    assert [20.0, 10.0, 280.0, 90.0] in found.boxes.tolist()


def test_what_is_not_shrunk_needs_no_tiles(small):
    tiled = TiledEngine(small, 40, 0.2, 0.5)
    assert not tiled.is_tiled((100, 100))  # larger than a tile, and seen as it is
    assert tiled.is_tiled((100, 101))
    assert not TiledEngine(small, 200, 0.2, 0.5).is_tiled((100, 200))  # shrunk, and one tile
    tiled.detect([tensor_of(white(90, 80)), tensor_of(white(90, 80))])
    assert small.batches == [[(90, 80), (90, 80)]]
    assert tiled.padded_sizes((90, 80)) == small.padded_sizes((90, 80))
    assert tiled.enough_size((100, 300)) == (100, 300)


def test_pictures_with_and_without_tiles_keep_their_order(small):
    tiled = TiledEngine(small, 100, 0.2, 0.5)
    found = tiled.detect([tensor_of(white(50, 50)), tensor_of(white(100, 180))])
    assert [heads.image_size for heads in found] == [(50, 50), (100, 180)]
    assert tiled.detect([]) == []


@pytest.mark.parametrize("overlap", [0.0, 0.2])
def test_a_file_is_read_in_bands_and_found_alike(small, tmp_path: Path, overlap, monkeypatch):
    pixels = white(230, 310)
    pixels[150:170, 130:140] = 0
    path = tmp_path / "large.png"
    Image.fromarray(pixels).save(path)
    tiled = TiledEngine(small, 100, overlap, 0.5)
    (expected,) = tiled.detect([tensor_of(pixels)])
    small.batches.clear()
    found = tiled.detect_file(path)
    assert found.image_size == (230, 310)
    assert [130.0, 150.0, 140.0, 170.0] in found.boxes.round().tolist()
    assert len(found) == len(expected)
    *_, (whole,) = small.batches
    assert whole == (230 // 3, 310 // 3)  # 310 pixels to 100 at least
    assert all(size == (100, 100) for batch in small.batches[:-1] for size in batch)


def test_a_stream_leaves_large_files_unread(small, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(tiling, "IN_BANDS", 100 * 300)
    pixels = white(100, 300)
    pixels[20:40, 60:70] = 0
    for name in ("large.png", "broken.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    Image.fromarray(white(50, 60)).save(tmp_path / "small.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "broken.png").read_bytes()[:120])
    tiled = TiledEngine(small, 100, 0.2, 0.5)
    names = [tmp_path / name for name in ("small.png", "large.png", "broken.png", "small.png")]
    loaded = list(load_pictures(names, tiled.enough_size, None, tiled.reads_in_bands))
    assert [picture.tensor is None for picture in loaded if picture] == [False, True, True, False]
    results = list(LikeShapeBatches(tiled, 2, keep_pixels=False).run(loaded))
    assert [result.detections is None for result in results] == [False, False, True, False]
    assert results[1].detections.boxes.tolist() == [[60, 20, 70, 40]]
    assert str(results[2].error).startswith(str(tmp_path / "broken.png"))
    detector = HeadDetector(tiled, 0.5, {})
    (found,) = detector.detect([tmp_path / "large.png"])
    assert found.boxes.tolist() == [[60, 20, 70, 40]]


def test_tiles_are_asked_of_the_config(tiny_weights: Path):
    detector = HeadDetector.from_weights(
        tiny_weights, overrides=["inference.tile=300", "inference.tile_overlap=0.1"]
    )
    assert isinstance(detector.engine, TiledEngine)
    assert not isinstance(HeadDetector.from_weights(tiny_weights).engine, TiledEngine)
    with pytest.raises(ValueError, match=r"inference\.tile_overlap"):
        HeadDetector.from_weights(tiny_weights, overrides=["inference.tile_overlap=1.0"])
