import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from head_detection.config import DatasetConfig
from head_detection.data.annotations import AnnotatedSet
from head_detection.data.formats import load_annotations
from head_detection.errors import DetectionFileError
from head_detection.images.finding import PictureFinder
from head_detection.results.formats import read_detection_file
from head_detection.results.mot import MotSink
from head_detection.results.record import Failure, Record
from head_detection.structures import Detections

Label = Callable[..., AnnotatedSet]
Lefts = Callable[[tuple[Detections, ...]], list[list[float]]]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_mot_frames_and_pixels_count_from_one(tmp_path: Path, labelled: Label) -> None:
    text = "﻿2,-1,11,21,5,6,0.25,-1,-1,-1\r\n\r\n1 7 1 1 2 2 1\n2,-1,1,1,2,2,0.5\n"
    path = write(tmp_path / "mot.txt", text)
    read = read_detection_file(path, labelled("s/1.jpg", "s/2.jpg", "s/3.jpg"))
    first, second, _ = read.detections
    assert (first.boxes.tolist(), first.scores.tolist()) == ([[0, 0, 2, 2]], [1.0])
    assert second.boxes.tolist() == [[0, 0, 2, 2], [10, 20, 15, 26]]
    assert second.scores.tolist() == [0.5, 0.25]
    assert read.without == ("s/3.jpg",)


@pytest.mark.parametrize(
    ("names", "notes"),
    [
        (("1.jpg", "2.jpg"), ()),
        (("2.jpg", "a.jpg"), ()),  # as ``test`` counts them: numbers before letters
        (("000005.jpg", "000006.jpg"), ("frame n is the n-th picture of its sequence: ",)),
        (("s/0.jpg", "s/1.jpg"), ("frame n is the n-th picture of its sequence: ",)),
    ],
)
def test_frames_that_the_names_number_otherwise_are_noted(
    tmp_path: Path, names: tuple[str, ...], notes: tuple[str, ...], labelled: Label, lefts: Lefts
) -> None:
    path = write(tmp_path / "mot.txt", "2,-1,5,1,2,2,1")
    read = read_detection_file(path, labelled(*names))
    assert lefts(read.detections) == [[], [4]]
    assert read.notes == tuple(f"{note}frame 1 is {names[0]}" for note in notes)


SEQUENCES = ("HT21-01/img1/000001.jpg", "HT21-01/img1/000002.jpg", "HT21-02/img1/000001.jpg")


def test_mot_a_file_a_sequence(tmp_path: Path, labelled: Label, lefts: Lefts) -> None:
    write(tmp_path / "HT21-02.txt", "1,-1,5,1,2,2,1")
    write(tmp_path / "HT21-01.txt", "2,-1,7,1,2,2,1")
    assert lefts(read_detection_file(tmp_path, labelled(*SEQUENCES)).detections) == [[], [6], [4]]
    read = read_detection_file(tmp_path / "HT21-02.txt", labelled(*SEQUENCES))
    assert lefts(read.detections) == [[], [], [4]]
    with pytest.raises(DetectionFileError, match=r"one of the 2 sequences .*; 0 are called mot"):
        read_detection_file(write(tmp_path / "mot.txt", "1,-1,5,1,2,2,1"), labelled(*SEQUENCES))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,-1,1,1,2,2,1\n1,-1,1,1,2,2\n", "line 2: expected frame,id,left"),
        ("0,-1,1,1,2,2,1", "line 1: expected a frame's number, from 1 on; got 0"),
        ("1.5,-1,1,1,2,2,1", "line 1: expected a frame's number, from 1 on; got 1.5"),
        ("nan,-1,1,1,2,2,1", "line 1: expected a frame's number, from 1 on; got nan"),
        ("inf,-1,1,1,2,2,1", "line 1: expected a frame's number, from 1 on; got inf"),
        (
            "1,1.7,1,1,2,2,1",
            "line 1: expected a whole number as id; got 1.7",
        ),
        ("1,nan,1,1,2,2,1", "line 1: expected a whole number as id"),
        ("1,9007199254740993e9,1,1,2,2,1", "line 1: expected a whole number as id"),
        ("1,-1,1,1,two,2,1", "line 1: expected frame,id,left"),
        ("1,-1,1,1,nan,2,1", "line 1: expected a box of four finite numbers"),
        ("1,-1,1,1,2,2,-1", "line 1: expected a score from 0 to 1"),
        ("1,-1,1,1,2,-2,1", "line 1: expected a box with width and height"),
        ("5,-1,1,1,2,2,1\n4,-1,1,1,2,2,1", "frames up to 2, .*; 2 lie beyond, the first: 5"),
    ],
)
def test_a_bad_line_of_mot_is_named(
    tmp_path: Path, text: str, message: str, labelled: Label
) -> None:
    path = write(tmp_path / "mot.txt", text)
    with pytest.raises(DetectionFileError, match=message):
        read_detection_file(path, labelled("1.jpg", "2.jpg"))


