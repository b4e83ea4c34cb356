import csv
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from head_detection.apps.main import main, run
from head_detection.inference.detector import HeadDetector
from head_detection.results.csv import CsvSink
from head_detection.structures import Detections

SECONDS = 120


def picture(path, size=(48, 32), level=128):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), level, np.uint8)).save(path)
    return path


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Two good pictures, three bad ones, and files that are none."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    good = picture(folder / "1.png")
    picture(folder / "sub" / "1.png", (64, 40))
    (folder / "cut.png").write_bytes(good.read_bytes()[:60])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.webp").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no picture either")
    return folder


class OneHeadEngine:
    """Finds a head of 10 x 10 in each picture."""

    name, device, precision, batch_size, concurrency = "one", "cpu", "fp32", 1, 1

    def padded_sizes(self, image_size):
        return (image_size,)

    def enough_size(self, image_size):
        return image_size

    def detect(self, images):
        return [
            Detections.from_arrays([[2, 3, 12, 13]], [0.5], tuple(image.shape[1:]))
            for image in images
        ]


@pytest.fixture
def one_head(monkeypatch):
    """Let the command run without a network; returns the engine."""
    engine = OneHeadEngine()
    calls = []

    def from_weights(path, **options):
        calls.append((path, options))
        threshold = options["score_threshold"] or 0.25
        return HeadDetector(engine, threshold, {"weights": "one"}, options["lowest_score"])

    monkeypatch.setattr(HeadDetector, "from_weights", from_weights)
    engine.calls = calls
    return engine


def results(folder):
    return json.loads((folder / "detections.json").read_text())


def test_a_folder_is_done_to_its_end_whatever_is_in_it(photos, one_head, capsys):
    assert main(["test", "--source", "photos", "--save", "json,csv,images"]) == 1
    content = results(Path("runs/test/photos"))
    assert [image["file"] for image in content["images"]] == ["1.png", "sub/1.png"]
    assert [image["count"] for image in content["images"]] == [1, 1]
    assert [failed["file"] for failed in content["failed"]] == ["cut.png", "empty.jpg", "text.webp"]
    assert content["failed"][1]["error"] == "the file is empty"
    out, err = capsys.readouterr()
    assert "pictures: 2, heads: 2, failed: 3, seconds: " in out
    assert "passed over: not pictures: 1" in out
    assert "results in runs/test/photos: detections.json, detections.csv, images/" in out
    assert "failed: empty.jpg: the file is empty" in err
    assert "Finding heads: 100%" in err
    assert "2 heads" in err
    assert "pictures/s" in err
    with Path("runs/test/photos/detections.csv").open() as file:
        assert [row["file"] for row in csv.DictReader(file)] == ["1.png", "sub/1.png"]
    assert Path("runs/test/photos/images/sub/1.png").exists()


@pytest.mark.parametrize("as_list", [False, True])
def test_no_password_of_a_mistyped_address_is_told_or_written(photos, one_head, capsys, as_list):
    typed = ["rtsp:/me:s3cret@cam/1", "me:s3/cret@cam/2", "rtsp//me:s3cret@cam/3"]
    typed += ["srt:/cam?passphrase=s3cret"]
    Path("all.txt").write_text("\n".join(["photos/1.png", *typed]))
    sources = ["all.txt"] if as_list else ["photos/1.png", *typed]
    assert main(["test", "--source", *sources, "--save", "json,lines", "--output", "out"]) == 1
    names = [failed["file"] for failed in results(Path("out"))["failed"]]
    assert names == ["rtsp:/*@cam/1", "*@cam/2", "rtsp/*@cam/3", "srt:/cam?passphrase=*"]
    out, err = capsys.readouterr()
    assert "failed: *@cam/2: no such file" in err
    written = [path.read_text() for path in Path("out").iterdir() if path.is_file()]
    assert "cret" not in "".join([out, err, *written])


