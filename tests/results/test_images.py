import dataclasses
from functools import partial

import numpy as np
import pytest
from PIL import Image

from head_detection.images.styles import Hiding
from head_detection.results.blur import BlurSink
from head_detection.results.images import DrawnSink
from head_detection.results.record import Origin
from head_detection.structures import Detections

ORIGIN = Origin({}, 0.4)


def write_all(sink_class, folder, records):
    sink = sink_class(folder, ORIGIN)
    for record in records:
        sink.write(record)
    sink.close()
    return sorted(
        path.relative_to(folder / sink.folder_name).as_posix()
        for path in (folder / sink.folder_name).rglob("*")
        if path.is_file() and not path.name.startswith(".")
    )


def test_jpeg_and_png_stay_what_they_are(tmp_path, record):
    records = [record(file=n) for n in ("a.JPG", "b.jpeg", "c.png", "d.webp", "e")]
    assert write_all(DrawnSink, tmp_path, records) == ["a.JPG", "b.jpeg", "c.png", "d.jpg", "e.jpg"]
    for name, kind in [("a.JPG", "JPEG"), ("c.png", "PNG"), ("d.jpg", "JPEG")]:
        with Image.open(tmp_path / "images" / name) as image:
            assert (image.format, image.size) == (kind, (300, 150))


def long_picture(record, width):
    return dataclasses.replace(
        record(file="long.jpg"),
        detections=Detections.empty((1, width)),
        pixels=np.zeros((1, width, 3), np.uint8),
    )


def test_a_picture_too_long_for_jpeg_becomes_png(tmp_path, record):
    for width, name in ((65_500, "long.jpg"), (65_501, "long.png"), (70_000, "long.png")):
        folder = tmp_path / str(width)
        assert write_all(BlurSink, folder, [long_picture(record, width)]) == [name]
        with Image.open(folder / "blur" / name) as image:
            assert image.size == (width, 1)


def test_a_picture_that_no_format_holds_fails_alone(tmp_path, record):
    sink = BlurSink(tmp_path, ORIGIN)
    for item in (long_picture(record, 1_000_001), record(file="b.png")):
        sink.write(item)
    sink.close()
    (failure,) = sink.take_failures()
    assert failure.reason == (
        "blur/long.png: expected sides of at most 1,000,000 pixels to write .png; got 1000001x1"
    )
    assert (tmp_path / "blur/b.png").exists()


@pytest.mark.parametrize("hiding", [None, Hiding("pixelate")])
def test_hidden_heads_lose_their_detail_and_the_rest_keeps_its_own(tmp_path, record, hiding):
    noise = np.random.default_rng(0).integers(0, 256, (50, 100, 3), np.uint8)
    noisy = dataclasses.replace(record([(20, 10, 40, 40)]), pixels=noise)
    write_all(partial(BlurSink, hiding=hiding), tmp_path, [noisy])
    with Image.open(tmp_path / "blur/a.png") as image:
        written = np.asarray(image)
    colors = np.unique(written[10:40, 20:40].reshape(-1, 3), axis=0)
    assert colors.tolist() == [[0, 0, 0]] if hiding is None else len(colors) <= 6 * 8
    outside = np.ones((50, 100), bool)
    outside[5:45, 17:43] = False  # three tenths more: 4.5 and 3 on each side
    np.testing.assert_array_equal(written[outside], noise[outside])


def test_heads_that_are_not_hidden_are_not_written(tmp_path, record):
    lying = dataclasses.replace(record(), pixels=np.zeros((100, 50, 3), np.uint8))
    sink = BlurSink(tmp_path, ORIGIN)
    sink.write(lying)
    sink.write(record(file="b.png"))
    sink.close()
    (failure,) = sink.take_failures()
    assert failure.name == "a.png"
    assert failure.reason.startswith("blur/a.png: the heads could not be hidden")
    assert not (tmp_path / "blur/a.png").exists()
    assert (tmp_path / "blur/b.png").exists()


def test_frames_are_jpeg_in_a_folder_of_their_video(tmp_path, frames):
    assert write_all(DrawnSink, tmp_path, frames) == ["a.mp4/000000.jpg", "a.mp4/000002.jpg"]


def test_frames_show_the_way_of_each_head_in_their_order(tmp_path, record):
    frames = [
        record([(10 + 10 * n, 20, 20 + 10 * n, 30)], "a", n, ids=[5], seconds=n / 10, path=None)
        for n in range(8)
    ]
    write_all(DrawnSink, tmp_path, frames)
    with Image.open(tmp_path / "images/a/000007.jpg") as image:
        row = np.asarray(image).astype(int)[75]  # the centres', enlarged three times
    assert (np.abs(row[60:200] - 128).max(axis=1) > 40).all()
    assert np.abs(row[:40] - 128).max() < 40


def test_drawn_and_hidden_heads_go_side_by_side(tmp_path, record):
    assert write_all(DrawnSink, tmp_path, [record()]) == ["a.png"]
    assert write_all(BlurSink, tmp_path, [record()]) == ["a.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blur", "images"]


def test_metadata_stays_behind(tmp_path, record):
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    Image.new("RGB", (100, 50)).save(tmp_path / "a.jpg", exif=exif)
    write_all(BlurSink, tmp_path, [record(file="a.jpg", path=tmp_path / "a.jpg")])
    with Image.open(tmp_path / "blur/a.jpg") as image:
        assert not image.getexif()
        assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
