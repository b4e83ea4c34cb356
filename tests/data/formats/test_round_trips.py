"""Every format that is written is read back as it was."""

import tempfile
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import numpy.testing as npt
import pytest
from PIL import Image

from head_detection.config import DatasetConfig
from head_detection.data.annotations import AnnotatedImage, AnnotatedSet, build_truth
from head_detection.data.formats import (
    FORMATS,
    WRITERS,
    load_annotations,
    write_annotations,
)
from head_detection.errors import AnnotationError
from head_detection.structures import GroundTruth

WIDTH, HEIGHT = 640, 480
NO_IGNORED = {"yolo", "brainwash"}
TO_A_TEN_THOUSANDTH = {"rtol": 0, "atol": 2e-4}


@st.composite
def rows(draw: st.DrawFn) -> tuple[tuple[float, ...], bool]:
    """A box inside the picture, with area, and whether it is ignored."""
    x1, y1 = draw(st.floats(0, WIDTH - 2, width=32)), draw(st.floats(0, HEIGHT - 2, width=32))
    x2 = draw(st.floats(np.float32(x1 + 1), WIDTH, width=32))
    y2 = draw(st.floats(np.float32(y1 + 1), HEIGHT, width=32))
    return (x1, y1, x2, y2), draw(st.booleans())