@pytest.mark.parametrize(
    "options",
    [
        ["--source", "rtsp:/me:s3cret@cam/1"],
        ["--source", "me:s3 cret@cam/1"],
        ["--source", "srt:/me:s3cret@cam?passphrase=s3_cret"],
        ["--source", "srt:/cam?passphrase=s3_cret&mode=caller"],
        ["--source", "rtsp//me:s3cret@cam/*"],
        ["--source", "me:s3cret@cam", "--camera-fps", "5"],
        ["--source", "photos", "me:s3cret@cam", "--mqtt", "me:s3cret@broker"],
        ["--source", "photos", "--zones", "http:/me:s3cret@cam/zones.yaml"],
        ["--source", "photos", "--track", "me:s3cret@cam"],
        ["--source", "photos", "--stride", "me:s3cret@cam"],
        ["--source", "photos", "--live=me:s3cret@cam"],
        ["me:s3cret@cam", "--source", "photos"],
    ],
)
def test_no_message_holds_a_password(photos, one_head, capsys, options):
    try:
        code = main(["test", *options])
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "cret" not in line


def test_all_good_is_exit_code_0(photos, one_head):
    assert main(["test", "--source", "photos/1.png", "photos/sub", "--output", "out"]) == 0
    assert [image["file"] for image in results(Path("out"))["images"]] == [
        "photos/1.png",
        "photos/sub/1.png",
    ]


def test_results_are_not_read_again_and_may_be_replaced(photos, one_head):
    for _ in range(2):
        main(["test", "--source", ".", "--output", "results", "--overwrite"])
        assert len(results(Path("results"))["images"]) == 2


def test_a_second_run_has_a_folder_of_its_own(photos, one_head, capsys):
    for source in ("photos/sub", "photos/1.png", "photos"):
        main(["test", "--source", source, "--output", "out", "--save", "json,images"])
    sizes = [results(Path(name))["images"][0]["width"] for name in ("out", "out-2")]
    assert sizes == [64, 48]
    assert len(results(Path("out-3"))["images"]) == 2
    out, err = capsys.readouterr()
    assert "note: out holds the results of an earlier run; these go to out-2 (--overwrite" in err
    assert "results in out-3: detections.json, images/" in out
    main(["test", "--source", "photos/sub", "--name", "mine"])
    main(["test", "--source", "photos/sub", "--name", "mine"])
    assert sorted(path.name for path in Path("runs/test").iterdir()) == ["mine", "mine-2"]


def test_overwriting_removes_what_a_run_wrote_and_nothing_else(photos, one_head, capsys):
    formats = "json,csv,lines,counts,coco,mot,yolo,images,blur,crops"
    every = ["test", "--output", "out", "--overwrite", "--source"]
    main([*every, "photos", "--save", formats])
    Path("out/images/sub/mine.txt").write_text("mine")
    Path("out/mine.csv").write_text("mine")
    main([*every, "photos/1.png", "--save", "csv"])
    left = sorted(path.as_posix() for path in Path("out").rglob("*") if path.is_file())
    assert left == [
        *("out/.head-detection-run", "out/detections.csv"),
        *("out/images/.head-detection-output", "out/images/sub/mine.txt", "out/mine.csv"),
    ]
    assert not Path("out/blur").exists()
    Path("own").mkdir()
    Path("own/detections.csv").write_text("mine")
    for more in ([], ["--overwrite"]):
        arguments = ["test", "--source", "photos/1.png", "--output", "own", "--save", "csv", *more]
        assert main(arguments) == 2
    assert (
        "own/detections.csv: no earlier run says that it wrote this file" in capsys.readouterr().err
    )
    assert [path.name for path in Path("own").iterdir()] == ["detections.csv"]


def test_a_run_does_not_remove_its_own_source(photos, one_head, capsys):
    main(["test", "--source", "photos/1.png", "--output", "out", "--save", "images"])
    arguments = ["test", "--output", "out", "--overwrite", "--save", "images"]
    assert main([*arguments, "--source", "out/images/1.png"]) == 2
    assert (
        "--overwrite: expected a source outside the results; got out/images/1.png"
        in capsys.readouterr().err
    )
    assert Path("out/images/1.png").exists()


def test_counts_and_the_fullest_pictures(photos, one_head, capsys, monkeypatch):
    for number in range(2, 9):
        picture(photos / f"{number}.png", level=number)
    heads = {2: 0, 3: 4, 4: 2, 5: 4, 6: 7, 7: 1, 8: 3}

    def detect(images):
        counts = [heads.get(int(image[0, 0, 0]), 1) for image in images]
        return [
            Detections.from_arrays([[2, 3, 12, 13]] * n, [0.5] * n, tuple(image.shape[1:]))
            for n, image in zip(counts, images, strict=True)
        ]

    monkeypatch.setattr(one_head, "detect", detect)
    assert main(["test", "--source", "photos", "--output", "out", "--save", "counts"]) == 1
    assert Path("out/counts.csv").read_text().splitlines() == [
        *(
            "file,count",
            "1.png,1",
            "2.png,0",
            "3.png,4",
            "4.png,2",
            "5.png,4",
            "6.png,7",
            "7.png,1",
        ),
        *("8.png,3", "cut.png,", "empty.jpg,", "sub/1.png,1", "text.webp,"),
    ]
    line = (
        "most heads: 7 in 6.png, 4 in 3.png, 4 in 5.png, 3 in 8.png, 2 in 4.png; without heads: 1"
    )
    assert line in capsys.readouterr().out


