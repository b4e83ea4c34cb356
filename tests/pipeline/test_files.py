"""Pictures and videos as one source, through what a user types."""

import threading
from pathlib import Path
from typing import Any

import pytest
from clips import busy, number_of, numbered_frame, write_clip
from PIL import Image

from head_detection.errors import SourceError
from head_detection.images.finding import PictureFile
from head_detection.images.reading import open_picture
from head_detection.pipeline.animation import count_animated
from head_detection.pipeline.opening import open_pictures, open_source
from head_detection.pipeline.sources import FrameOptions
from head_detection.structures import Frame


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def picture(path: str, **options: Any) -> None:
    Path(path).parent.mkdir(exist_ok=True)
    Image.fromarray(numbered_frame(0)).save(path, **options)


def animation(path: str, durations: list[int]) -> None:
    first, *rest = [Image.fromarray(numbered_frame(index)) for index in range(len(durations))]
    quality = {"lossless": True} if path.endswith("webp") else {}
    first.save(path, save_all=True, append_images=rest, duration=durations, **quality)


def refuse(*arguments: object) -> None:
    raise AssertionError(f"looked again at {arguments}")


def told(*sources: str, **options: Any) -> list[tuple[str, int | None]]:
    """Return what comes: of frames their number, of pictures None; of failures -1."""
    items = list(open_source(*sources, options=FrameOptions(**options)))
    return [
        (item.name, item.index if isinstance(item, Frame) else None if item.problem is None else -1)
        for item in items
    ]


def test_a_video_alone_is_a_source_of_frames() -> None:
    write_clip("street.mp4", 12)
    source = open_source("street.mp4")
    info = source.info
    assert (info.name, info.fps, info.size, info.count) == ("street", 10.0, (120, 160), 12)
    assert (info.unit, info.is_live, source.skipped) == ("frames", False, {})
    items = [item for item in source if isinstance(item, Frame)]
    assert [number_of(item.pixels) for item in items] == list(range(12))
    assert {(item.name, item.path) for item in items} == {("street.mp4", Path("street.mp4"))}
    assert source.is_ready()


@pytest.mark.parametrize(
    ("options", "count"),
    [({"stride": 5}, 3), ({"start": 0.5, "end": 0.9}, 4), ({"max_fps": 5}, 6), ({"end": 9}, 12)],
)
def test_the_number_of_frames_is_known_beforehand(options: dict[str, Any], count: int) -> None:
    write_clip("a.mp4", 12)
    source = open_source("a.mp4", options=FrameOptions(**options))
    assert source.info.count == len(list(source)) == count


