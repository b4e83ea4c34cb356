import weakref

import numpy as np
import pytest
import torch

from head_detection.errors import DeviceMemoryError
from head_detection.inference.batching import WINDOW_BATCHES, LikeShapeBatches
from head_detection.inference.loading import LoadedPicture


def picture(number, size=(32, 32)):
    name = f"{number}"
    return LoadedPicture(name, name, torch.full((3, *size), number, dtype=torch.uint8))


def run(engine, pictures, batch_size, *, keep_pixels=False):
    batches = LikeShapeBatches(engine, batch_size, keep_pixels=keep_pixels)
    return batches.run(iter(pictures))


def test_only_pictures_of_equal_padded_size_go_together(engine):
    sizes = [(32, 32), (64, 32), (20, 30), (64, 32), (33, 32)]
    results = run(engine, [picture(n, size) for n, size in enumerate(sizes)], 4)
    assert [result.image for result in results] == ["0", "1", "2", "3", "4"]
    assert engine.batches == [[(32, 32), (20, 30)], [(64, 32), (64, 32), (33, 32)]]


def test_results_come_in_order_and_belong_to_their_pictures(engine):
    sizes = [(32 + 32 * (n % 3), 32 + n) for n in range(30)]
    results = list(run(engine, [picture(n, size) for n, size in enumerate(sizes)], 4))
    assert [result.detections.image_size for result in results] == sizes


def test_a_picture_unlike_all_others_waits_for_a_bounded_number(engine):
    given = 0

    def pictures():
        nonlocal given
        for number in range(1000):
            given += 1
            yield picture(number % 200, (64, 64) if number == 0 else (32, 32))

    results = run(engine, pictures(), 2)
    assert next(results).image == "0"
    assert given == 2 * WINDOW_BATCHES + 1


@pytest.mark.parametrize("keep_pixels", [False, True])
def test_large_pictures_wait_in_bounded_memory(engine, monkeypatch, keep_pixels):
    monkeypatch.setattr("head_detection.inference.batching.WINDOW_BYTES", 3 * 32 * 32 * 2)
    list(run(engine, [picture(n) for n in range(99)], 8, keep_pixels=keep_pixels))
    assert {*map(len, engine.batches)} == {3}  # also after many: none is counted that has left


def test_memory_is_free_again_after_pictures_that_the_device_does_not_hold(engine, monkeypatch):
    monkeypatch.setattr("head_detection.inference.batching.WINDOW_BYTES", 3 * 32 * 32 * 2)
    detect = engine.detect

    def no_room_for_ones(images):
        if any(image.any() for image in images):
            raise DeviceMemoryError("cuda:0 has too little memory")
        return detect(images)

    monkeypatch.setattr(engine, "detect", no_room_for_ones)
    results = run(engine, [picture(n < 30) for n in range(60)], 8)
    assert [result.error is None for result in results] == [n >= 30 for n in range(60)]
    assert {*map(len, engine.batches)} == {3}


def test_pixels_are_dropped_after_the_network_unless_asked_for(engine):
    pictures = [picture(1), picture(2, (64, 64)), picture(3)]
    assert [result.pixels for result in run(engine, pictures, 2)] == [None] * 3
    kept = list(run(engine, pictures, 2, keep_pixels=True))
    np.testing.assert_array_equal(kept[1].pixels, np.full((64, 64, 3), 2, np.uint8))


def test_floating_pixels_are_handed_on_as_bytes(engine):
    grey = LoadedPicture("grey", "grey", torch.full((3, 2, 2), 0.2))
    (result,) = run(engine, [grey], 1, keep_pixels=True)
    np.testing.assert_array_equal(result.pixels, np.full((2, 2, 3), 51, np.uint8))


def test_a_picture_that_the_device_does_not_hold_spares_the_others(engine, monkeypatch):
    detect = engine.detect

    def with_room_for_zeros(images):
        if any(image.any() for image in images):
            raise DeviceMemoryError("cuda:0 has too little memory")
        return detect(images)

    monkeypatch.setattr(engine, "detect", with_room_for_zeros)
    results = list(run(engine, [picture(n) for n in (0, 7, 0)], 3))
    assert [result.detections is None for result in results] == [False, True, False]
    assert str(results[1].error) == "7: cuda:0 has too little memory"
    assert results[1].pixels is None


def test_what_the_device_held_of_a_failed_picture_is_let_go(engine, monkeypatch):
    held = []

    def no_room(images):
        assert not [tensor for tensor in held if tensor() is not None]
        on_device = torch.zeros(3)
        held.append(weakref.ref(on_device))
        raise DeviceMemoryError("cuda:0 has too little memory")

    monkeypatch.setattr(engine, "detect", no_room)
    results = list(run(engine, [picture(n) for n in range(3)], 3))
    assert len(held) == 4  # together, then each alone
    assert all(result.error for result in results)


def test_no_picture_waits_for_one_that_may_be_long_in_coming(engine):
    def pictures():
        yield picture(1)
        yield picture(2, (64, 32))
        yield None
        assert [result.image for result in seen] == ["1", "2"]
        yield picture(3)

    seen = []
    for result in LikeShapeBatches(engine, 8, keep_pixels=False).run(pictures()):
        seen.append(result)  # noqa: PERF402 - looked at while it grows
    assert engine.batches == [[(32, 32)], [(64, 32)], [(32, 32)]]


def test_nothing_gives_nothing(engine):
    assert list(run(engine, [], 4)) == []
