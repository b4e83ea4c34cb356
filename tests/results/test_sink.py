import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from head_detection.errors import OutputError
from head_detection.results.format_names import OUTPUTS
from head_detection.results.formats import SinkOptions, Sinks
from head_detection.results.images import DrawnSink
from head_detection.results.json import JsonSink
from head_detection.results.record import Origin
from head_detection.results.sink import MIN_THREADS, WAITING_PER_THREAD
from head_detection.results.yolo import LabelSink
from head_detection.structures import Event

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
    return [record(file=name, path=Path(name)) for name in names]


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


def test_a_folder_beside_a_picture_of_the_same_name(tmp_path, record):
    """``p.webp`` becomes ``p.jpg``, which is a folder of the source; and the other way round."""
    records = named(record, "p.jpg/x.png", "p.webp", "q.webp", "Q.JPG/r.jpg/x.png", "q.jpg/y.png")
    assert write_all(DrawnSink, tmp_path, records) == [
        "Q.JPG~/r.jpg/x.png",
        "p.jpg/x.png",
        "p.webp.jpg",
        "q.jpg",
        "q.jpg~/y.png",
    ]


def test_one_picture_that_cannot_be_written_fails_and_the_rest_is_done(tmp_path, record):
    write_all(DrawnSink, tmp_path, [record()])
    (tmp_path / "images/b.png").mkdir()  # of an earlier run
    sink = DrawnSink(tmp_path, ORIGIN)
    for picture in named(record, "a.png", "b.png", "c.png", "d" * 253 + ".im"):
        sink.write(picture)
    sink.close()
    failures = sink.take_failures()
    assert [failure.name[:5] for failure in failures] == ["b.png", "ddddd"]
    assert failures[0].reason == "images/b.png: Is a directory"
    assert failures[1].reason.endswith(": File name too long")
    assert sink.take_failures() == []
    assert (tmp_path / "images/c.png").exists()


def read_all(folder):
    """The rows and lists in all files of a folder: each file is whole, or this raises."""
    found = {}
    for path in folder.rglob("*.*"):
        text = path.read_text()
        if path.suffix == ".json":
            content = json.loads(text)
            found[path.name] = content["images"] if isinstance(content, dict) else content
        elif path.suffix in (".csv", ".ndjson", ".txt"):
            assert text.endswith("\n") or not text
            found[path.name] = text.splitlines()
    return found


GROWING = ["json", "csv", "lines", "counts", "events", "coco", "mot"]


def test_what_a_kill_leaves_is_whole_after_each_frame(tmp_path, record, failure):
    """What is read beside the open files is what a kill would leave."""
    event = Event("crossing", "door", 7, 1, 0.1, (4.0, 5.0), direction="in")
    one = [record(file="a.mp4", index=n, seconds=n / 10, events=(event,), ids=[7]) for n in (0, 1)]
    other = record(file="b.mp4", seconds=0.0, events=(event,), ids=[7])
    with Sinks(GROWING, tmp_path, ORIGIN, SinkOptions(counts_every=0)) as sinks:
        for number, outcome in enumerate((*one, failure(), other), start=1):
            sinks.take(outcome)
            num_failed = int(number > 2)
            heads = number - num_failed
            num = {name: len(rows) for name, rows in read_all(tmp_path).items()}
            assert num["detections.json"] == num["coco.json"] == num["coco-images.json"] == heads
            assert (num["events.ndjson"], num["detections.ndjson"]) == (heads, number)
            assert (num["detections.csv"], num["counts.csv"]) == (1 + heads, 1 + number)
            assert sum(num.get(name, 0) for name in ("mot.txt", "a.txt", "b.txt")) == heads
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("name", ["json", "lines", "csv", "counts", "coco", "mot"])
@pytest.mark.parametrize("are_frames", [False, True])
def test_a_full_disk_is_told_with_the_name_of_the_file(small_disk, record, name, are_frames):
    """What came before is there, and whole."""
    heads = [(10, 5, 30, 45)] * 5
    records = [record(heads, file=f"{number:0200}.png", index=number) for number in range(600)]
    if are_frames:
        records = [record(heads, "v" * 200, number, seconds=number) for number in range(900)]

    def write():
        with Sinks([name], small_disk, ORIGIN) as sinks:
            for outcome in records:
                sinks.take(outcome)

    with pytest.raises(OSError, match="No space left") as caught:
        write()
    path = Path(caught.value.filename)
    assert path.name in OUTPUTS[name]
    if name != "mot" or are_frames:  # that of pictures is written at the end
        assert len(read_all(small_disk)[path.name]) > 20


