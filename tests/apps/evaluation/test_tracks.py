"""``evaluate --protocol track``: a line a sequence, from files of tracks and from weights."""

import json
from pathlib import Path

import pytest
from PIL import Image

from head_detection.apps.main import run
from head_detection.errors import AnnotationError, EvaluationError

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")
INFO = "[Sequence]\nname=s\nimDir=img1\nseqLength=4\nimWidth=96\nimHeight=64\nimExt=.jpg\n"


def write_sequence(name: str) -> Path:
    """Write one head that walks 10 px a frame for four frames."""
    folder = Path("HT", name)
    (folder / "gt").mkdir(parents=True)
    (folder / "img1").mkdir()
    (folder / "seqinfo.ini").write_text(INFO)
    lines = [f"{frame},5,{10 * frame},11,20,20,1,1,1" for frame in range(1, 5)]
    (folder / "gt" / "gt.txt").write_text("\n".join(lines))
    for frame in range(1, 5):
        Image.new("RGB", (96, 64)).save(folder / "img1" / f"{frame:06d}.jpg")
    return folder


def write_tracks(path: Path, ids: list[int]) -> None:
    path.parent.mkdir(exist_ok=True)
    lines = [f"{k},{who},{10 * k},11,20,20,0.9,-1,-1,-1" for k, who in enumerate(ids, start=1)]
    path.write_text("\n".join(lines))


def evaluate(*arguments: str) -> int:
    fixed = ["--protocol", "track", "--data", "HT", "--format", "crohd", "--output", "out"]
    return run(["evaluate", *fixed, *arguments])


def test_a_line_a_sequence_and_one_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    write_sequence("HT21-01")
    write_sequence("HT21-02")
    write_tracks(Path("found/HT21-01.txt"), [3, 3, 3, 3])
    write_tracks(Path("found/HT21-02.txt"), [3, 3, 4, -1])
    assert evaluate("--detections", "found") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    first, second, together = (
        next(row for row in rows if row[:1] == [name]) for name in ("HT21-01", "HT21-02", "all")
    )
    assert first[1:5] == ["4", "4", "1.0000", "1.0000"]
    # One missed, one switch, of 4; ids right on 2 of 4 heads and 3 boxes; 10 of 30 px kept.
    assert (second[3], second[4]) == ("0.5000", "0.5714")
    assert (second[8], second[9]) == ("0.3333", "1")
    assert (together[1], together[2], together[3]) == ("8", "8", "0.7500")
    content = json.loads(Path("out/tracks.json").read_text())
    assert content["metrics"]["all"]["ideucl"] == pytest.approx(40 / 60)


def test_a_sequence_that_a_file_does_not_have_is_said_to_be_missed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_sequence("HT21-01")
    write_sequence("HT21-02")
    write_tracks(Path("found/HT21-01.txt"), [3, 3, 3, 3])
    note = "sequences without detections in {}, whose heads count as missed: 1, the first: HT21-02"
    assert evaluate("--detections", "found") == 0
    assert note.format("found") in capsys.readouterr().out
    write_tracks(Path("found/HT21-02.txt"), [3, 3, 3, 3])
    assert evaluate("--detections", "found") == 0
    assert "count as missed" not in capsys.readouterr().out


def test_a_sequence_alone_is_called_by_its_folder() -> None:
    folder = write_sequence("HT21-01")
    write_tracks(Path("found/HT21-01.txt"), [3, 3, 3, 3])
    assert evaluate("--data", str(folder), "--detections", "found") == 0
    assert [*json.loads(Path("out/tracks.json").read_text())["metrics"]] == ["HT21-01", "all"]


def test_detections_without_ids_are_none() -> None:
    write_sequence("HT21-01")
    write_tracks(Path("found/HT21-01.txt"), [-1] * 4)
    with pytest.raises(EvaluationError, match="expected ids, that tell who is who"):
        evaluate("--detections", "found")


def test_nobody_found_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    write_sequence("HT21-01")
    Path("found").mkdir()
    Path("found/HT21-01.txt").write_text("")
    assert evaluate("--detections", "found") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    (row,) = (row for row in rows if row[:1] == ["all"])
    assert row[1:] == ["4", "4", *["0.0000"] * 6, "0"]  # all four missed: MOTA 1 - 4 / 4


def test_a_score_threshold_is_of_the_file_too(capsys: pytest.CaptureFixture[str]) -> None:
    write_sequence("HT21-01")
    write_tracks(Path("found/HT21-01.txt"), [3, 3, 3, 3])
    text = Path("found/HT21-01.txt").read_text()
    Path("found/HT21-01.txt").write_text(text.replace("0.9,-1", "0.4,-1", 1))
    assert evaluate("--detections", "found", "--score-threshold", "0.5") == 0
    out = capsys.readouterr().out
    assert "score 0.5 or more on HT" in out
    (row,) = (row for row in map(str.split, out.splitlines()) if row[:1] == ["all"])
    assert row[3] == "0.7500"  # one of four left out


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--track"], "--track: expected --weights; got --detections"),
        (["--fps", "5"], "--fps: expected --weights; got --detections"),
        (["--set", "tracking.buffer=1"], "--set tracking.buffer=1: expected --weights; got"),
        (["--protocol", "mot", "--track"], "--track: expected --protocol track too"),
    ],
)
def test_an_option_without_effect_is_refused(options: list[str], line: str) -> None:
    write_sequence("HT21-01")
    write_tracks(Path("found/HT21-01.txt"), [3, 3, 3, 3])
    with pytest.raises(EvaluationError, match=line):
        evaluate("--detections", "found", *options)


def test_a_threshold_is_not_chosen_by_tracks(tiny_weights: Path) -> None:
    write_sequence("HT21-01")
    with pytest.raises(EvaluationError, match="--choose-threshold: expected a protocol of single"):
        evaluate("--weights", str(tiny_weights), "--choose-threshold")


def test_labels_without_ids_are_none() -> None:
    Image.new("RGB", (96, 64)).save("1.jpg")
    Path("a.txt").write_text("1,3,1,1,5,5,0.9,-1,-1,-1")
    images = [{"id": 1, "file_name": "1.jpg", "width": 96, "height": 64}]
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "iscrowd": 0, "area": 25}
    labels = {"images": images, "annotations": [box], "categories": [{"id": 1, "name": "head"}]}
    Path("a.json").write_text(json.dumps(labels))
    with pytest.raises(
        EvaluationError, match=r"labels that say who each head is.*--format crohd or vscrowd$"
    ):
        run(["evaluate", "--protocol", "track", "--data", "a.json", "--detections", "a.txt"])
    Path("HT21").mkdir()
    with pytest.raises(AnnotationError, match=r"HT21.*; for sequences with ids: --format crohd"):
        run(["evaluate", "--protocol", "track", "--data", "HT21", "--detections", "a.txt"])


def test_weights_are_followed_by_a_tracker(
    tiny_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sequence("HT21-01")
    given = ["--weights", str(tiny_weights), "--track", "ocsort", "--fps", "5"]
    assert evaluate(*given, "--set", "tracking.lost_seconds=2") == 0
    assert "with ocsort" in capsys.readouterr().out


@pytest.mark.parametrize("damaged", ["000002.jpg", "000004.jpg"])
def test_a_picture_that_cannot_be_read_is_named(tiny_weights: Path, damaged: str) -> None:
    picture = write_sequence("HT21-01") / "img1" / damaged
    picture.write_bytes(b"no picture")
    with pytest.raises(EvaluationError, match=f"{damaged}: expected a picture; it cannot be read"):
        evaluate("--weights", str(tiny_weights))