def test_less_likely_heads_are_hidden_and_not_counted(photos, one_head, capsys, monkeypatch):
    """Of three heads two are likely; the third is hidden from score 0.05 on."""

    def detect(images):
        boxes = [[0, 0, 8, 8], [20, 0, 28, 8], [0, 20, 8, 28]]
        return [
            Detections.from_arrays(boxes, [0.9, 0.3, 0.06], tuple(image.shape[1:]))
            for image in images
        ]

    monkeypatch.setattr(one_head, "detect", detect)
    arguments = [
        "test",
        "--source",
        "photos/1.png",
        "--blur-scale",
        "1",
        "--save",
        "json,blur,images",
    ]
    for options, num_hidden in (
        *(([], 3), (["--blur-threshold", "0.1"], 2), (["--conf", "0.01"], 3)),
        (["--blur-threshold", "0.99"], 2),  # those that count are hidden all the same
    ):
        main([*arguments, "--output", "out", "--overwrite", *options])
        image = np.asarray(Image.open("out/blur/1.png"))
        corners = [image[4, 4, 0], image[4, 24, 0], image[24, 4, 0]]
        assert corners.count(0) == num_hidden
        assert results(Path("out"))["images"][0]["count"] == (3 if "--conf" in options else 2)
    out = capsys.readouterr().out
    line = "hidden: 3 heads, 1 of them less likely than those counted, down to score 0.05 ("
    assert f"{line}--blur-threshold)" in out


def test_heads_as_pictures_of_their_own(photos, one_head):
    Path("photos/1").mkdir()
    picture(photos / "1" / "a.jpg")
    picture(photos / "1.jpg", level=50)
    main(["test", "--source", "photos", "--output", "out", "--save", "crops"])
    folder = Path("out/crops")
    crops = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("0*"))
    assert crops == ["1.jpg/0001.jpg", "1.png/0001.png", "1/a/0001.jpg", "sub/1/0001.png"]
    with Image.open("out/crops/sub/1/0001.png") as crop:
        assert crop.size == (10, 10)


def test_coco_by_the_ids_of_labels(photos, one_head, capsys):
    categories = [{"id": 3, "name": "person"}, {"id": 7, "name": "head"}]
    labels = {"images": [{"id": 40, "file_name": "photos/sub/1.png"}], "categories": categories}
    Path("l.json").write_text(json.dumps(labels))
    arguments = [
        "test",
        "--source",
        "photos/sub",
        "photos/1.png",
        "--save",
        "coco",
        "--ids",
        "l.json",
    ]
    assert main([*arguments, "--output", "out"]) == 1
    (head,) = json.loads(Path("out/coco.json").read_text())
    assert (head["image_id"], head["category_id"], head["bbox"]) == (40, 7, [2, 3, 10, 10])
    image = {"id": 40, "file_name": "photos/sub/1.png", "width": 64, "height": 40}
    written = json.loads(Path("out/coco-images.json").read_text())
    assert (written["images"], written["categories"]) == ([image], [{"id": 7, "name": "head"}])
    assert "failed: photos/1.png: coco.json: no id in l.json" in capsys.readouterr().err
    Path("l.json").write_text("{}")
    assert main(arguments) == 2
    assert "error: l.json: expected COCO labels, with a list of images" in capsys.readouterr().err