def test_a_disk_that_does_not_take_the_end_is_told(tmp_path, record, monkeypatch):
    sink = JsonSink(tmp_path, ORIGIN)
    sink.write(record())

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match=r"No space.*detections\.json"):
        sink.close()
    assert len(read_all(tmp_path)["detections.json"]) == 1


def test_names_never_leave_the_folder(tmp_path, record):
    records = named(record, "../../a.jpg", "/etc/b.jpg", "../a.jpg")
    assert write_all(DrawnSink, tmp_path, records) == ["a.jpg", "a.jpg.jpg", "etc/b.jpg"]


def test_a_folder_with_other_files_is_not_touched(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/mine.jpg").write_bytes(b"")
    with pytest.raises(OutputError, match=r"it holds other files.*choose another folder"):
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
    def full_disk(path, content, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("head_detection.results.sink.write_bytes", full_disk)
    sink = LabelSink(tmp_path, ORIGIN)
    sink.write(record())
    with pytest.raises(OSError, match="No space"):
        sink.close()
    monkeypatch.setattr("head_detection.results.sink.num_cores", lambda: 1)
    sink = LabelSink(tmp_path, ORIGIN)
    for number in range(WAITING_PER_THREAD * MIN_THREADS):
        sink.write(record(file=f"{number}.png"))
    with pytest.raises(OSError, match="No space"):  # not only at the end of a long job
        sink.write(record(file="next.png"))
    with pytest.raises(OSError, match="No space"):
        sink.close()


@pytest.mark.parametrize(("cores", "threads"), [(1, 2), (8, 2), (16, 4), (128, 8)])
def test_as_many_pictures_are_written_at_once_as_the_cores_suit(
    tmp_path, record, monkeypatch, cores, threads
):
    all_there = threading.Barrier(threads)  # fewer would break it
    monkeypatch.setattr("head_detection.results.sink.num_cores", lambda: cores)
    monkeypatch.setattr(
        "head_detection.results.sink.write_bytes", lambda *_, **__: all_there.wait(9)
    )
    write_all(LabelSink, tmp_path, [record(file=f"{n}.png") for n in range(2 * threads)])


def test_pictures_wait_in_bounded_memory(tmp_path, record, monkeypatch):
    done = []

    def write(path, content, **options):
        time.sleep(0.05)
        done.append(path.name)

    monkeypatch.setattr("head_detection.results.sink.WAITING_BYTES", 2 * record().pixels.nbytes)
    monkeypatch.setattr("head_detection.results.sink.write_bytes", write)
    sink = DrawnSink(tmp_path, ORIGIN)
    for number in range(5):
        sink.write(record(file=f"{number}.png"))
        assert len(done) >= number - 1  # two wait; four could, if they were smaller
    huge = np.zeros((500, 1000, 3), np.uint8)
    sink.write(record(file="huge.png", pixels=huge))  # once it is alone
    assert len(done) >= 5
    sink.close()
    assert len(done) == 6


def test_a_picture_that_is_named_again_keeps_both_results(tmp_path, record):
    records = [record(file="a.png", index=index) for index in (0, 4, 9, 12)]
    assert write_all(DrawnSink, tmp_path, records) == [
        "a.png",
        "a.png.png",
        "a.png~10.png",
        "a.png~13.png",
    ]


def test_names_that_look_like_such_a_result_are_pictures_too(tmp_path, record):
    names = ["a.jpg", "a.png", "a.png~3.gif", "a.bmp", "a.png"]
    records = [record(file=name, index=index) for index, name in enumerate(names)]
    records.insert(3, record(file="a.png", index=2))
    assert len(write_all(LabelSink, tmp_path, records)) == len(records)