@pytest.mark.parametrize("name", sorted(WRITERS))
@hypothesis.settings(max_examples=15, deadline=None)
@hypothesis.given(truths=st.lists(st.lists(rows(), max_size=4), min_size=1, max_size=3))
def test_round_trip(name: str, truths: list[list[tuple[tuple[float, ...], bool]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "new"
        if not FORMATS[name].writes_folder:
            output = output / "labels.x"
        images = tuple(
            AnnotatedImage(Path("x"), f"{n:06d}.png", build_truth(truth), (HEIGHT, WIDTH))
            for n, truth in enumerate(truths, start=1)
        )
        annotated = AnnotatedSet("any", images)
        notes = write_annotations(annotated, name, output)
        assert bool(notes) == (
            name in NO_IGNORED | {"crohd"} and any(i.truth.ignore.any() for i in images)
        )
        place = output if FORMATS[name].writes_folder else output.parent
        for picture in FORMATS[name].picture_names(annotated):
            (place / picture).parent.mkdir(parents=True, exist_ok=True)
            Image.new("1", (WIDTH, HEIGHT)).save(place / picture)
        again = load_annotations(DatasetConfig(path=str(output), format=name))
        assert [image.path for image in again.images] == [
            place / picture for picture in FORMATS[name].picture_names(annotated)
        ]
        for image, expected in zip(again.images, images, strict=True):
            truth = expected.truth
            if name in NO_IGNORED:
                truth = build_truth([(box, False) for box in truth.head_boxes.tolist()])
            npt.assert_allclose(image.truth.boxes, truth.boxes, **TO_A_TEN_THOUSANDTH)
            npt.assert_array_equal(image.truth.ignore, truth.ignore)


def an_image(name: str, size: tuple[int, int] | None = (30, 40)) -> AnnotatedImage:
    return AnnotatedImage(Path("x"), name, build_truth([((0.0, 1.0, 4.0, 6.0), False)]), size)


def test_a_sequence_as_it_is_written(tmp_path: Path) -> None:
    rows = [((0.0, 1.0, 4.0, 6.5), False), ((1.0, 1.0, 2.0, 2.0), True)]
    image = AnnotatedImage(Path("x"), "img1/000002.jpg", build_truth(rows), (30, 40))
    notes = write_annotations(AnnotatedSet("any", (image,)), "crohd", tmp_path / "HT21-01")
    assert notes == ("regions to ignore, written as distractors of class 3: 1",)
    assert (tmp_path / "HT21-01" / "gt" / "gt.txt").read_text() == (
        "2,1,1,2,4,5.5,1,1,1\n2,2,2,2,1,1,0,3,1\n"
    )
    assert (tmp_path / "HT21-01" / "seqinfo.ini").read_text() == (
        "[Sequence]\nname=HT21-01\nimDir=img1\nseqLength=2\nimWidth=40\nimHeight=30\nimExt=.jpg\n"
    )


def test_pictures_that_are_no_frames_are_numbered(tmp_path: Path) -> None:
    annotated = AnnotatedSet("any", (an_image("b.jpg"), an_image("a.jpg")))
    notes = write_annotations(annotated, "crohd", tmp_path / "new")
    assert notes == ("frames numbered in the order of the set: 2",)
    assert FORMATS["crohd"].picture_names(annotated) == ["img1/000001.jpg", "img1/000002.jpg"]
    assert (tmp_path / "new" / "gt" / "gt.txt").read_text().startswith("1,1,1,2,4,5,1,1,1\n2,2,")


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        ((), "expected the pictures of a sequence; got none"),
        ((an_image("a/1.jpg"), an_image("b/1.jpg")), "one sequence, in one folder; got a, b"),
        ((an_image("1.jpg"), an_image("2.png")), "one size and one extension"),
        ((an_image("1.jpg"), an_image("2.jpg", (3, 4))), "got 2 sizes"),
    ],
)
def test_what_is_no_sequence(
    tmp_path: Path, images: tuple[AnnotatedImage, ...], reason: str
) -> None:
    with pytest.raises(AnnotationError, match=reason):
        write_annotations(AnnotatedSet("any", images), "crohd", tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_distractors_stay_distractors_in_coco(tmp_path: Path) -> None:
    image = an_image("a.jpg")
    flags = np.array([True])
    truth = type(image.truth)(image.truth.boxes, flags, flags.copy())
    annotated = AnnotatedSet("any", (AnnotatedImage(Path("x"), "a.jpg", truth, (30, 40)),))
    write_annotations(annotated, "coco", tmp_path / "x.json")
    (again,) = load_annotations(DatasetConfig(path=str(tmp_path / "x.json"))).images
    npt.assert_array_equal(again.truth.distractor, [True])


@pytest.mark.parametrize(
    ("name", "notes"),
    [
        ("coco", ("ids of boxes, which coco cannot hold, left out: 2",)),
        (
            "voc",
            (
                "ids of boxes, which voc cannot hold, left out: 2",
                "distractors, written as regions to ignore: 1",
            ),
        ),
        (
            "yolo",
            (
                "regions to ignore, which YOLO cannot hold, left out: 1",
                "ids of boxes, which yolo cannot hold, left out: 2",
            ),
        ),
        ("crohd", ()),
    ],
)
def test_what_says_who_is_who_is_not_lost_in_silence(
    tmp_path: Path, name: str, notes: tuple[str, ...]
) -> None:
    boxes, flags = np.array([[0, 1, 4, 6], [8, 8, 9, 9]], np.float32), np.array([False, True])
    truth = GroundTruth(boxes, flags, flags.copy(), np.array([7, 9]))
    image = AnnotatedImage(Path("x"), "img1/000001.jpg", truth, (30, 40))
    assert write_annotations(AnnotatedSet("any", (image,)), name, tmp_path / "new") == notes


def test_lines_as_they_are_written(tmp_path: Path) -> None:
    rows = [((0.0, 1.0, 4.2, 6.0), False), ((1.0, 1.0, 2.0, 2.0), True)]
    image = AnnotatedImage(Path("x"), "a/1.jpg", build_truth(rows), None)
    annotated = AnnotatedSet("any", (image, AnnotatedImage(Path("x"), "2.jpg", build_truth([]))))
    path = tmp_path / "labels"
    write_annotations(annotated, "headhunter", path)
    assert path.read_text() == "# a/1.jpg\n0 1 4.2 6 0\n1 1 2 2 -1\n# 2.jpg\n"
    assert write_annotations(annotated, "brainwash", path) == (
        "regions to ignore, which .idl cannot hold, left out: 1",
    )
    assert path.read_text() == '"a/1.jpg": (0.0, 1.0, 4.2, 6.0);\n"2.jpg";\n'
    write_annotations(annotated, "crowdhuman", path)
    first, second = path.read_text().splitlines()
    assert '"ID": "a/1"' in first
    assert '{"tag": "mask", "hbox": [1.0, 1.0, 1.0, 1.0], "head_attr": {}' in first
    assert second == '{"ID": "2", "gtboxes": []}'


@pytest.mark.parametrize("name", ["headhunter", "brainwash", "crowdhuman", "coco"])
@pytest.mark.parametrize("file_name", ["../a.jpg", "/a.jpg", "a\udcff.jpg"])
def test_names_that_cannot_be_written(tmp_path: Path, name: str, file_name: str) -> None:
    annotated = AnnotatedSet("any", (an_image(file_name),))
    with pytest.raises(AnnotationError, match="expected"):
        write_annotations(annotated, name, tmp_path / "labels")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "file_names"),
    [
        ("headhunter", ("a.jpg", "a.jpg")),
        ("headhunter", ("a\nb.jpg",)),
        ("brainwash", ('a".jpg',)),
        ("crowdhuman", ("a.jpg", "a.png")),
    ],
)
def test_names_that_a_format_cannot_hold(
    tmp_path: Path, name: str, file_names: tuple[str, ...]
) -> None:
    annotated = AnnotatedSet("any", tuple(map(an_image, file_names)))
    with pytest.raises(AnnotationError):
        write_annotations(annotated, name, tmp_path / "labels")
    assert list(tmp_path.iterdir()) == []


def test_formats_that_are_only_read(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="no writer for scut; there are: coco, voc"):
        write_annotations(AnnotatedSet("any", ()), "scut", tmp_path / "x")
