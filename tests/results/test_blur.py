"""Videos with hidden heads: looked at by their pixels."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from clips import packets, write_clip

from head_detection.errors import PictureError
from head_detection.images.styles import Hiding
from head_detection.results.blur import BlurSink, WaitingPictures
from head_detection.results.encoding import Encoding
from head_detection.results.record import Failure, Origin, Record
from head_detection.structures import Detections

SIZE = (96, 160)
ORIGIN = Origin({}, 0.4)
Pixels = npt.NDArray[np.uint8]


def box_at(index: int) -> tuple[int, int, int, int]:
    return (8 + 5 * index, 40, 24 + 5 * index, 60)


def street(index: int) -> Pixels:
    """Draw frame n: a red head on grey that walks 5 pixels a frame."""
    pixels = np.full((*SIZE, 3), 120, np.uint8)
    x1, y1, x2, y2 = box_at(index)
    pixels[y1:y2, x1:x2] = (250, 20, 20)
    return pixels


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a clip of 20 frames, 10 a second, with sound."""
    path = tmp_path_factory.mktemp("walk") / "walk.mp4"
    return write_clip(path, map(street, range(20)), audio=True)


def record_of(index: int, path: Path | None, *, is_found: bool = True) -> Record:
    boxes = [box_at(index)] if is_found else []
    found = Detections.from_arrays(boxes, [0.9] * len(boxes), SIZE)
    return Record(index, "walk.mp4", found, path, index / 10, "walk.mp4", pixels=street(index))


def frames_of(path: Path) -> Iterator[Pixels]:
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def redness(pixels: Pixels) -> int:
    """Return how red the reddest pixel is, over its other colours: 230 in the clip, grey is 0."""
    whole = pixels.astype(int)
    return int((whole[..., 0] - whole[..., 1]).max())


@pytest.mark.parametrize("is_live", [False, True])
@pytest.mark.parametrize("style", ["solid", "pixelate"])
def test_no_frame_shows_a_head_that_the_detector_missed(
    tmp_path: Path, walk: Path, is_live: bool, style: str
) -> None:
    sink = BlurSink(tmp_path, ORIGIN, Hiding("solid") if style == "solid" else Hiding("pixelate"))
    for index in range(20):
        record = record_of(index, None if is_live else walk, is_found=index not in (10, 11))
        sink.write(record)
    sink.close()
    shown = list(frames_of(tmp_path / "blur/walk.mp4"))
    assert len(shown) == 20
    for index, pixels in enumerate(shown):
        x1, y1, x2, y2 = box_at(index)
        if style == "solid":
            assert redness(pixels) < 60, index
            assert pixels[y1:y2, x1:x2].max() < 50, index
        assert np.abs(pixels[:30].astype(int) - 120).max() < 12  # the street is there
    assert sink.notes == [
        "blur: heads were filled in on 2 of 20 frames, found before and after; on 0 more a head is "
        "held before it is first found, or after"
    ]


@pytest.mark.parametrize("has_sound", [True, False])
def test_sound_comes_along_or_not(tmp_path: Path, walk: Path, has_sound: bool) -> None:
    sink = BlurSink(tmp_path, ORIGIN, encoding=Encoding(has_sound=has_sound))
    for index in range(20):
        sink.write(record_of(index, walk))
    sink.close()
    with av.open(str(tmp_path / "blur/walk.mp4")) as container:
        assert len(container.streams.audio) == has_sound
    if has_sound:
        assert packets(tmp_path / "blur/walk.mp4") == packets(walk)


def test_a_frame_without_an_answer_shows_the_hidden_one_before(tmp_path: Path, walk: Path) -> None:
    sink = BlurSink(tmp_path, ORIGIN)
    mistake = PictureError("walk.mp4: damaged")
    for index in range(20):
        if index in (7, 8, 19):
            sink.fail(Failure(index, "walk.mp4", "damaged", mistake, index / 10))
        else:
            sink.write(record_of(index, walk))
    sink.close()
    shown = list(frames_of(tmp_path / "blur/walk.mp4"))
    assert len(shown) == 20
    assert max(map(redness, shown)) < 60
    for index in (7, 8):
        assert np.abs(shown[index].astype(int) - shown[6]).max() < 12