@pytest.mark.parametrize(("start", "stride", "count"), [(0, 1, 60), (1.0, 1, 50), (0, 3, 20)])
def test_how_many_frames_there_are_is_told_by_what_was_read(
    start: float, stride: int, count: int
) -> None:
    """Of recordings that were joined, whose times begin anew, and no header tells of them."""
    parts = [write_clip(f"{name}.ts", busy(30), gop=1).read_bytes() for name in "ab"]
    Path("joined.ts").write_bytes(b"".join(parts))
    source = open_source("joined.ts", options=FrameOptions(start=start, stride=stride))
    assert source.info.count is None
    assert source.expected_count() is None
    told = [source.expected_count() for _ in source]
    assert told[: count // 2].count(None) <= 3
    assert all(0.7 * count <= (number or 0) <= 1.3 * count for number in told[count // 2 :])
    assert source.expected_count() == count == len(told)
    assert all(number >= place for place, number in enumerate(told, start=1) if number)


def test_where_a_part_ends_is_not_told_by_what_was_read() -> None:
    write_clip("a.ts", busy(30))
    source = open_source("a.ts", options=FrameOptions(end=1.0))
    assert {source.expected_count() for _ in source} == {None}
    write_clip("a.mp4", 12)
    source = open_source("a.mp4")
    assert {source.expected_count() for _ in source} == {12}


def test_how_many_there_are_is_told_after_each_picture_without_a_look_at_every_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in range(9):
        picture(f"in/{number}.png")
    source = open_source("in")
    monkeypatch.setattr("head_detection.pipeline.files.is_video_name", refuse)
    assert [source.expected_count() for _ in range(9)] == [9] * 9
    assert (source.info.count, source.info.unit) == (9, "pictures")


def test_content_decides_what_a_file_is() -> None:
    write_clip("clip.mp4", 3).rename("clip.bin")
    picture("photo.png")
    Path("photo.png").rename("photo.mp4")
    assert told("clip.bin") == [("clip.bin", 0), ("clip.bin", 1), ("clip.bin", 2)]
    assert told("photo.mp4") == [("photo.mp4", None)]
    assert told(".") == [("photo.mp4", None)]
    Path("bytes").write_bytes(bytes(range(256)) * 40)
    assert told("bytes") == [("bytes", None)]  # as any file: reading it says that it is no picture


def test_a_motion_jpeg_stream_is_a_video_by_its_name_and_a_picture_otherwise() -> None:
    """Its content alone is that of a phone's picture with more pictures behind it."""
    Path("in").mkdir()
    content = write_clip("in/b.mjpeg", 3, codec="mjpeg").read_bytes()
    Path("in/c.jpg").write_bytes(content)
    Path("in/d.mjpg").write_bytes(b"no film")
    frames = [("b.mjpeg", index) for index in range(3)]
    assert told("in/b.mjpeg") == frames
    assert told("in") == [*frames, ("c.jpg", None), ("d.mjpg", -1)]
    assert told("in/b.mjpeg", "in/c.jpg", stride=2) == [
        ("in/b.mjpeg", 0),
        ("in/b.mjpeg", 2),
        ("in/c.jpg", None),
    ]
    picture("e.png")
    Path("e.png").rename("e.mjpeg")
    assert told("e.mjpeg") == [("e.mjpeg", None)]


@pytest.mark.parametrize("end", ["mp4", "mkv", "avi"])
def test_a_video_called_a_picture_is_one_in_a_folder(end: str) -> None:
    Path("in").mkdir()
    write_clip(f"in/b.{end}", 3, fps=25).rename("in/b.jpg")
    picture("in/a.jpg")
    Path("in/c.jpg").write_bytes(bytes(4) + b"ftypisom" + bytes(400))
    *found, (name, index) = told("in")
    assert found == [("a.jpg", None), *(("b.jpg", frame) for frame in range(3))]
    assert (name, index) == ("c.jpg", -1)
    assert told("in/a.jpg", "in/b.jpg") == [(f"in/{name}", index) for name, index in found]


def test_a_folder_mixes_pictures_and_videos_in_natural_order() -> None:
    Path("in/b").mkdir(parents=True)
    write_clip("in/b/2.mkv", 2)
    write_clip("in/10.mp4", 2)
    picture("in/9.jpg")
    picture("in/11.png")
    Path("in/b/broken.avi").write_bytes(b"no film")
    Path("in/program.ts").write_text("export const a = 1;")
    Path("in/notes.txt").write_text("")
    expected = [
        *[("9.jpg", None), ("10.mp4", 0), ("10.mp4", 1), ("11.png", None)],
        *[("b/2.mkv", 0), ("b/2.mkv", 1), ("b/broken.avi", -1)],
    ]
    source = open_source("in")
    assert told("in") == expected
    assert told("in/*.mp4") == [("10.mp4", 0), ("10.mp4", 1)]
    assert told("in/b/2.mkv", "in/9.jpg", stride=2) == [("in/b/2.mkv", 0), ("in/9.jpg", None)]
    Path("all.txt").write_text("in/10.mp4\nin/9.jpg\n")
    assert told("all.txt", start=0.1) == [("in/10.mp4", 1), ("in/9.jpg", None)]
    assert (source.info.count, source.info.unit) == (None, "pictures and frames")
    assert source.skipped == {"not pictures": 2}
    failed = [item for item in source if isinstance(item, PictureFile) and item.problem]
    assert [item.problem for item in failed] == [
        "expected a video; got a damaged file, or an unknown format "
        "(Invalid data found when processing input)"
    ]
    assert [item.name for item in open_pictures("in")] == ["9.jpg", "11.png"]


def test_a_folder_of_pictures_alone_has_their_number() -> None:
    picture("in/a.jpg")
    picture("in/b.gif")
    assert open_source("in").info.count == 2
    assert told("in") == [("a.jpg", None), ("b.gif", None)]


def test_an_animation_may_have_as_many_pixels_as_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    animation("a.gif", [100, 100])
    monkeypatch.setattr(open_picture, "__defaults__", (1000,))  # as if a frame had 200 million
    assert told("a.gif", max_pixels=10**6) == [("a.gif", 0), ("a.gif", 1)]


@pytest.mark.parametrize("end", ["gif", "webp"])
def test_whole_frames_of_an_animation_that_was_cut_off_come(end: str) -> None:
    animation(f"a.{end}", [200, 100, 300, 100])
    content = Path(f"a.{end}").read_bytes()
    Path(f"a.{end}").write_bytes(content[:-20])
    Path("folder").mkdir()
    Path("folder", f"a.{end}").write_bytes(content[:-20])
    for source in (f"a.{end}", "folder"):
        *frames, last = open_source(source)
        assert [(frame.index, frame.seconds) for frame in frames] == [(0, 0.0), (1, 0.2), (2, 0.3)]
        assert "cut short after frame 2" in last.problem or "truncated" in last.problem


@pytest.mark.parametrize("end", ["gif", "webp"])
def test_an_animation_is_a_video_alone_and_in_a_folder(end: str) -> None:
    # A time of 10 ms or less is shown for 100, as browsers do.
    animation(f"a.{end}", [200, 10, 300, 100])
    picture("b.png")
    source = open_source(f"a.{end}")
    assert (source.info.count, source.info.unit, source.info.fps) == (4, "frames", None)
    frames = [item for item in source if isinstance(item, Frame)]
    assert [(number_of(f.pixels), f.seconds) for f in frames] == [
        *[(0, 0.0), (1, 0.2), (2, 0.3), (3, 0.6)]
    ]
    name = f"a.{end}"
    assert told(".") == [*((name, index) for index in range(4)), ("b.png", None)]
    assert told(name, start=0.2, end=0.6) == [(name, 1), (name, 2)]
    assert told(name, stride=3) == [(name, 0), (name, 3)]
    content = Path(name).read_bytes()
    Path(name).write_bytes(content[: len(content) // 2])
    assert told(name)[-1] in ((name, -1), (name, None))


@pytest.mark.parametrize(
    "options",
    [{}, {"lossless": True}, {"exif": Image.Exif()}, {"xmp": b"<x/>"}, {"icc_profile": b"none"}],
)
def test_a_still_webp_is_known_by_its_first_bytes(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture("a.webp", **options)
    monkeypatch.setattr("head_detection.pipeline.animation.open_picture", refuse)
    assert count_animated(Path("a.webp"), max_pixels=10**6) is None


@pytest.mark.parametrize("content", [b"", b"RIFF\0\0\0\0WEBP", b"\x89PNG" + bytes(40), bytes(40)])
def test_what_is_called_an_animation_and_begins_as_none_is_none(content: bytes) -> None:
    Path("a.webp").write_bytes(content)
    assert count_animated(Path("a.webp"), max_pixels=10**6) is None


def test_an_animation_of_transparent_frames_is_one() -> None:
    first, second = (Image.new("RGBA", (8, 8), (255, 0, 0, alpha)) for alpha in (0, 99))
    first.save("a.webp", save_all=True, append_images=[second], duration=100)
    assert count_animated(Path("a.webp"), max_pixels=10**6) == 2


def test_a_start_behind_the_end_is_said() -> None:
    write_clip("a.mp4", 10)
    with pytest.raises(SourceError, match=r"a.mp4: expected a start before its end at 1 seconds"):
        open_source("a.mp4", options=FrameOptions(start=1))
    picture("b.png")
    source = open_source(".", options=FrameOptions(start=5))
    assert [item.name for item in source] == ["b.png"]
    assert source.skipped == {"videos that end before the start": 1}


def test_the_thread_of_a_video_ends_with_its_reader() -> None:
    write_clip("a.mp4", 50)
    items = iter(open_source("a.mp4"))
    next(items)
    assert [t.name for t in threading.enumerate() if t.name == "read-ahead"] == ["read-ahead"]
    items.close()  # type: ignore[attr-defined]
    assert [t.name for t in threading.enumerate() if t.name == "read-ahead"] == []


def test_large_frames_are_refused_alone_and_fail_in_a_folder() -> None:
    write_clip("a.mp4", 2)
    animation("b.gif", [100, 100])
    with pytest.raises(SourceError, match="got 160x120, 19,200 pixels"):
        open_source("a.mp4", options=FrameOptions(max_pixels=1000))
    assert told(".", max_pixels=1000) == [("a.mp4", -1), ("b.gif", None)]


def test_paths_on_standard_input_may_be_videos(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip("a.mp4", 2)
    Path("lines").write_text("a.mp4\n")
    with Path("lines").open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert told("-") == [("a.mp4", 0), ("a.mp4", 1)]
