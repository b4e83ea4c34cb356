import threading

import numpy as np
import pytest
import torch
from PIL import Image

from head_detection.errors import PictureError
from head_detection.inference.loading import load_pictures, read_ahead
from head_detection.structures import Frame


def load(image):
    (loaded,) = load_pictures([image])
    if loaded.error is not None:
        raise loaded.error
    return loaded.tensor


def test_each_form_of_a_picture_gives_the_same_tensor(scene, write):
    path, pixels = write("a.png"), np.asarray(scene)
    expected = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    forms = [path, str(path), path.read_bytes(), scene, Image.open(path), pixels, expected]
    for form in forms:
        torch.testing.assert_close(load(form), expected)
    torch.testing.assert_close(load(expected / 255), expected / 255)
    torch.testing.assert_close(load(expected.double() / 255), expected / 255)


def test_arrays_that_torch_cannot_share_are_copied(scene):
    pixels = np.asarray(scene)
    assert not pixels.flags.writeable
    mirrored = torch.from_numpy(pixels[:, ::-1].copy()).permute(2, 0, 1)
    torch.testing.assert_close(load(pixels[:, ::-1]), mirrored)


def test_one_lazily_opened_image_may_be_given_many_times(write):
    image = Image.open(write("a.jpg"))
    tensors = [loaded.tensor for loaded in load_pictures([image] * 16)]
    assert all(tensor is not None and torch.equal(tensor, tensors[0]) for tensor in tensors)


@pytest.mark.parametrize(
    ("image", "line"),
    [
        (np.zeros((4, 4), np.uint8), r"images\[0\]: expected an \(H, W, 3\) uint8 RGB array"),
        (np.zeros((4, 4, 3)), "float64"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
        (torch.zeros(4, 4, 3), r"expected a \(3, H, W\)"),
        (torch.zeros(3, 4, 4, dtype=torch.int32), "int32"),
        (torch.full((3, 4, 4), 255.0), "0..1"),
        (torch.full((3, 4, 4), torch.nan), "0..1"),
        (b"", r"images\[0\]: the file is empty"),
        (b"no picture", r"images\[0\]: not a picture"),
        ("gone.jpg", "gone.jpg: no such file"),
    ],
)
def test_a_bad_picture_is_named(image, line):
    with pytest.raises(PictureError, match=line):
        load(image)


def test_what_is_no_kind_of_picture_is_the_programmers_error():
    with pytest.raises(TypeError, match=r"images\[1\]: .* got int"):
        list(load_pictures([np.zeros((4, 4, 3), np.uint8), 3]))


def test_reading_ahead_keeps_the_order():
    release = threading.Event()

    def slow_first(item):
        if item == 0:
            release.wait(10)
        elif item == 1:
            release.set()
        return item

    assert list(read_ahead(range(20), slow_first, size_of=lambda item: 0)) == list(range(20))


def test_reading_ahead_is_bounded_in_number_and_in_size():
    taken = []

    def items():
        for item in range(100):
            taken.append(item)
            yield item

    ahead = read_ahead(items(), lambda item: item, size_of=lambda item: 0)
    next(ahead)
    assert len(taken) <= 8
    ahead.close()

    taken.clear()
    full = read_ahead(items(), lambda item: item, size_of=lambda item: 1, max_size=0)
    for _ in range(10):
        next(full)
    assert len(taken) <= 10 + 4  # each thread may have been given one before the first was done
    full.close()


def test_nothing_that_is_loaded_waits_for_what_is_not_at_hand():
    at_hand, taken = iter([True, True, False, False, False, True]), []

    def items():
        for item in "abcde":
            taken.append(item)
            yield item

    ahead = read_ahead(items(), str, lambda item: 0, is_ready=lambda: next(at_hand))
    # After a and b the next is at hand; after c it is not, so a to c are given before it is asked.
    assert [(next(ahead), len(taken)) for _ in range(2)] == [("a", 3), ("b", 3)]


def test_of_a_camera_one_frame_is_in_hand_at_a_time():
    taken = []

    def frames():
        for number in range(3):
            taken.append(number)
            yield number

    ahead = read_ahead(frames(), str, lambda item: 0, is_ready=lambda: False)
    seen = [(loaded, len(taken)) for loaded in ahead]
    assert seen == [("0", 1), (None, 1), ("1", 2), (None, 2), ("2", 3), (None, 3)]


def test_a_source_that_ended_is_not_asked_again():
    asked = []

    class Terminal:
        """After its end, a terminal gives lines again."""

        def __iter__(self):
            return self

        def __next__(self):
            asked.append(1)
            if len(asked) == 2:
                raise StopIteration
            return len(asked)

    ready = read_ahead(Terminal(), str, lambda item: 0, is_ready=lambda: True)
    assert [loaded for loaded in ready if loaded] == ["1"]
    assert len(asked) == 2


def test_a_frame_is_its_pixels(scene):
    pixels = np.asarray(scene)
    expected = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    torch.testing.assert_close(load(Frame("a.mp4", 3, 0.12, pixels)), expected)
    with pytest.raises(PictureError, match=r"a\.mp4: frame 3: it could not be decoded"):
        load(Frame("a.mp4", 3, 0.12))


def test_reading_ahead_of_nothing_is_empty():
    assert list(read_ahead([], str, size_of=lambda item: 0)) == []
