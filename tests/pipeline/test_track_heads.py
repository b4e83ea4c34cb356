"""``detector.track``: frames and their heads under ids, from videos, frames, arrays and files."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import write_clip
from fake_stream import Asked, FakeDetector
from PIL import Image

from head_detection.data.sequences import door_scene
from head_detection.errors import ConfigError, PictureError
from head_detection.images.finding import PictureFile
from head_detection.inference.batching import PictureResult
from head_detection.inference.detector import HeadDetector
from head_detection.pipeline.sources import Item
from head_detection.pipeline.tracking import track_heads
from head_detection.structures import Detections, Frame

PIXELS = np.zeros((48, 64, 3), np.uint8)


class OneHead(FakeDetector):
    """Finds the same head in every frame that has pixels, ever less likely."""

    lowest_score = 0.3

    def results_of(self, images: Iterable[Item], asked: Asked) -> Iterator[PictureResult]:
        assert asked.score_threshold == 0.3
        for number, item in enumerate(images):
            assert isinstance(item, Frame)
            found = Detections.from_arrays([[10, 10, 30, 30]], [0.9 - 0.1 * number], (48, 64))
            if item.pixels is None:
                yield PictureResult(item, None, PictureError("not decoded"), None)
            else:
                yield PictureResult(item, found, None, item.pixels if asked.keep_pixels else None)


def ids_of(tracked: Iterable[tuple[Frame, Detections]]) -> list[list[int]]:
    return [[] if found.ids is None else found.ids.tolist() for _, found in tracked]


def test_frames_keep_their_times_and_heads_their_ids() -> None:
    frames = [Frame("door.mp4", 2 * k, k / 5, PIXELS, Path("in/door.mp4")) for k in range(6)]
    frames[2] = Frame("door.mp4", 4, 0.4)
    tracked = list(track_heads(OneHead(), frames))
    assert [frame.index for frame, _ in tracked] == [0, 2, 6, 8, 10]  # without the broken one
    assert [frame.seconds for frame, _ in tracked] == [0, 0.2, 0.6, 0.8, 1.0]
    assert tracked[0][0].pixels is not None
    assert tracked[0][0].path == Path("in/door.mp4")
    # .9, .8, (.7), .6, .5, .4: the last is under the threshold, and followed.
    assert ids_of(tracked)[1:] == [[1]] * 4


def test_arrays_and_files_come_at_a_rate(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "0001.png"
    Image.fromarray(PIXELS).save(path)
    broken = tmp_path / "0002.png"
    broken.write_bytes(b"no picture")
    items = [PIXELS, PictureFile(path, "0001.png"), PictureFile(broken, "0002.png"), PIXELS]
    tracked = list(track_heads(OneHead(), items, fps=10))
    assert [(frame.index, frame.seconds) for frame, _ in tracked] == [(0, 0), (1, 0.1), (3, 0.3)]
    assert ids_of(tracked)[1:] == [[1], [1]]
    assert len(list(track_heads(OneHead(), tmp_path, fps=10))) == 1
    assert ids_of(track_heads(OneHead(), [path, str(path), path], fps=10))[1:] == [[1]] * 2
    assert [line.partition(": ")[0] for line in caplog.messages] == [str(broken)] * 2
    with pytest.raises(ValueError, match="expected fps"):
        list(track_heads(OneHead(), [PIXELS]))


def test_a_video_that_was_cut_short_gives_what_is_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = write_clip(tmp_path / "whole.webm", 20).read_bytes()
    cut = tmp_path / "cut.webm"
    cut.write_bytes(whole[: len(whole) // 2])
    tracked = list(track_heads(OneHead(), cut))
    assert 0 < len(tracked) < 20
    assert [frame.index for frame, _ in tracked] == list(range(len(tracked)))
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("cut.webm: it ends early")


def test_mistakes_are_told() -> None:
    with pytest.raises(ConfigError, match="unknown key"):
        list(track_heads(OneHead(), [], overrides=["tracking.lost=2"]))
    with pytest.raises(ValueError, match="expected one of bytetrack"):
        list(track_heads(OneHead(), [], "deepsort"))
    with pytest.raises(ValueError, match="fps: expected frames a second, above 0; got 0"):
        list(track_heads(OneHead(), [], fps=0))
    with pytest.raises(ValueError, match="fps: expected frames a second, above 0; got inf"):
        list(track_heads(OneHead(), [], fps=float("inf")))
    with pytest.raises(TypeError, match="fps: expected a number, frames a second; got '25'"):
        list(track_heads(OneHead(), [PIXELS], fps="25"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"source: expected a path, .*; got NoneType"):
        list(track_heads(OneHead(), None))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "error", "line"),
    [
        (PIXELS, TypeError, r"source: .*; got ndarray: a single picture"),
        (b"street.mp4", TypeError, r"source: .*; got bytes: a single picture"),
        ([PIXELS, PIXELS / 255], PictureError, r"source\[1\]: expected .* uint8 .* float64"),
        (
            [PIXELS[..., 0]],
            PictureError,
            r"source\[0\]: expected .*; got \(48, 64\) uint8; np.stack",
        ),
        ([Frame("a", 0, 0.0, PIXELS / 255)], PictureError, r"source\[0\]: expected .* float64"),
        (["a/1.mp4", "a/2.mp4"], TypeError, r"source\[0\]: .*got a video or a stream, 'a/1.mp4'"),
        ([Path("1.MOV")], TypeError, r"source\[0\]: .*got a video or a stream, '1.MOV'"),
        (["rtsp://me:geheim@cam/1"], TypeError, "got a video or a stream, 'rtsp://cam/1'"),
        ([b"x"], TypeError, r"source\[0\]: expected a frame, an RGB array or .*; got bytes"),
        ([PIXELS, None], TypeError, r"source\[1\]: .*; got NoneType"),
    ],
)
def test_nothing_that_is_no_frame_is_left_out_in_silence(
    source: Any, error: type[Exception], line: str
) -> None:
    with pytest.raises(error, match=line):
        list(track_heads(OneHead(), source, fps=5))


def test_a_list_of_videos_is_told_before_a_rate_is_asked_for() -> None:
    with pytest.raises(TypeError, match=r"got a video or a stream, 'a/1\.mp4'"):
        list(track_heads(OneHead(), ["a/1.mp4", "a/2.mp4"]))


def test_a_batch_of_pictures_is_frames_in_order() -> None:
    tracked = list(track_heads(OneHead(), np.stack([PIXELS] * 3), fps=5))
    assert [frame.seconds for frame, _ in tracked] == pytest.approx([0, 0.2, 0.4])


def test_the_shipped_detector_follows_the_people_at_the_door(tmp_path: Path) -> None:
    detector = HeadDetector.from_weights(
        device="cpu", precision="fp32", lowest_score=0.1,
        score_threshold=0.75,  # a shoulder that comes in before its head has .63
    )  # fmt: skip
    frames = [frame.pixels for frame in door_scene(fps=5).frames() if 5 <= frame.index < 10]
    clip = write_clip(tmp_path / "door.mp4", [one for one in frames if one is not None], fps=5)
    tracked = list(detector.track(clip))
    assert [frame.seconds for frame, _ in tracked] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert [len(found) for _, found in tracked] == [3, 3, 4, 4, 4]  # the fourth comes in
    ids = ids_of(tracked)
    assert sorted(ids[-1]) == [1, 2, 3, 4]
    middles = [found.boxes[:, [0, 2]].mean(axis=1) for _, found in tracked]
    first, last = (dict(zip(ids[k], middles[k], strict=True)) for k in (1, 4))
    # Persons 1 and 3 walk 96 and 77 px a second to the right and to the left, 4 154 to the left.
    ways = sorted(round(float(last[key] - first[key])) for key in (1, 2, 3))
    assert ways == pytest.approx([-92, -46, 58], abs=6)