def test_the_options_reach_the_detector(photos, one_head):
    options = "--weights w --device cpu --precision bf16 --score-threshold 0.6 --engine torch "
    options += "--compile --set inference.tile=0 inference.views.0.mirrored=true --imgsz 640"
    Path("w").touch()
    assert main(["test", "--source", "photos/sub", "--save", "json", *options.split()]) == 0
    assert one_head.calls == [
        (
            Path("w"),
            {
                "engine": "torch",
                "device": "cpu",
                "precision": "bf16",
                "score_threshold": 0.6,
                "lowest_score": None,
                "compile_network": True,
                "overrides": [
                    *("inference.tile=0", "inference.views.0.mirrored=true"),
                    *("inference.resize.min_size=640", "inference.resize.max_size=640"),
                ],
            },
        )
    ]
    content = results(Path("runs/test/sub"))
    assert content["score_threshold"] == 0.6
    assert content["images"][0]["count"] == 0


def test_lines_on_standard_output_have_it_for_themselves(photos, one_head, capsys):
    assert main(["test", "--source", "photos", "--save", "lines", "--output", "-"]) == 1
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["file"] for line in lines] == [
        *("1.png", "cut.png", "empty.jpg", "sub/1.png", "text.webp")
    ]
    assert lines[0]["boxes"] == [[2, 3, 12, 13]]
    assert lines[2] == {"file": "empty.jpg", "error": "the file is empty"}
    assert "failed: empty.jpg: the file is empty" in err
    assert "pictures: 2, heads: 2, failed: 3" in err
    assert "passed over: not pictures: 1" in err
    assert not Path("runs").exists()


def test_hidden_heads_go_beside_drawn_ones(photos, one_head):
    main(["test", "--source", "photos/sub", "--output", "out", "--save", "images,blur"])
    written = sorted(path.name for path in Path("out").iterdir())
    assert written == [".head-detection-run", "blur", "images"]
    assert Path("out/blur/1.png").read_bytes() != Path("out/images/1.png").read_bytes()


def test_a_mistake_about_the_results_names_its_option(photos, one_head, capsys):
    picture(Path("mine/images/a.png"))
    assert main(["test", "--source", "photos", "--output", "mine"]) == 2
    assert "error: --output: mine/images: expected a new folder" in capsys.readouterr().err


def test_frames_keep_their_numbers_where_a_picture_failed(photos, one_head):
    main(["test", "--source", "photos", "--save", "mot"])
    lines = Path("runs/test/photos/mot.txt").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["1"]
    picture(Path("photos/d.png"))
    main(["test", "--source", "photos", "--save", "mot", "--overwrite"])
    lines = Path("runs/test/photos/mot.txt").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["1", "3"]
    lines = Path("runs/test/photos/mot/sub.txt").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["1"]