def test_what_is_cut_short_is_hidden_up_to_there(tmp_path: Path, walk: Path) -> None:
    """As after Ctrl-C; what a kill leaves of the file is some seconds shorter."""
    sink = BlurSink(tmp_path, ORIGIN)
    for index in range(7):
        sink.write(record_of(index, walk, is_found=index != 6))
    sink.close()
    shown = list(frames_of(tmp_path / "blur/walk.mp4"))
    assert len(shown) == 7
    assert max(map(redness, shown)) < 60


def test_less_likely_heads_are_hidden_too(tmp_path: Path, walk: Path) -> None:
    sink = BlurSink(tmp_path, ORIGIN)
    for index in range(5):
        record = record_of(index, walk)
        sink.write(replace(record, detections=Detections.empty(SIZE), to_hide=record.detections))
    sink.close()
    assert max(map(redness, frames_of(tmp_path / "blur/walk.mp4"))) < 60


def test_heads_of_another_size_leave_a_frame_out(tmp_path: Path, walk: Path) -> None:
    sink = BlurSink(tmp_path, ORIGIN)
    for index in range(4):
        record = record_of(index, walk)
        wrong = replace(record.detections, image_size=(96, 161))
        sink.write(replace(record, detections=wrong) if index == 2 else record)
    sink.close()
    (failure,) = sink.take_failures()
    assert failure.name == "walk.mp4: frame 2"
    assert len(list(frames_of(tmp_path / "blur/walk.mp4"))) == 3


def test_pictures_and_videos_go_side_by_side(
    tmp_path: Path, walk: Path, record: Callable[..., Record]
) -> None:
    sink = BlurSink(tmp_path, ORIGIN)
    sink.write(record(file="walk.png"))
    sink.write(record_of(0, walk))
    sink.close()
    written = sorted(path.name for path in (tmp_path / "blur").glob("*.*") if path.name[0] != ".")
    assert written == ["walk.mp4", "walk.png"]


@pytest.mark.parametrize(("plain_bytes", "num_plain"), [(2**30, 4), (0, 0), (50_000, 2)])
def test_pictures_wait_on_the_disk_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain_bytes: int, num_plain: int
) -> None:
    """Files of one picture each: they come back in order, also where one was missing.

    A picture has 46,080 bytes: of 50,000, the first is plain, and the last again.
    """
    monkeypatch.setattr("head_detection.results.blur.FILE_BYTES", 10)
    waiting = WaitingPictures(tmp_path, plain_bytes)
    given = [street(0), None, street(5), street(9)]
    shown: list[Pixels | None] = []
    for pixels in given:
        waiting.add(pixels)
    shown += [waiting.take() for _ in given[:3]]
    waiting.add(street(11))
    shown += [waiting.take(), waiting.take()]
    waiting.close()
    num_same = 0
    for pixels, expected in zip(shown, [*given, street(11)], strict=True):
        if pixels is None or expected is None:
            assert pixels is expected
        else:
            assert np.abs(pixels.astype(int) - expected).mean() < 4
            num_same += np.array_equal(pixels, expected)
    assert num_same == num_plain
    assert not list(tmp_path.iterdir())


def test_pictures_that_wait_write_over_those_that_were_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three of 40 wait, a file each; one was taken last, and one is spare: five files do."""
    monkeypatch.setattr("head_detection.results.blur.FILE_BYTES", 10)
    files: list[object] = []
    make = tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **k: files.append(k) or make(**k))
    waiting = WaitingPictures(tmp_path)
    for index in range(40):
        waiting.add(street(index % 20))
        if index >= 3:
            taken = waiting.take()
            assert taken is not None
            assert np.array_equal(taken, street((index - 3) % 20))
    waiting.close()
    assert len(files) == 5


def test_a_full_disk_is_told_and_leaves_no_video_that_does_not_open(small_disk: Path) -> None:
    """What waits fills it before the first half second is written."""
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    sink = BlurSink(small_disk, ORIGIN)

    def write() -> None:
        for index in range(20):
            sink.write(replace(record_of(index, None), pixels=np.roll(noise, index, 1)))

    with pytest.raises(OSError, match=r"No space left.*blur"):
        write()
    with pytest.raises(OSError, match=r"No space left.*blur"):
        sink.close()
    assert not list(small_disk.rglob("*.mp4"))
