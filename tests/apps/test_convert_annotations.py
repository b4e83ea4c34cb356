"""``convert annotations`` from the command line."""

import json
from pathlib import Path

import pytest
from PIL import Image

from head_detection.apps.command import run_command
from head_detection.apps.main import run
from head_detection.config import DatasetConfig
from head_detection.data.annotations import AnnotatedImage, AnnotatedSet, build_truth
from head_detection.data.formats import (
    FORMATS,
    WRITERS,
    load_annotations,
    write_annotations,
)


def main(arguments: list[str]) -> int:
    return run(["convert", *arguments])


LABEL = """<annotation><size><width>0</width><height>0</height></size>
<object><name>person</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>11</xmax><ymax>22</ymax>
</bndbox></object>
<object><name>persn</name><bndbox><xmin>5</xmin><ymin>2</ymin><xmax>5</xmax><ymax>22</ymax>
</bndbox></object></annotation>"""


@pytest.fixture
def scut(tmp_path: Path) -> Path:
    part = tmp_path / "SCUT_HEAD_Part_A"
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (part / folder).mkdir(parents=True)
    for name in ("a", "b"):
        (part / "Annotations" / f"{name}.xml").write_text(LABEL)
        Image.new("RGB", (40, 30)).save(part / "JPEGImages" / f"{name}.jpg")
        (part / "ImageSets" / "Main" / f"{'train' if name == 'a' else 'test'}.txt").write_text(name)
    return part


def convert(*arguments: object) -> int:
    return run_command(main, ["annotations", *map(str, arguments)])


def test_scut_to_coco(scut: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "new" / "train.json"
    code = convert("--from", "scut", "--input", scut, "--to", "coco", "--output", output)
    assert code == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "read: labels without their picture's size: 1",
        "read: objects named 'persn', taken for heads: 1",
        "read: boxes without area, left out: 1",
        f"{output}: 1 pictures, 1 heads, 0 regions to ignore; scut to coco",
    ]
    assert "reading sizes" in captured.err
    content = json.loads(output.read_text())
    assert content["images"] == [
        {"id": 1, "file_name": "JPEGImages/a.jpg", "width": 40, "height": 30}
    ]
    assert [annotation["bbox"] for annotation in content["annotations"]] == [[1, 2, 10, 20]]


def test_a_split_and_pictures_in_their_new_place(
    scut: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    yolo, voc = tmp_path / "yolo", tmp_path / "voc"
    arguments = ["--from", "scut", "--input", scut, "--split", "test", "--copy-pictures"]
    assert convert(*arguments, "--to", "yolo", "--output", yolo) == 0
    assert (yolo / "images" / "JPEGImages" / "b.jpg").is_file()
    assert "; 1 pictures copied" in capsys.readouterr().out
    assert convert("--from", "yolo", "--input", yolo, "--to", "voc", "--output", voc) == 0
    assert (voc / "Annotations" / "JPEGImages" / "b.xml").is_file()
    again = ["--from", "voc", "--input", voc, "--images", yolo / "images"]
    assert convert(*again, "--to", "headhunter", "--output", tmp_path / "b.txt") == 0
    assert (tmp_path / "b.txt").read_text() == "# JPEGImages/b.jpg\n1 2 11 22 0\n"


def test_what_a_format_cannot_hold_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("# a.jpg\n1 2 3 4 -1\n")
    output = tmp_path / "a.idl"
    arguments = ["--from", "headhunter", "--input", tmp_path / "a.txt", "--to", "brainwash"]
    assert convert(*arguments, "--output", output) == 0
    assert capsys.readouterr().out.splitlines() == [
        "read: not one head is labelled; trained on, this would teach that nobody is there: 1",
        "read: regions to ignore: 1",
        "read: pictures that are not there: 1",
        "written: regions to ignore, which .idl cannot hold, left out: 1",
        f"{output}: 1 pictures, 0 heads, 1 regions to ignore; headhunter to brainwash",
    ]


def test_wrong_sizes_are_put_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg")
    images = [{"id": 1, "file_name": "a.jpg", "width": 20, "height": 20}]
    (tmp_path / "a.json").write_text(json.dumps({"images": images, "annotations": []}))
    arguments = ["--from", "coco", "--input", tmp_path / "a.json", "--to", "coco", "--output"]
    assert convert(*arguments, tmp_path / "b.json") == 0
    assert json.loads((tmp_path / "b.json").read_text())["images"][0]["width"] == 20
    note = "read: sizes that the labels state wrong, kept; --check-sizes takes the pictures' own: 1"
    assert note in capsys.readouterr().out.splitlines()
    assert convert(*arguments, tmp_path / "c.json", "--check-sizes") == 0
    assert json.loads((tmp_path / "c.json").read_text())["images"][0]["width"] == 40
    assert "state wrong, taken from the pictures: 1" in capsys.readouterr().out


def test_another_picture_of_the_same_size_is_not_taken_for_a_copy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "new" / "images").mkdir(parents=True)
    for place, colour in (("a.bmp", "red"), ("new/images/a.bmp", "blue")):
        Image.new("RGB", (40, 30), colour).save(tmp_path / place)
    images = [{"id": 1, "file_name": "a.bmp", "width": 40, "height": 30}]
    (tmp_path / "a.json").write_text(json.dumps({"images": images, "annotations": []}))
    arguments = ["--from", "coco", "--input", tmp_path / "a.json", "--to", "coco", "--output"]
    assert convert(*arguments, tmp_path / "new" / "b.json", "--copy-pictures") == 2
    assert "expected no file, or the same one; got another" in capsys.readouterr().err
    Image.new("RGB", (40, 30), "red").save(tmp_path / "new" / "images" / "a.bmp")
    assert convert(*arguments, tmp_path / "new" / "b.json", "--copy-pictures") == 0