@pytest.mark.parametrize("name", ["loop.mp4", "loop.jpg"])
def test_a_link_to_itself_fails_alone(photos, one_head, capsys, name):
    Path(name).symlink_to(name)
    (photos / name).symlink_to(photos / name)
    for sources, num_failed in [([name], 1), ([name, "photos/1.png"], 1), (["photos"], 4)]:
        options = ["--output", "out", "--overwrite", "--save", "json"]
        assert run(["test", "--source", *sources, *options]) == 1
        assert len(results(Path("out"))["failed"]) == num_failed
        assert f"{name}: Too many levels of symbolic links" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_summary_counts_what_was_written_before_a_signal(
    photos, one_head, monkeypatch, capsys, number
):
    for index in range(5):
        picture(photos / f"{index}.png")
    written, write = [], CsvSink.write

    def write_and_be_ended(sink, record):
        write(sink, record)
        written.append(record)
        if len(written) == 3:
            signal.raise_signal(number)

    monkeypatch.setattr(CsvSink, "write", write_and_be_ended)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(["test", "--source", "photos", "--save", "json,csv,lines"])
    folder = Path("runs/test/photos")
    assert "pictures: 3, heads: 3, " in capsys.readouterr().out
    assert len(results(folder)["images"]) == 3
    assert len((folder / "detections.csv").read_text().splitlines()) == 4
    assert len((folder / "detections.ndjson").read_text().splitlines()) == 3


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit(143)])
def test_the_files_are_whole_after_the_work_is_cut_short(photos, one_head, monkeypatch, error):
    for number in range(20):
        picture(photos / f"{number}.png")
    detect, done = one_head.detect, []

    def cut_short(images):
        done.append(images)
        if len(done) > 5:
            raise error
        return detect(images)

    monkeypatch.setattr(one_head, "detect", cut_short)
    handlers = [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)]
    with pytest.raises(type(error) if isinstance(error, SystemExit) else error):
        run(["test", "--source", "photos"])
    assert len(results(Path("runs/test/photos"))["images"]) == 5
    assert handlers == [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--source", "gone"], "error: 'gone': expected a picture, a video, a folder"),
        (["--source", "nothing"], "expected pictures or videos such as .jpg or .mp4, found none"),
        (["--source", "photos", "--video-codec", "x"], "--video-codec: expected libx264, "),
        (["--source", "photos", "--show"], "--show: expected a display"),
        (["--source", "photos", "--save", "xml"], "--save: expected some of json,csv"),
        (["--source", "photos", "--save", "json,cvs"], "got 'json,cvs'; did you mean csv?"),
        (["--source", "photos", "--weights", "acurate"], "such file; did you mean accurate?"),
        (["--source", "photos", "--tile-overlap", "1"], "tile_overlap: expected less than 1"),
        (["--source", "photos", "--set", "inference.tyle=1"], "tyle: unknown key; did you mean ti"),
        (["--source", "photos", "--output", "-"], "--output: standard output: expected lines"),
        (["--source", "photos", "--weights", "gone"], "error: gone: expected a weights file"),
        (["--source", "photos", "--weights", "photos/1.png"], ".safetensors file"),
        (["--source", "photos", "--device", "gpu"], "device: expected auto, cpu"),
        (["--source", "photos", "--output", "photos/1.png"], "photos/1.png: expected a folder, ne"),
        (["--source", "photos", "--output", "photos/1.png", "--overwrite"], "; a file is called"),
        (["--source", "photos", "--output", "loop"], "--output: loop: expected a folder, new or"),
        (["--source", "photos", "--output", "loop"], "; a link that leads nowhere is called so"),
        (["--source", "photos", "--output", "loop/out"], "loop/out: Too many levels of symbolic"),
        (["--source", "photos", "--zones", "loop"], "loop: expected a YAML file of zones; Too"),
        (["--source", "photos", "--weights", "loop"], "loop: expected a weights file"),
        (["--source", "photos", "--save", "coco", "--ids", "loop"], "loop: expected COCO labels"),
    ],
)
def test_a_mistake_of_the_user_is_one_line_and_exit_code_2(
    photos, tiny_weights, capsys, arguments, line, monkeypatch
):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    if "--weights" not in arguments:
        arguments = [*arguments, "--weights", str(tiny_weights)]
    Path("nothing").mkdir()
    Path("loop").symlink_to("loop")
    assert main(["test", *arguments]) == 2
    _out, err = capsys.readouterr()
    assert line in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "--source"),
        (["--source", "a", "--score-threshold", "7"], "expected 0 to 1; got 7"),
        (["--source", "a", "--score-threshold", "nan"], "expected 0 to 1; got nan"),
        (["--source", "a", "--batch-size", "0"], "expected 1 or more; got 0"),
        (["--source", "a", "--tile", "-1"], "expected auto, 0 or more pixels; got -1"),
        (["--source", "a", "--max-pixels", "0"], "expected 1 or more; got 0"),
        (["--source", "a", "--blur-style", "smear"], "choose from"),
        (["--source", "a", "--blur-threshold", "2"], "expected 0 to 1; got 2"),
        (["--source", "a", "--draw", "boxes,faces"], "expected some of boxes,ids,traces,zones,co"),
        (
            ["--source", "a", "--draw-color", "reddish"],
            "expected a color such as red or #ff0000; got",
        ),
        (["--source", "a", "--line-width", "0"], "expected 1 or more; got 0"),
        (["--source", "a", "--name", "b", "--output", "c"], "not allowed with"),
        (["--source", "a", "--output", ""], "expected a path; got an empty text"),
        (["--source", "a", "--zones", ""], "--zones: expected a path; got an empty text"),
        (["--source", "a", "--name", ""], "expected a name; got '': give"),
        (["--source", "a", "--name", "../b"], "expected a name; got '../b': give"),
        (["--source", "a", "--blur-scale", "0.5"], "expected 1 to 10; got 0.5"),
        (["--source", "a", "--tyle", "512"], "--tile"),
        (["--source", "a", "--engine", "tensorrt"], "choose from"),
        (["--source", "a", "--engine", "onx"], ", did you mean onnx?; see head-detection test --h"),
        (["--source", "a", "--imgsz", "640", "480"], "arguments: 480; see head-detection test --h"),
    ],
)
def test_an_argument_that_does_not_exist_is_exit_code_2(arguments, line, capsys):
    with pytest.raises(SystemExit) as error:
        main(["test", *arguments])
    assert error.value.code == 2
    assert line in capsys.readouterr().err


