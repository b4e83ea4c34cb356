import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from head_detection.errors import OutputError
from head_detection.results.picture_sinks import MAX_WAITING, DrawnSink, LabelSink, PixelatedSink
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


def named(record, *names):
    return [record(name=name, path=Path(name)) for name in names]


def test_yolo_labels_are_centres_and_sizes_over_the_pictures(tmp_path, record):
    records = [record([(10, 5, 30, 45), (90, 0, 110, 50)], "sub/a.png"), record([], "b.jpg")]
    assert write_all(LabelSink, tmp_path, records) == ["b.txt", "sub/a.txt"]
    assert (tmp_path / "labels/sub/a.txt").read_text() == (
        "0 0.200000 0.500000 0.200000 0.800000\n0 1.000000 0.500000 0.200000 1.000000\n"
    )
    assert (tmp_path / "labels/b.txt").read_text() == ""


def test_pictures_of_like_names_do_not_replace_each_other(tmp_path, record):
    records = named(record, "a.jpg", "a.png", "A.webp", "sub/a.jpg", "a.jpg.gif", "a.jpg.bmp")
    assert write_all(LabelSink, tmp_path, records) == [
        "A.webp.txt",
        "a.jpg.bmp.txt",
        "a.jpg.txt",
        "a.png.txt",
        "a.txt",
        "sub/a.txt",
    ]


def test_names_never_leave_the_folder(tmp_path, record):
    records = named(record, "../../a.jpg", "/etc/b.jpg", "../a.jpg")
    assert write_all(DrawnSink, tmp_path, records) == ["a.jpg", "a.jpg.jpg", "etc/b.jpg"]


def test_jpeg_and_png_stay_what_they_are(tmp_path, record):
    records = named(record, "a.JPG", "b.jpeg", "c.png", "d.webp", "e")
    assert write_all(DrawnSink, tmp_path, records) == ["a.JPG", "b.jpeg", "c.png", "d.jpg", "e.jpg"]
    for name, kind in [("a.JPG", "JPEG"), ("c.png", "PNG"), ("d.jpg", "JPEG")]:
        with Image.open(tmp_path / "images" / name) as image:
            assert (image.format, image.size) == (kind, (300, 150))


def test_a_picture_too_long_for_jpeg_becomes_png(tmp_path, record):
    long = dataclasses.replace(
        record(name="long.jpg"),
        detections=Detections.empty((1, 70_000)),
        pixels=np.zeros((1, 70_000, 3), np.uint8),
    )
    assert write_all(PixelatedSink, tmp_path, [long]) == ["long.png"]


def test_pixelated_heads_lose_their_detail_and_the_rest_keeps_its_own(tmp_path, record):
    noise = np.random.default_rng(0).integers(0, 256, (50, 100, 3), np.uint8)
    noisy = dataclasses.replace(record([(20, 10, 40, 40)]), pixels=noise)
    write_all(PixelatedSink, tmp_path, [noisy])
    with Image.open(tmp_path / "images/a.png") as image:
        written = np.asarray(image)
    assert len(np.unique(written[10:40, 20:40].reshape(-1, 3), axis=0)) <= 6 * 8
    outside = np.ones((50, 100), bool)
    outside[7:43, 18:42] = False  # a tenth more on each side
    np.testing.assert_array_equal(written[outside], noise[outside])


def test_a_folder_with_other_files_is_not_touched(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/mine.jpg").write_bytes(b"")
    with pytest.raises(OutputError, match=r"it holds other files.*another --output"):
        DrawnSink(tmp_path, ORIGIN)
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["mine.jpg"]


def test_earlier_results_are_replaced(tmp_path, record):
    write_all(DrawnSink, tmp_path, [record()])
    assert write_all(DrawnSink, tmp_path, [record()]) == ["a.png"]
    assert (tmp_path / "images/.head-detection-output").exists()


def test_a_result_never_replaces_its_own_source(tmp_path, record):
    (first,) = write_all(DrawnSink, tmp_path, [record()])
    path = tmp_path / "images" / first
    before = path.read_bytes()
    sink = DrawnSink(tmp_path, ORIGIN)
    with pytest.raises(OutputError, match="would replace its own source"):
        sink.write(record(path=path))
    sink.close()
    assert path.read_bytes() == before


def test_what_cannot_be_written_is_raised(tmp_path, record, monkeypatch):
    def full_disk(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("head_detection.results.picture_sinks.write_bytes", full_disk)
    sink = LabelSink(tmp_path, ORIGIN)
    sink.write(record())
    with pytest.raises(OSError, match="No space"):
        sink.close()
    sink = LabelSink(tmp_path, ORIGIN)
    for number in range(MAX_WAITING):
        sink.write(record(name=f"{number}.png"))
    with pytest.raises(OSError, match="No space"):  # not only at the end of a long job
        sink.write(record(name="next.png"))
    with pytest.raises(OSError, match="No space"):
        sink.close()
