"""``test`` on videos: what is written, what is said, and how damage ends."""

import argparse
import json
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clips import beeps, corners_of, heard, numbered_frame, packets, write_clip
from PIL import Image

from head_detection.apps.main import main, run
from head_detection.apps.test import add_arguments
from head_detection.apps.video_options import SourceOptions, frame_options
from head_detection.inference.detector import HeadDetector
from head_detection.pipeline.addresses import DeviceMode
from head_detection.pipeline.sources import FrameOptions
from head_detection.pipeline.video_file import describe_video
from head_detection.structures import Detections


class OneHeadEngine:
    """Finds a head of 10 x 10 in each frame."""

    name, device, precision, batch_size, concurrency = "one", "cpu", "fp32", 2, 1

    def padded_sizes(self, image_size: tuple[int, int]) -> tuple[tuple[int, int]]:
        return (image_size,)

    def enough_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        return image_size

    def detect(self, images: Any) -> list[Detections]:
        return [
            Detections.from_arrays([[2, 3, 12, 13]], [0.5], tuple(image.shape[1:]))
            for image in images
        ]


@pytest.fixture(autouse=True)
def one_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Let the command find one head in each frame, in an empty folder; return what it asked for."""
    monkeypatch.chdir(tmp_path)
    detector = HeadDetector(OneHeadEngine(), 0.5, {"weights": "one"}, lowest_score=0.1)  # type: ignore[arg-type]
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(
        HeadDetector, "from_weights", lambda *_, **how: asked.append(how) or detector
    )
    return asked


def test_the_network_may_be_made_for_the_size_of_frames(one_head: list[dict[str, Any]]) -> None:
    write_clip("street.mp4", 2)
    Image.fromarray(numbered_frame(1)).save("still.png")
    assert run(["test", "--source", "street.mp4", "--save", "json"]) == 0
    assert run(["test", "--source", "street.mp4", "still.png", "--save", "json"]) == 0
    assert run(["test", "--source", "street.mp4", "--save", "json", "--compile"]) == 0
    assert [how["compile_network"] for how in one_head] == [None, False, True]


def written(name: str) -> Any:
    return json.loads(Path("runs", "test", name, "detections.json").read_text())


def test_a_video_becomes_boxes_counts_and_a_drawn_video(capsys: pytest.CaptureFixture[str]) -> None:
    write_clip("street.mp4", 12)
    assert run(["test", "--source", "street.mp4"]) == 0
    out, err = capsys.readouterr()
    assert "frames: 12 of 1 video, heads: 12, failed: 0" in out
    assert "most heads: 1 in street.mp4: frame 0, 1 in street.mp4: frame 1" in out
    assert "results in runs/test/street: detections.json, counts.csv, video/" in out
    assert "12/12" in err
    records = written("street")["images"]
    assert [(r["file"], r["frame"], r["seconds"], r["count"]) for r in records] == [
        ("street.mp4", index, index / 10, 1) for index in range(12)
    ]
    assert Path("runs/test/street/video/street.mp4").is_file()


def test_the_bar_has_a_total_where_a_file_tells_none(capsys: pytest.CaptureFixture[str]) -> None:
    write_clip("street.ts", 24)
    assert run(["test", "--source", "street.ts", "--save", "json"]) == 0
    assert "24/24" in capsys.readouterr().err


def test_sound_that_a_live_run_leaves_out_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    write_clip("loud.mp4", 3, audio=True)
    assert run(["test", "--source", "loud.mp4", "--live", "--save", "video"]) == 0
    note = "note: loud.mp4: sound left out: that of files not taken live is written"
    assert note in capsys.readouterr().out.splitlines()


def test_a_folder_of_both_goes_on_behind_a_video_that_is_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("in").mkdir()
    write_clip("in/1.webm", 3)
    Path("in/2.mp4").write_bytes(b"no film")
    Image.fromarray(numbered_frame(0)).save("in/3.png")
    assert run(["test", "--source", "in", "--save", "json"]) == 1
    out, err = capsys.readouterr()
    assert "pictures: 1, frames: 3 of 1 video, heads: 4, failed: 1" in out
    assert "failed: 2.mp4: expected a video; got a damaged file, or an unknown format" in err
    assert "Traceback" not in err
    content = written("in")
    assert [(image["file"], image.get("frame")) for image in content["images"]] == [
        *[("1.webm", 0), ("1.webm", 1), ("1.webm", 2), ("3.png", None)]
    ]
    assert [entry["file"] for entry in content["failed"]] == ["2.mp4"]


def test_pictures_beside_videos_are_drawn_as_pictures() -> None:
    Path("in").mkdir()
    write_clip("in/1.mp4", 3, audio=True)
    Image.fromarray(numbered_frame(0)).save("in/2.png")
    assert run(["test", "--source", "in", "--no-audio"]) == 0
    folder = Path("runs/test/in")
    drawn = [p for p in folder.rglob("*") if p.is_file() and p.suffix in (".jpg", ".png", ".mp4")]
    names = sorted(path.relative_to(folder).as_posix() for path in drawn)
    assert names == ["images/2.png", "video/1.mp4"]
    with av.open("runs/test/in/video/1.mp4") as container:
        assert [stream.type for stream in container.streams] == ["video"]


@pytest.mark.parametrize("name", ["turned.mp4", "turned.webm"])
def test_a_drawn_video_is_upright_in_step_and_sounds_as_before(name: str) -> None:
    """Three tenths at 30 frames a second, then six at 10, with a beep each second."""
    times = [n / 30 for n in range(9)] + [0.3 + n / 10 for n in range(8)]
    rotation = 90 if name.endswith("mp4") else 0  # WebM has none
    write_clip(name, len(times), times=times, rotation=rotation, audio=True, size=(240, 320))
    assert run(["test", "--source", name, "--save", "video", "--draw", "boxes"]) == 0
    drawn = "runs/test/turned/video/turned.mp4"
    with av.open(drawn) as container:
        frames = list(container.decode(video=0))
    assert [float(frame.time) for frame in frames] == pytest.approx(times, abs=2e-3)
    turned = np.rot90(frames[0].to_ndarray(format="rgb24"), 1 if rotation else 0)
    assert turned.shape == (240, 320, 3)
    assert corners_of(turned) == ["red", "green", "blue", "white"]
    assert frames[0].rotation == 0
    assert packets(drawn) == packets(name)
    assert heard(drawn) == pytest.approx(heard(name), abs=0.03)


def test_hidden_heads_of_a_video_are_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    write_clip("street.mp4", 12)
    options = ["--save", "blur", "--blur-threshold", "0.5", "--max-fps", "5"]
    assert run(["test", "--source", "street.mp4", *options]) == 0
    out = capsys.readouterr().out
    assert "hidden: 6 heads" in out
    assert "note: blur: heads were filled in on 0 of 6 frames" in out


def test_a_damaged_frame_fails_alone_and_shifts_no_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    path = write_clip("a.mp4", (np.roll(noise, index, 1) for index in range(9)), gop=3)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2048] = bytes(2048)
    path.write_bytes(content)
    assert run(["test", "--source", "a.mp4", "--save", "json"]) == 1
    out, err = capsys.readouterr()
    result = written("a")
    failed = [entry["frame"] for entry in result["failed"]]
    assert failed
    assert f"frames: {9 - len(failed)} of 1 video" in out
    assert f"failed: a.mp4: frame {failed[0]}: it could not be decoded" in err
    frames = [(image["frame"], image["seconds"]) for image in result["images"]]
    assert frames == [(index, index / 10) for index in range(9) if index not in failed]


def test_the_part_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    write_clip("a.mp4", 30)
    options = ["--start", "1", "--end", "2", "--max-fps", "5", "--save", "json"]
    assert run(["test", "--source", "a.mp4", *options]) == 0
    assert [record["frame"] for record in written("a")["images"]] == [10, 12, 14, 16, 18]
    assert "5/5" in capsys.readouterr().err


def test_a_part_without_a_frame_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    write_clip("a.mp4", 10)
    options = ["--start", "0.31", "--end", "0.39"]
    assert run(["test", "--source", "a.mp4", *options]) == 1
    out, err = capsys.readouterr()
    assert "frames: 0, heads: 0, failed: 0," in out
    assert "(0.00 frames/s)" in out
    line = "note: no frame lies between --start 0.31 and --end 0.39: nothing was looked at"
    assert line in err.splitlines()
    assert out.splitlines()[-1].endswith("detections.json, counts.csv")
    assert not Path("runs/test/a/video").exists()


def test_what_pictures_have_none_of_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (40, 30)).save("1.png")
    options = ["--save", "json,video,heatmap", "--start", "1"]
    assert run(["test", "--source", "1.png", *options]) == 0
    out, err = capsys.readouterr()
    assert err.splitlines()[-1] == (
        "note: --start 1, --save video,heatmap: only for videos and cameras; these were pictures"
    )
    more = ["--save", "counts", "--output", "more", "--counts-every", "2"]
    for words in (["--stride", "3"], ["--max-fps", "2.5"]):
        assert run(["test", "--source", "1.png", *words, *more]) == 0
        assert capsys.readouterr().err.splitlines()[-1] == (
            f"note: {' '.join(words)}, --counts-every 2: only for videos and cameras; these were "
            "pictures"
        )
    assert out.splitlines()[-1] == "results in runs/test/1: detections.json"
    assert not list(Path("runs/test/1").glob("*/"))
    write_clip("a.mp4", 2)
    assert run(["test", "--source", "a.mp4", "1.png", *options[:2]]) == 0
    assert "pictures" not in capsys.readouterr().err.replace("pictures and frames", "")


def test_live_is_noted_where_files_come_one_after_another(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_clip("a.mp4", 2)
    write_clip("b.mp4", 2)
    line = "note: --live: only for cameras and a single video; no frame is dropped here"
    assert run(["test", "--source", "a.mp4", "b.mp4", "--live", "--save", "json"]) == 0
    assert line in capsys.readouterr().err.splitlines()
    assert run(["test", "--source", "a.mp4", "--live", "--save", "json"]) == 0
    assert line not in capsys.readouterr().err.splitlines()


def test_ctrl_c_leaves_files_that_open_and_no_thread(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_clip("a.mp4", 40)
    num_batches = iter(range(6))
    detect = OneHeadEngine.detect

    def interrupted(self: OneHeadEngine, images: Any) -> list[Detections]:
        if next(num_batches) == 5:
            raise KeyboardInterrupt
        return detect(self, images)

    monkeypatch.setattr(OneHeadEngine, "detect", interrupted)
    assert main(["test", "--source", "a.mp4"]) == 130
    assert "stopped early; what was found till then is written" in capsys.readouterr().out
    content = written("a")
    records = content["images"]
    assert [record["frame"] for record in records] == list(range(len(records)))
    assert (len(records), content.get("unfinished")) == (10, True)
    assert describe_video(Path("runs/test/a/video/a.mp4")).size is not None
    assert not [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


def all_options_of(*arguments: str) -> SourceOptions:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return frame_options(parser.parse_args(["--source", "a.mp4", *arguments]))


def options_of(*arguments: str) -> FrameOptions:
    return all_options_of(*arguments)["options"]


def test_options_of_cameras() -> None:
    assert all_options_of()["mode"] is None
    asked = ("--camera-size", "1920x1080", "--camera-fps", "30", "--camera-format", "YUYV")
    assert all_options_of(*asked)["mode"] == DeviceMode((1080, 1920), 30.0, "yuyv422")


def test_options_of_frames() -> None:
    assert options_of() == FrameOptions()
    assert options_of("--start", "1.5", "--end", "2", "--stride", "3", "--live") == FrameOptions(
        start=1.5, end=2.0, stride=3, is_live=True
    )
    assert options_of("--every-frame", "--max-fps", ".5", "--max-pixels", "9") == FrameOptions(
        max_fps=0.5, max_pixels=9, is_live=False
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--start", "-1"], "--start: expected 0 to 1e+09; got -1"),
        (["--start", "2", "--end", "2"], "--end: expected more than --start, 2; got 2"),
        (["--max-fps", "0"], "--max-fps: expected 0.0001 to 10000; got 0"),
        (["--camera-size", "1080"], "expected WIDTHxHEIGHT such as 1920x1080; got '1080'"),
        (["--camera-size", "0x1080"], "expected WIDTHxHEIGHT such as 1920x1080; got '0x1080'"),
        (["--camera-format", "a b"], "expected a name such as mjpeg or yuyv422; got 'a b'"),
        (
            ["--camera-fps", "30"],
            "a.mp4: expected a camera of this machine, such as 0, because a size",
        ),
        (["--stride", "0"], "expected 1 or more; got 0"),
        (["--stride", "2", "--max-fps", "3"], "--max-fps: not allowed with argument --stride"),
        (["--live", "--every-frame"], "not allowed with argument --live"),
        (["--start", "1"], "a.mp4: expected a start before its end at 0.4 seconds; got 1"),
    ],
)
def test_a_mistake_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    write_clip("a.mp4", 4)
    try:
        assert main(["test", "--source", "a.mp4", *arguments]) == 2
    except SystemExit as error:
        assert error.code == 2  # noqa: PT017 - argparse's own way
    err = capsys.readouterr().err
    assert line in err
    assert err.count("\n") == 1


def refused(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["test", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_options_are_not_cut_short(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["test", "--source", "a.mp4", "--strid", "2"])
    assert stopped.value.code == 2
    assert "no option --strid, did you mean --stride?" in capsys.readouterr().err


def test_sound_alone_is_called_so(capsys: pytest.CaptureFixture[str]) -> None:
    with av.open("a.m4a", "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=48_000, layout="mono")
        for frame in beeps(0.1):
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    line = "error: {}: expected a video; got a file with sound only"
    assert refused(capsys, "--source", "a.m4a") == line.format("a.m4a")
    Path("a.m4a").rename("a.mp4")
    assert refused(capsys, "--source", "a.mp4") == line.format("a.mp4")
    Path("a.mp3").write_bytes(b"ID3")
    assert refused(capsys, "--source", "a.mp3").endswith("got a file with the name of a sound file")


def test_a_mistake_in_zones_is_told_before_weights_are_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(HeadDetector, "from_weights")
    write_clip("a.mp4", 2)
    Path("z.yaml").write_text("units: pixels\nlines: {door: [[0, 50], [161, 50]]}")
    assert refused(capsys, "--source", "a.mp4", "--zones", "z.yaml").startswith(
        "error: door: expected points inside a.mp4, 160x120 pixels; got 161, 50"
    )


def write_sizes(path: str, sizes: list[tuple[int, int]]) -> None:
    """Write a video whose frames change their size: ten of each, which are JPEG files."""
    with av.open(path, "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.height, stream.width, stream.pix_fmt = *sizes[0], "yuvj420p"
        number = 0
        for size in sizes:
            for content in packets(write_clip("part.avi", 10, size=size), "video"):
                packet = av.Packet(content)
                packet.stream, packet.time_base = stream, Fraction(1, 25)
                packet.pts = packet.dts = number
                packet.is_keyframe = True
                container.mux(packet)
                number += 1
    Path("part.avi").unlink()


@pytest.mark.parametrize("is_first", [False, True])
def test_a_video_that_changes_its_size_fails_where_zones_lie_outside_and_others_go_on(
    capsys: pytest.CaptureFixture[str], *, is_first: bool
) -> None:
    large, small = (120, 160), (60, 80)
    write_sizes("sizes.mkv", [small, large] if is_first else [large, small, large])
    write_clip("a.mp4", 3)
    write_clip("z.mkv", 2)
    Path("z.yaml").write_text(
        "units: pixels\n"
        "zones: {a: {points: [[0, 0], [100, 0], [100, 50], [0, 50]], confirm_seconds: 0}}"
    )
    sources = ["sizes.mkv", "a.mp4", "z.mkv"] if is_first else ["a.mp4", "sizes.mkv", "z.mkv"]
    assert run(["test", "--source", *sources, "--zones", "z.yaml", "--save", "json"]) == 1
    out, err = capsys.readouterr()
    read = 10 if is_first else 20
    assert f"frames: {5 + read} of 3 videos, heads: {5 + read}, failed: 10," in out
    assert "failures: 10, of which 5 were shown" in out.splitlines()
    # Where the size comes back the head left, and came anew: it was in other pixels meanwhile.
    total = "3 now, 3 in, 0 out" if is_first else "3 now, 4 in, 1 out"
    assert f"all sources: a: {total}; stayed" in out
    lines = [line for line in err.splitlines() if "failed: " in line]
    first = 0 if is_first else 10
    assert [line.partition(": expected")[0] for line in lines] == [
        f"failed: sizes.mkv: frame {number}: a" for number in range(first, first + 5)
    ]
    assert "a: expected points inside sizes.mkv, 80x60 pixels; got 100, 0; give the" in lines[0]