def turned_tiff(path, size):
    """A landscape that is stored on its side: white but for a grey head of 10 x 10 at (2, 3)."""
    upright = np.full((size[1], size[0], 3), 255, np.uint8)
    upright[3:13, 2:12] = 100
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: it was turned the other way before
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rot90(upright)).save(path, exif=exif)


@pytest.mark.parametrize("size", [(90, 60), (60, 90)])
@pytest.mark.parametrize("saved", ["json,csv,blur", "json,csv"])
def test_a_turned_tiff_has_one_size_in_all_that_is_written(
    tmp_path, monkeypatch, one_head, size, saved
):
    monkeypatch.chdir(tmp_path)
    turned_tiff(tmp_path / "p" / "a.tif", size)
    assert main(["test", "--source", "p", "--output", "out", "--save", saved]) == 0
    (image,) = results(Path("out"))["images"]
    assert (image["width"], image["height"]) == size
    assert image["boxes"] == [[2, 3, 12, 13]]
    if "blur" in saved:
        with Image.open("out/blur/a.jpg") as blurred:
            pixels = np.asarray(blurred)
        assert pixels.shape == (size[1], size[0], 3)
        assert pixels[3:13, 2:12].max() < 20  # JPEG: black, nearly
        assert pixels[25:, 25:].min() > 235


@pytest.mark.parametrize(("options", "largest"), [([], 0), (["--blur-style", "pixelate"], 200)])
def test_the_ways_to_hide_heads(photos, one_head, options, largest):
    noise = np.random.default_rng(0).integers(1, 200, (32, 48, 3), np.uint8)
    Image.fromarray(noise).save("photos/noise.png")
    arguments = ["test", "--source", "photos/noise.png", "--output", "out", "--save", "blur"]
    assert main([*arguments, *options, "--blur-scale", "1"]) == 0
    with Image.open("out/blur/noise.png") as image:
        assert image.mode == "RGB"
        hidden = np.asarray(image)
    assert hidden[3:13, 2:12].max() <= largest
    assert (hidden[3:13, 2:12] != noise[3:13, 2:12]).any(axis=2).mean() > 0.7
    hidden = hidden.copy()
    hidden[3:13, 2:12] = noise[3:13, 2:12]
    np.testing.assert_array_equal(hidden, noise)


def test_one_file_that_cannot_be_written_fails_alone(tmp_path, monkeypatch, one_head, capsys):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "p" / "p.jpg" / "x.png")
    picture(tmp_path / "p" / "p.webp")
    picture(tmp_path / "p" / "z.png")
    arguments = ["test", "--source", "p", "--output", "out", "--save", "json,images"]
    assert main(arguments) == 0
    written = sorted(path.name for path in Path("out/images").rglob("*.*g"))
    assert written == ["p.jpg", "p.webp.jpg", "x.png", "z.png"]
    capsys.readouterr()
    Path("out/images/z.png").unlink()
    Path("out/images/z.png").mkdir()  # in the way
    assert main([*arguments, "--overwrite"]) == 1
    out, err = capsys.readouterr()
    assert "failed: z.png: images/z.png: Is a directory" in err
    assert "pictures: 3, heads: 3, failed: 1" in out
    assert len(results(Path("out"))["images"]) == 3


def test_how_deep_pictures_were_read_is_noted(tmp_path, monkeypatch, one_head, capsys):
    monkeypatch.chdir(tmp_path)
    Path("p").mkdir()
    ramp = np.linspace(0, 4095, 48 * 32).astype(np.uint16).reshape(32, 48)
    for number in range(7):
        Image.fromarray(ramp).save(f"p/{number}.png")
    picture(tmp_path / "p" / "8.png")
    assert main(["test", "--source", "p", "--output", "out", "--save", "json,images"]) == 0
    out, err = capsys.readouterr()
    assert "note: 0.png: pixel values 0 to 4095 are shown as black to white" in err
    assert err.count("note: ") == 5
    assert "notes: 7, of which 5 were shown" in out
    with Image.open("out/images/0.png") as image:
        assert np.asarray(image).max() > 250


