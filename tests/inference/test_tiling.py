"""Tiles: what is detected in which, and a picture that is never in memory as a whole."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from head_detection.errors import PictureError
from head_detection.inference import tiling
from head_detection.inference.batching import LikeShapeBatches
from head_detection.inference.detector import HeadDetector
from head_detection.inference.loading import load_pictures
from head_detection.inference.tiling import TiledEngine
from head_detection.structures import Detections


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


def test_a_head_that_a_tile_has_whole_is_left_to_the_tiles(small, monkeypatch):
    """The whole picture, shrunk, measures it so badly that it would be a second head."""
    found = {
        (100, 180): [[20, 20, 29, 29], [20, 50, 20, 60], [100, 20, 112, 32]],
        (100, 100): [[24, 24, 33, 33]],
    }

    def detect(image):
        size = tuple(image.shape[1:])
        return Detections.from_arrays(found[size], [0.9] * len(found[size]), size)

    monkeypatch.setattr(small, "_detect", detect)
    (seen,) = TiledEngine(small, 100, 0.2, 0.5).detect([tensor_of(white(100, 180))])
    # A side of ten pixels, half of what two tiles share, is large.
    assert sorted(seen.boxes.tolist()) == [[24, 24, 33, 33], [100, 20, 112, 32], [104, 24, 113, 33]]


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


def heads(*sizes, score=0.9):
    """Squares of these sides in a picture of 400 pixels, of which the network sees a quarter."""
    boxes = [[0, 0, side, side] for side in sizes]
    return Detections.from_arrays(boxes, [score] * len(boxes), (400, 400))


@pytest.mark.parametrize(
    ("found", "is_needed"),
    [
        (heads(*[63] * 20), True),  # 16 network pixels are 64 here
        (heads(*[63] * 19), False),
        (heads(*[65] * 99), False),
        (heads(*[63] * 20, *[65] * 60), True),  # a quarter
        (heads(*[63] * 20, *[65] * 61), False),
        (heads(*[63] * 20, score=0.4), False),
        (replace(heads(*[15] * 20), image_size=(100, 100)), False),  # not shrunk
    ],
)
def test_tiles_are_chosen_where_many_heads_are_near_the_smallest_size(small, found, is_needed):
    assert TiledEngine(small, 100, 0.2, 0.5).needs_tiles(found) == is_needed


def test_a_picture_shrunk_below_half_without_tiles_has_a_note(small):
    tiled = TiledEngine(small, 100, 0.2, 0.5)
    note = tiled.with_note(heads(200)).note
    assert note.startswith("seen at 25% of its size")
    assert note.endswith("inference.tile=100 finds them")
    assert tiled.with_note(replace(heads(200), note="deep")).note == f"deep; {note}"
    assert tiled.with_note(Detections.empty((200, 100))).note is None  # half


@pytest.fixture
def dots():
    """25 dark squares of 10 pixels in a picture of 400."""
    pixels = white(400, 400)
    for row in range(5):
        for column in range(5):
            top, left = 34 + 80 * row, 34 + 80 * column
            pixels[top : top + 10, left : left + 10] = 0
    return pixels


@pytest.fixture
def finds_dots(small):
    """The engine ``small``, which finds each dark square on its own."""

    def detect(image):
        dark = (image.float().mean(0) < 100).byte().numpy()
        _, _, stats, _ = cv2.connectedComponentsWithStats(dark)
        left, top, width, height = stats[1:, :4].T
        boxes = np.stack((left, top, left + width, top + height), axis=1)
        return Detections.from_arrays(boxes, [0.75] * len(boxes), tuple(image.shape[1:]))

    small._detect = detect
    return small


@pytest.mark.parametrize("form", ["array", "png", "jpg", "bytes"])
@pytest.mark.parametrize("keep_pixels", [False, True])
def test_small_heads_are_found_again_in_tiles(
    finds_dots, dots, tmp_path: Path, form: str, keep_pixels
):
    path = tmp_path / f"dots.{'png' if form == 'png' else 'jpg'}"
    Image.fromarray(dots).save(path, quality=95)
    image = {"array": dots, "bytes": path.read_bytes()}.get(form, path)
    detector = HeadDetector(finds_dots, 0.5, {}, tiled=TiledEngine(finds_dots, 100, 0.2, 0.5))
    (result,) = detector.stream([image], keep_pixels=keep_pixels)
    assert result.detections.image_size == (400, 400)
    assert len(result.detections) == 25
    assert result.detections.note is None
    first, *tiles = [size for batch in finds_dots.batches for size in batch]
    assert (100, 100) in tiles
    if form == "jpg" and not keep_pixels:
        assert first < (400, 400)  # decoded smaller at first, as all that need no tiles
    assert detector.detect([dots[:80, :80]])[0].note is None


def test_few_small_heads_are_seen_once(finds_dots, dots):
    dots[80:] = 255
    detector = HeadDetector(finds_dots, 0.5, {}, tiled=TiledEngine(finds_dots, 100, 0.2, 0.5))
    (found,) = detector.detect([dots])
    assert (len(found), finds_dots.batches) == (5, [[(400, 400)]])
    assert "inference.tile=100" in found.note


def test_a_picture_that_cannot_be_read_again_fails_alone(finds_dots, dots, tmp_path, monkeypatch):
    path = tmp_path / "dots.jpg"
    Image.fromarray(dots).save(path, quality=95)

    def gone(self, path, max_pixels):
        raise PictureError(f"{path}: no such file")

    monkeypatch.setattr(TiledEngine, "detect_file", gone)
    detector = HeadDetector(finds_dots, 0.5, {}, tiled=TiledEngine(finds_dots, 100, 0.2, 0.5))
    first, second = detector.stream([path, dots[:80, :80]])
    assert (first.detections, str(first.error)) == (None, f"{path}: no such file")
    assert len(second.detections) == 1


def test_tiles_are_asked_of_the_config(tiny_weights: Path):
    detector = HeadDetector.from_weights(
        tiny_weights, overrides=["inference.tile=300", "inference.tile_overlap=0.1"]
    )
    assert isinstance(detector.engine, TiledEngine)
    assert detector._tiled is None
    chosen = HeadDetector.from_weights(tiny_weights)
    assert not isinstance(chosen.engine, TiledEngine)
    assert chosen._tiled._tile == 800  # the short side at most of what the first view sees
    never = HeadDetector.from_weights(tiny_weights, overrides=["inference.tile=0"])
    assert not isinstance(never.engine, TiledEngine)
    assert never._tiled is None
    with pytest.raises(ValueError, match=r"inference\.tile_overlap"):
        HeadDetector.from_weights(tiny_weights, overrides=["inference.tile_overlap=1.0"])
