"""What a user does with an answer: draws it, keeps it, hands it on."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from head_detection.errors import PictureError
from head_detection.inference.detector import HeadDetector
from head_detection.inference.found import Found
from head_detection.structures import Detections

BOX = [100.0, 60.0, 180.0, 160.0]


@pytest.fixture
def light() -> np.ndarray:
    return np.full((240, 400, 3), (220, 200, 180), np.uint8)


@pytest.fixture
def found() -> Found:
    return Found(np.array([BOX], np.float32), np.array([0.7], np.float32), (240, 400))


def test_the_answer_of_a_detector_knows_its_file(detector: HeadDetector, write) -> None:
    path = write("scene.png")
    found = detector(path)
    assert (found.path, str(found), repr(found.above(0.9))) == (
        path,
        "1 head in 40x24",
        "0 heads in 40x24",
    )
    assert detector(str(path)).path == path
    assert detector(path.read_bytes()).path is None
    assert found.draw().shape == (144, 240, 3)  # six times as large: it was small
    assert isinstance(found.above(0.1).scaled_to((48, 80)), Found)


def test_a_drawn_picture_is_in_the_colours_that_were_given(found: Found, light) -> None:
    drawn = found.draw(light)
    assert drawn.shape == light.shape
    assert (light == (220, 200, 180)).all()  # not drawn into
    is_changed = (drawn != light).any(axis=2)
    assert is_changed[60, 120]
    assert not is_changed[110, 140]
    bgr = found.draw(light[..., ::-1], color="bgr")
    np.testing.assert_array_equal(bgr[..., ::-1], drawn)


def test_heads_are_drawn_where_they_are_in_a_picture_of_another_size(found: Found, light) -> None:
    large = light.repeat(2, axis=0).repeat(2, axis=1)
    is_changed = (found.draw(large) != large).any(axis=2)
    assert is_changed[120, 240]
    assert not is_changed[220, 280]


@pytest.mark.parametrize("name", ["drawn.png", "new/drawn.JPG", "drawn.webp"])
def test_a_picture_ending_is_a_drawn_picture(found: Found, light, tmp_path: Path, name) -> None:
    assert found.save(tmp_path / name, light) == tmp_path / name
    with Image.open(tmp_path / name) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert abs(pixels - found.draw(light)).mean() < 2
    found.save(str(tmp_path / name), light[..., ::-1], color="bgr")
    with Image.open(tmp_path / name) as image:
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), pixels)


def test_a_picture_too_long_for_its_ending_is_refused(tmp_path: Path) -> None:
    found = Found.of(Detections.empty((1, 70_000)), None)
    long = np.zeros((1, 70_000, 3), np.uint8)
    found.save(tmp_path / "long.png", long)
    for name, most in (("long.jpg", "65,500"), ("long.webp", "16,383")):
        with pytest.raises(PictureError, match=f"at most {most} pixels to write .* got 70000x"):
            found.save(tmp_path / name, long)


def test_boxes_are_json_or_csv(found: Found, tmp_path: Path) -> None:
    found.save(tmp_path / "boxes.json")
    assert json.loads((tmp_path / "boxes.json").read_text()) == {
        "width": 400, "height": 240, "count": 1, "boxes": [BOX], "scores": [0.7],
    }  # fmt: skip
    found.save(tmp_path / "boxes.csv")
    lines = (tmp_path / "boxes.csv").read_text().splitlines()
    assert lines == ["x1,y1,x2,y2,score", "100.0,60.0,180.0,160.0,0.7"]
    followed = Detections(found.boxes, found.scores, (240, 400), np.array([7]), "a note")
    whole = Found.of(followed, Path("a/street.jpg"))
    whole.save(tmp_path / "boxes.json")
    values = json.loads((tmp_path / "boxes.json").read_text())
    assert (values["file"], values["ids"], values["note"]) == ("street.jpg", [7], "a note")
    whole.save(tmp_path / "boxes.csv")
    assert (
        (tmp_path / "boxes.csv").read_text().endswith(",score,id\n100.0,60.0,180.0,160.0,0.7,7\n")
    )
    nothing = Found.of(Detections.empty((240, 400)), None)
    nothing.save(tmp_path / "boxes.csv")
    assert (tmp_path / "boxes.csv").read_text() == "x1,y1,x2,y2,score\n"


def test_supervision_has_the_same_heads(found: Found) -> None:
    theirs = found.to_supervision()
    assert theirs.xyxy.tolist() == [BOX]
    assert theirs.confidence.tolist() == pytest.approx([0.7])
    assert (theirs.class_id.tolist(), theirs.tracker_id) == ([0], None)
    followed = Detections(found.boxes, found.scores, (240, 400), np.array([7]))
    assert Found.of(followed, None).to_supervision().tracker_id.tolist() == [7]
    assert len(Found.of(Detections.empty((240, 400)), None).to_supervision()) == 0


def test_mistakes_are_one_line(found: Found, light, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected an ending of \.jpg, .*\.csv; got heads\.txt"):
        found.save(tmp_path / "heads.txt", light)
    with pytest.raises(ValueError, match="image: expected the picture"):
        found.save(tmp_path / "heads.jpg")
    with pytest.raises(PictureError, match=r"gone\.png"):
        found.draw("gone.png")
    with pytest.raises(PictureError, match="expected an"):
        found.draw(light[..., :2])
    assert not list(tmp_path.iterdir())