def test_more_pixels_may_be_allowed_or_fewer(photos, one_head, capsys):
    arguments = ["test", "--source", "photos/1.png", "photos/sub", "--save", "json"]
    assert main([*arguments, "--max-pixels", str(48 * 32)]) == 1
    _out, err = capsys.readouterr()
    line = "failed: photos/sub/1.png: 64x40 pixels; at most 1,536 pixels are read; make it smaller"
    assert f"{line}, or allow more with --max-pixels" in err
    assert main([*arguments, "--max-pixels", str(64 * 40)]) == 0


LONG = "/".join(["n" * 60] * 5)
"""Folders of 300 characters."""


@pytest.mark.parametrize(
    "name", ["\u00e9t\u00e9", "\u4eba\u7fa4", "\U0001f468\u200d\U0001f469", LONG]
)
def test_names_in_all_letters_are_read_and_written(tmp_path, monkeypatch, one_head, name):
    monkeypatch.chdir(tmp_path)
    source, output = Path(name, f"{name[:60]}.jpg"), Path(f"out-{name[:60]}", name)
    picture(source)
    formats = "json,csv,lines,coco,mot,yolo,images,blur"
    for place in (name.partition("/")[0], str(source)):
        arguments = ["test", "--source", place, "--output", str(output), "--save", formats]
        assert main(arguments) == 0
        (image,) = results(output)["images"]
        written = output / "images" / image["file"]
        assert written.name == source.name
        with Image.open(written) as drawn:
            assert drawn.size == (240, 160)  # 5 x 48 and 32
        assert (output / "labels" / image["file"]).with_suffix(".txt").read_text().count("\n") == 1


def test_names_do_not_lead_the_terminal(tmp_path, monkeypatch, one_head, capsys):
    """They hold what others chose: a colour, a title of the window, a second line."""
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "in"
    source.mkdir()
    (source / "\x1b]0;title\x07\nred\x1b[31m.jpg").write_bytes(b"no picture")
    for name in ("two\nlines.png", "Zoë 人\u3000.png", "\u202egnp.png"):
        Image.new("RGB", (8, 8)).save(source / name)
    assert main(["test", "--source", "in", "--save", "counts", "--output", "out"]) == 1
    said = "".join(capsys.readouterr())
    assert not {"\x1b", "\x07", "\u202e"} & set(said)
    assert "failed: \\x1b]0;title\\x07\\nred\\x1b[31m.jpg: not a picture" in said
    fullest = next(line for line in said.splitlines() if line.startswith("most heads: "))
    assert all(name in fullest for name in ("1 in two\\nlines.png", "1 in Zoë 人\u3000.png"))


def test_lists_of_powershell_home_folders_and_long_lines(photos, one_head, capsys):
    lines = ["photos/1.png", "~backup.png", "x" * 6_000 + ".png", "photos/sub"]
    Path("all.txt").write_bytes("\r\n".join(lines).encode("utf-16"))
    assert main(["test", "--source", "all.txt", "--output", "out", "--save", "json"]) == 1
    content = results(Path("out"))
    assert [image["file"] for image in content["images"]] == ["photos/1.png", "photos/sub/1.png"]
    assert [failed["error"] for failed in content["failed"]] == [
        *("no such file", "File name too long")
    ]


def script(repository, *arguments, **options):
    command = [sys.executable, repository / "scripts" / "test.py", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def test_the_script_finds_heads_and_reports_bad_pictures(repository, photos, tiny_weights):
    arguments = ["--source", "photos", "--weights", tiny_weights, "--score-threshold", "0"]
    process = script(repository, *arguments, "--save", "json,images,coco,yolo,mot,csv")
    _out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 1, err
    assert "Traceback" not in err
    content = results(Path("runs/test/photos"))
    assert [len(image["boxes"]) for image in content["images"]] == [
        image["count"] for image in content["images"]
    ]
    assert content["images"][0]["count"] > 0
    assert content["model"]["weights"] == "tiny.safetensors"
    assert len(content["failed"]) == 3


@pytest.mark.skipif(os.name != "posix", reason="other systems ask sockets only")
def test_a_path_that_is_typed_is_answered_before_the_next_one(repository, photos, tiny_weights):
    arguments = ["--weights", tiny_weights, "--save", "lines", "--output", "-"]
    process = script(repository, "--source", "-", *arguments, stdin=subprocess.PIPE)
    answers = []
    for path in ("photos/1.png", "photos/notes.txt\nphotos/empty.jpg", "photos/1.png"):
        process.stdin.write(f"{path}\n")
        process.stdin.flush()  # and nothing more until the answer is there
        answers.append(json.loads(process.stdout.readline()))
    assert [answer["file"] for answer in answers] == [
        *("photos/1.png", "photos/empty.jpg", "photos/1.png")
    ]
    assert (answers[0]["width"], answers[0]["height"]) == (48, 32)
    assert answers[1]["error"] == "the file is empty"
    assert answers[2] == answers[0]
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 1, err
    assert out == ""
    assert "pictures: 2" in err


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_lines_are_whole_after_a_kill(repository, photos, tiny_weights):
    arguments = ["--source", "-", "--weights", tiny_weights, "--save", "lines", "--output", "out"]
    process = script(repository, *arguments, stdin=subprocess.PIPE)
    process.stdin.write("photos/1.png\nphotos/sub/1.png\n")
    process.stdin.flush()
    path = Path("out/detections.ndjson")
    deadline = time.monotonic() + SECONDS
    while not path.exists() or path.read_bytes().count(b"\n") < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.kill()
    process.communicate(timeout=SECONDS)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["file"] for line in lines] == ["photos/1.png", "photos/sub/1.png"]