@pytest.mark.parametrize("options", [[], ["--check-sizes"]])
@pytest.mark.parametrize(("to", "size"), [("coco", (40, 30)), ("yolo", (40, 30)), ("yolo", None)])
def test_a_turned_picture_stays_a_problem(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    to: str,
    size: tuple[int, int] | None,
) -> None:
    """Also where the new labels do not state a size that a check could find wrong."""
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg", exif=exif)
    stated = {} if size is None else {"width": size[0], "height": size[1]}
    images = [{"id": 1, "file_name": "a.jpg", **stated}]
    (tmp_path / "a.json").write_text(json.dumps({"images": images, "annotations": []}))
    arguments = ["--from", "coco", "--input", tmp_path / "a.json", "--to", to, "--output"]
    output = tmp_path / "b"
    assert convert(*arguments, output, *options) == 0
    if to == "coco":
        assert json.loads(output.read_text())["images"][0]["width"] == 40
    note = (
        "read: pictures that EXIF turns and their labels do not, left as they are; label them "
        "upright, or remove the orientation from their EXIF: 1"
    )
    assert (note in capsys.readouterr().out.splitlines()) == (size is not None)


def test_a_picture_that_cannot_be_read_is_no_matter_where_labels_state_its_size(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    images = [{"id": 1, "file_name": "a.jpg", "width": 40, "height": 30}]
    (tmp_path / "a.json").write_text(json.dumps({"images": images, "annotations": []}))
    arguments = ["--from", "coco", "--input", tmp_path / "a.json", "--to", "yolo", "--output"]
    assert convert(*arguments, tmp_path / "b") == 0
    assert convert(*arguments, tmp_path / "c", "--check-sizes") == 2


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("SCUT_HEAD_Part_A", "this belongs to the input"),
        ("SCUT_HEAD_Part_A/Annotations/a.xml", "this belongs to the input"),
        ("SCUT_HEAD_Part_A/JPEGImages/a.jpg", "this belongs to the input"),
    ],
)
@pytest.mark.parametrize("to", ["coco", "voc"])
def test_inputs_are_never_written_over(
    scut: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    output: str,
    reason: str,
    to: str,
) -> None:
    before = {path: path.read_bytes() for path in scut.rglob("*") if path.is_file()}
    arguments = ["--from", "scut", "--input", scut, "--to", to, "--output", tmp_path / output]
    assert convert(*arguments) == 2
    assert reason in capsys.readouterr().err
    assert {path: path.read_bytes() for path in scut.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (["--input", "nowhere"], "nowhere: no such file or folder"),
        (["--images", "nowhere"], "nowhere: expected the folder of the pictures"),
        (["--split", "dev"], "split: expected train, val, trainval, test; got 'dev'"),
        (["--to", "voc", "--output", "full"], "full: expected a new or empty folder"),
        (["--to", "voc", "--output", "full/x/y"], "full/x: expected a folder; a file is there"),
        (["--from", "folder", "--input", "empty"], "expected a folder of pictures"),
        (
            ["--copy-pictures", "--output", "full/x.json"],
            "expected no file, or the same one; got another",
        ),
    ],
)
def test_a_mistake_is_one_line(
    scut: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: list[str],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full/images/JPEGImages").mkdir(parents=True)
    (tmp_path / "full/x").touch()
    (tmp_path / "full/images/JPEGImages/a.jpg").touch()
    (tmp_path / "empty").mkdir()
    arguments = ["--from", "scut", "--input", str(scut), "--to", "coco", "--output", "new.json"]
    assert convert(*arguments, *changes) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.strip().splitlines()[-1].startswith("error: ")
    assert "Traceback" not in error
    assert not (tmp_path / "new.json").exists()


def test_a_picture_whose_size_cannot_be_read(
    scut: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (scut / "JPEGImages" / "a.jpg").write_bytes(b"no picture")
    output = tmp_path / "x.json"
    assert convert("--from", "scut", "--input", scut, "--to", "coco", "--output", output) == 2
    assert "a.jpg: not a picture in any known format; its size is needed" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize("target", sorted(WRITERS))
@pytest.mark.parametrize("source", sorted(WRITERS))
def test_any_format_to_any_other(source: str, target: str, tmp_path: Path) -> None:
    box = (1.0, 2.0, 11.0, 22.5)
    image = AnnotatedImage(Path("x"), "000001.png", build_truth([(box, False)]), (30, 40))
    annotated = AnnotatedSet("mine", (image,))
    places = []
    for name, folder in ((source, "first"), (target, "second")):
        is_folder = FORMATS[name].writes_folder
        places.append(tmp_path / folder if is_folder else tmp_path / folder / "labels.x")
    write_annotations(annotated, source, places[0])
    (picture,) = FORMATS[source].picture_names(annotated)
    (tmp_path / "first" / picture).parent.mkdir(exist_ok=True)
    Image.new("RGB", (40, 30)).save(tmp_path / "first" / picture)
    arguments = ["--from", source, "--input", places[0], "--to", target, "--output", places[1]]
    assert convert(*arguments, "--copy-pictures") == 0
    (again,) = load_annotations(DatasetConfig(path=str(places[1]), format=target)).images
    assert again.truth.boxes.tolist() == [list(box)]
    assert again.path.read_bytes() == (tmp_path / "first" / picture).read_bytes()


def test_labels_beside_a_description_are_never_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "images").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "images" / "a.png")
    label = tmp_path / "labels" / "a.txt"
    label.write_text("0 .5 .5 .1 .1")
    description = tmp_path / "data.yaml"
    description.write_text("train: images\nnames: [head]")
    arguments = ["--from", "yolo", "--input", description, "--to", "headhunter", "--output"]
    assert convert(*arguments, label) == 2
    assert "this belongs to the input" in capsys.readouterr().err
    assert label.read_text() == "0 .5 .5 .1 .1"
    assert convert(*arguments, tmp_path / "new.txt") == 0


def test_interrupted_copies_go_on(scut: Path, tmp_path: Path) -> None:
    arguments = ["--from", "scut", "--input", scut, "--to", "coco", "--copy-pictures", "--output"]
    for _ in range(2):
        assert convert(*arguments, tmp_path / "new" / "train.json") == 0
    copies = [path.name for path in (tmp_path / "new" / "images").rglob("*") if path.is_file()]
    assert copies == ["a.jpg"]


def test_a_folder_of_labels_and_pictures_is_there_whole_or_not_at_all(
    scut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    words = ["--from", "scut", "--input", scut, "--to", "yolo", "--copy-pictures", "--output"]
    with monkeypatch.context() as patched:
        patched.setattr("head_detection.apps.conversions.annotations.shutil.copyfile", stop)
        assert convert(*words, tmp_path / "out" / "yolo") == 130
        assert list((tmp_path / "out").iterdir()) == []
    assert convert(*words, tmp_path / "out" / "yolo") == 0
