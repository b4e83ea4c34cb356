"""One entry for every format, and pictures without labels."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from head_detection.config import DatasetConfig
from head_detection.data.formats import FORMATS, WRITERS, load_annotations
from head_detection.data.formats.folder import read_folder
from head_detection.errors import AnnotationError


def write_each(folder: Path) -> dict[str, Path]:
    coco = folder / "labels.json"
    coco.write_text('{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": []}')
    text = folder / "labels.txt"
    text.write_text("# a.jpg\n")
    voc = folder / "voc"
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (voc / name).mkdir(parents=True)
    (voc / "Annotations" / "a.xml").write_text("<annotation/>")
    (voc / "ImageSets" / "Main" / "test.txt").write_text("a")
    (voc / "Splits").mkdir()
    (voc / "Splits" / "test.txt").write_text("a")
    brainwash = folder / "brainwash"
    brainwash.mkdir()
    (brainwash / "brainwash_test.idl").write_text('"a.jpg";')
    crowdhuman = folder / "crowdhuman"
    (crowdhuman / "Images").mkdir(parents=True)
    (crowdhuman / "annotation_test.odgt").write_text('{"ID": "a", "gtboxes": []}')
    yolo = folder / "yolo"
    (yolo / "images").mkdir(parents=True)
    (yolo / "data.yaml").write_text("test: test.txt\nnames: [head]")
    (yolo / "test.txt").write_text("images/a.jpg")
    return {
        "coco": coco,
        "headhunter": text,
        "scut": voc,
        "voc": voc,
        "hollywood": voc,
        "brainwash": brainwash,
        "crowdhuman": crowdhuman,
        "yolo": yolo,
    }


WITHOUT_SPLITS = ["coco", "headhunter"]
ALL = [*WITHOUT_SPLITS, "scut", "voc", "hollywood", "brainwash", "crowdhuman", "yolo"]


def test_every_format_of_the_experiment_file_has_a_reader() -> None:
    formats = get_args(DatasetConfig.model_fields["format"].annotation)
    assert set(formats) == set(FORMATS)
    assert set(WRITERS) < set(FORMATS)


@pytest.mark.parametrize("name", ALL)
def test_every_format_with_its_own_place_and_another(tmp_path: Path, name: str) -> None:
    path = write_each(tmp_path)[name]
    split = None if name in WITHOUT_SPLITS else "test"
    values = {"path": str(path), "format": name, "split": split}
    assert load_annotations(DatasetConfig(**values)).images[0].path.name == "a.jpg"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    config = DatasetConfig(**values, images=str(elsewhere))
    assert load_annotations(config).images[0].path == elsewhere / "a.jpg"


@pytest.mark.parametrize("name", WITHOUT_SPLITS)
def test_a_split_where_there_is_none(tmp_path: Path, name: str) -> None:
    config = DatasetConfig(path=str(write_each(tmp_path)[name]), format=name, split="train")
    with pytest.raises(AnnotationError, match=f"split: the format {name} has none"):
        load_annotations(config)


@pytest.mark.parametrize("name", ALL)
def test_missing_places(tmp_path: Path, name: str) -> None:
    with pytest.raises(AnnotationError, match="no such file or folder"):
        load_annotations(DatasetConfig(path=str(tmp_path / "no"), format=name))
    config = DatasetConfig(
        path=str(write_each(tmp_path)[name]), format=name, images=str(tmp_path / "no")
    )
    with pytest.raises(AnnotationError, match="expected the folder of the pictures"):
        load_annotations(config)


def test_a_folder_gives_every_picture_and_no_heads(
    tmp_path: Path, picture: Callable[..., Path]
) -> None:
    for name in ("b/1.JPG", "a/1.jpg", "2.png"):
        picture(name)
    (tmp_path / "readme.txt").touch()
    annotated = read_folder(tmp_path)
    assert [image.file_name for image in annotated.images] == ["2.png", "a/1.jpg", "b/1.JPG"]
    assert annotated.num_heads == 0
    assert annotated.notes == ("pictures without labels, their heads unknown and none assumed: 3",)
    assert len(read_folder(tmp_path, tmp_path / "a")) == 1


def test_a_folder_that_is_none_and_none_in_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    for path in (tmp_path, tmp_path / "a.txt", tmp_path / "no"):
        with pytest.raises(AnnotationError, match="expected a folder of pictures"):
            read_folder(path)