@pytest.mark.skipif(os.name != "posix", reason="closed pipes as POSIX has them")
def test_a_reader_that_went_away_ends_the_work_in_silence(repository, photos, tiny_weights):
    arguments = ["--weights", tiny_weights, "--save", "lines", "--output", "-"]
    process = script(repository, "--source", "-", *arguments, stdin=subprocess.PIPE)
    process.stdin.write("photos/1.png\n")
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["file"] == "photos/1.png"
    process.stdout.close()
    process.stdin.write("photos/sub/1.png\n")
    process.stdin.flush()
    assert process.wait(timeout=SECONDS) == 141
    assert "Traceback" not in process.stderr.read()
    process.stdin.close()
    process.stderr.close()


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_script_with_whole_files(repository, photos, tiny_weights, number, code):
    process = script(repository, "--source", "-", "--weights", tiny_weights, stdin=subprocess.PIPE)
    for index in range(40):  # standard input stays open: the work has no end of its own
        process.stdin.write(f"{picture(photos / f'{index}.png')}\n")
    process.stdin.flush()
    deadline = time.monotonic() + SECONDS
    while not list(Path().glob("runs/test/stdin/images/**/*.png")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert "stopped early" in out
    assert len(results(Path("runs/test/stdin"))["images"]) >= 1


ZONES = "zones: {left: [[0, 0], [0.5, 0], [0.5, 1], [0, 1]], right: [[0.5, 0], [1, 0], [1, 1]]}\n"


def test_zones_are_counted_in_pictures_and_those_of_no_source_are_told(photos, one_head, capsys):
    text = ZONES + "sources: {door.mp4: {lines: {door: [[0, 0.5], [1, 0.5]]}}}\n"
    (photos / "zones.yaml").write_text(text)
    source = str(photos / "1.png")
    assert main(["test", "--source", source, "--zones", "photos/zones.yaml", "--name", "z"]) == 0
    (image,) = results(Path("runs/test/z"))["images"]
    assert image["zones"] == {"left": 1, "right": 0}
    assert Path("runs/test/z/counts.csv").read_text().splitlines() == [
        "time,source,zone,in,out,now", ",1.png,,,,1", ",1.png,left,,,1", ",1.png,right,,,0",
    ]  # fmt: skip
    said = capsys.readouterr()
    assert "pictures: left: 1 in 1, at most 1 in one" in said.out
    assert "no source is called door.mp4: nothing counted" in said.out
    assert "note: lines only count in videos and cameras" in said.err


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--save", "events"], "--save events: expected --zones FILE.yaml beside it"),
        (["--zones", "none.yaml"], "none.yaml: expected a YAML file of zones; No such file"),
        (["--zones", "bad.yaml"], "bad.yaml: zonnes: unknown key; did you mean zones?"),
        (["--counts-every", "-1"], "--counts-every: expected 0 to 1e+09; got -1"),
    ],
)
def test_a_mistake_about_zones_is_one_line(photos, one_head, capsys, options, line):
    Path("bad.yaml").write_text("zonnes: {}")
    with suppress(SystemExit):  # of the parser
        assert main(["test", "--source", "photos/1.png", *options]) == 2
    assert line in capsys.readouterr().err.splitlines()[-1]
    assert not Path("runs").exists()