def test_mot_without_files_and_not_text(tmp_path: Path, labelled: Label) -> None:
    with pytest.raises(DetectionFileError, match=r"one .txt a sequence"):
        read_detection_file(tmp_path, labelled("a.jpg"))
    (tmp_path / "mot.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DetectionFileError, match="not UTF-8"):
        read_detection_file(tmp_path / "mot.txt", labelled("a.jpg"))


def test_what_is_written_counts_frames_and_pixels_from_one(
    tmp_path: Path,
    record: Callable[..., Record],
    failure: Callable[..., Failure],
    frames: list[Record],
    put: Callable[..., None],
    labelled: Label,
) -> None:
    before = [failure("0.png"), record([], "1.png", 1)]
    put(MotSink, tmp_path, [*before, record([(10, 5, 30, 45)], index=2)])
    assert (tmp_path / "mot.txt").read_text() == "3,-1,11.0,6.0,20.0,40.0,0.5,-1,-1,-1\n"
    put(MotSink, tmp_path, frames)
    assert (tmp_path / "mot.txt").read_text() == (
        "1,7,11.0,6.0,20.0,40.0,0.5,-1,-1,-1\n1,-1,1.0,1.0,2.0,2.0,0.5,-1,-1,-1\n"
    )
    read = read_detection_file(tmp_path / "mot.txt", labelled("1.jpg"))
    assert read.detections[0].boxes.tolist() == [[10, 5, 30, 45], [0, 0, 2, 2]]


def test_frames_count_in_natural_order_whatever_the_order_of_the_labels(
    tmp_path: Path, labelled: Label, lefts: Lefts
) -> None:
    lines = "".join(f"{frame},-1,{frame + 1},1,2,2,1\n" for frame in (1, 2, 3))
    path = write(tmp_path / "mot.txt", lines)
    read = read_detection_file(path, labelled("frame10.jpg", "frame1.jpg", "frame2.jpg"))
    assert lefts(read.detections) == [[3], [1], [2]]


def test_of_several_classes_the_benchmark_s_head_counts(
    tmp_path: Path, labelled: Label, lefts: Lefts
) -> None:
    path = write(
        tmp_path / "mot.txt", "1,-1,2,1,2,2,1,1,1\n1,-1,3,1,2,2,1,3,1\n1,-1,4,1,2,2,1,3.0,1"
    )
    read = read_detection_file(path, labelled("1.jpg"))
    assert lefts(read.detections) == [[1]]
    assert read.notes == ("detections of the class '3', no heads, left out: 2",)
    write(path, "1,-1,2,1,2,2,1,0,1\n1,-1,3,1,2,2,1,0,1")
    assert lefts(read_detection_file(path, labelled("1.jpg")).detections) == [[1, 2]]
    write(path, "1,-1,2,1,2,2,1,0,1\n1,-1,3,1,2,2,1,2,1")
    with pytest.raises(DetectionFileError, match="which class is the head; got 0, 2"):
        read_detection_file(path, labelled("1.jpg"))
    write(path, "1,-1,2,1,2,2,1,7.5,3.5,2\n1,-1,3,1,2,2,1,4,4,2")  # places in space are no classes
    assert lefts(read_detection_file(path, labelled("1.jpg")).detections) == [[1, 2]]


NUMBERS = (1, 2, 3, 10, 11, 12)


@pytest.mark.parametrize(
    "kind", ["folder", "voc", "yolo", "scut", "hollywood", "coco", "headhunter"]
)
def test_frames_are_those_that_test_counts_in_the_same_folder(tmp_path: Path, kind: str) -> None:
    """Every reader's picture n is the n-th that ``test`` finds: frame1, frame2, frame10."""
    pictures = tmp_path / "JPEGImages"
    names = [f"frame{number}.jpg" for number in sorted(NUMBERS, key=str)]
    for folder in ("JPEGImages", "Annotations"):
        (tmp_path / folder).mkdir()
    for name in names:
        Image.new("RGB", (20, 20)).save(pictures / name)
        write(tmp_path / "Annotations" / name.replace("jpg", "xml"), "<annotation/>")
    images = [{"id": n, "file_name": name} for n, name in enumerate(names)]
    coco = write(pictures / "l.json", json.dumps({"images": images, "annotations": []}))
    text = write(pictures / "l.txt", "".join(f"# {name}\n" for name in names))
    places = {"folder": pictures, "yolo": pictures, "coco": coco, "headhunter": text}
    labelled = load_annotations(DatasetConfig(path=str(places.get(kind, tmp_path)), format=kind))
    counted = [picture.name for picture in PictureFinder().below(pictures, pictures)]
    lines = [f"{n},-1,{n + 1},1,2,2,1\n" for n, _ in enumerate(counted, start=1)]
    read = read_detection_file(write(tmp_path / "mot.txt", "".join(lines)), labelled)
    lefts = {
        image.path.name: found.boxes[0, 0]
        for image, found in zip(labelled.images, read.detections, strict=True)
    }
    assert lefts == {f"frame{number}.jpg": place for place, number in enumerate(NUMBERS, start=1)}


def test_a_sequence_is_a_folder_and_its_frames_count_by_their_names(
    tmp_path: Path,
    record: Callable[..., Record],
    failure: Callable[..., Failure],
    put: Callable[..., None],
    labelled: Label,
    lefts: Lefts,
) -> None:
    """The source has them in no order; the first of b could not be read."""
    names = ["b/img1/10.png", "a/2.png", "c.png", "a/10.png", "b/img1/9.png", "d/a/1.png"]
    outcomes = [record([(left, 1, 9, 9)], name) for left, name in enumerate(names)]
    put(MotSink, tmp_path / "out", [*outcomes, failure("b/img1/2.png")])
    written = {
        path.relative_to(tmp_path / "out").as_posix(): path.read_text().splitlines()
        for path in (tmp_path / "out").rglob("*.txt")
    }
    assert {name: [line[:8] for line in lines] for name, lines in written.items()} == {
        "mot.txt": ["1,-1,3.0"],
        "mot/a.txt": ["1,-1,2.0", "2,-1,4.0"],
        "mot/b.txt": ["2,-1,5.0", "3,-1,1.0"],
        "mot/d/a.txt": ["1,-1,6.0"],
    }
    truth = labelled(*(f"train/{name}" for name in (*names[:2], *names[3:], "b/img1/2.png")))
    read = read_detection_file(tmp_path / "out/mot", truth)
    assert lefts(read.detections) == [[0], [1], [3], [4], [5], []]
    whole = labelled(*names, "b/img1/2.png")
    read = read_detection_file(tmp_path / "out/mot.txt", whole)
    assert lefts(read.detections) == [[], [], [2], [], [], [], []]


def test_a_video_that_cannot_be_opened_is_no_picture(
    tmp_path: Path,
    record: Callable[..., Record],
    failure: Callable[..., Failure],
    put: Callable[..., None],
) -> None:
    """Frame n stays the n-th picture, of whatever name, even one of 5,000 digits."""
    outcomes = [failure("a.mp4"), record(file="b.png"), failure("9" * 5000 + ".png")]
    put(MotSink, tmp_path, outcomes)
    assert (tmp_path / "mot.txt").read_text().startswith("2,-1,11.0")
    put(MotSink, tmp_path / "two", outcomes[:2])
    assert (tmp_path / "two/mot.txt").read_text().startswith("1,-1,11.0")


def test_two_folders_of_one_sequence_have_a_file_each(
    tmp_path: Path, record: Callable[..., Record], put: Callable[..., None]
) -> None:
    put(MotSink, tmp_path, [record(file=name) for name in ("a/1.png", "a/img1/1.png", "A/1.png")])
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.txt"))
    assert written == ["mot/A.txt", "mot/a/img1.txt", "mot/a~2.txt"]


def test_each_of_several_videos_has_a_file(
    tmp_path: Path,
    record: Callable[..., Record],
    failure: Callable[..., Failure],
    put: Callable[..., None],
) -> None:
    box = [(10, 5, 30, 45)]
    outcomes = [
        record(box, name, index, ids=[number], seconds=index / 10)
        for index in (0, 4)
        for number, name in enumerate(("a.mp4", "b/door.2", "b/a.avi"), start=1)
    ]
    # One picture beside them, and a video that ends before its header says.
    put(MotSink, tmp_path, [*outcomes, record([], "1.png", 6), failure("a.mp4")])
    written = {p.relative_to(tmp_path).as_posix(): p.read_text() for p in tmp_path.rglob("*.txt")}
    rest = "11.0,6.0,20.0,40.0,0.5,-1,-1,-1\n"
    assert written == {
        "mot.txt": "",
        "mot/a.txt": f"1,1,{rest}5,1,{rest}",
        "mot/b/door.2.txt": f"1,2,{rest}5,2,{rest}",
        "mot/b/a.txt": f"1,3,{rest}5,3,{rest}",
    }
    put(MotSink, tmp_path / "one", outcomes[:1])
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["mot.txt"]


def test_of_many_videos_few_files_are_open(
    tmp_path: Path,
    record: Callable[..., Record],
    put: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each is taken up again behind what it has."""
    monkeypatch.setattr("head_detection.results.mot.MOST_OPEN", 1)
    turns = [(name, index) for index in range(3) for name in ("a.mp4", "a.avi", "c.mp4")]
    put(MotSink, tmp_path, [record([(1, 1, 3, 3)], file, n, seconds=n) for file, n in turns])
    line = "-1,2.0,2.0,2.0,2.0,0.5,-1,-1,-1\n"
    written = {path.name: path.read_text() for path in (tmp_path / "mot").glob("*.txt")}
    expected = "".join(f"{frame},{line}" for frame in (1, 2, 3))
    assert written == dict.fromkeys(("a.txt", "a.avi.txt", "c.txt"), expected)
    assert not (tmp_path / "mot.txt").exists()
