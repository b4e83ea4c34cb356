import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from head_detection.apps.command import run_command
from head_detection.apps.main import run
from head_detection.config import DatasetConfig
from head_detection.data.annotations import AnnotatedSet
from head_detection.data.formats import load_annotations


def main(arguments: list[str]) -> int:
    return run(["convert", *arguments])


Draw = Callable[[int], npt.NDArray[np.uint8]]


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory, draw_scene: Draw) -> Path:
    """Twenty pictures: three of one scene (0, 7, 14), one of them mirrored, the rest their own."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "pictures").mkdir()
    images, annotations = [], []
    for number in range(20):
        picture = draw_scene(0 if number % 7 == 0 else number)
        picture = picture[:, ::-1] if number == 14 else picture
        Image.fromarray(picture).save(folder / "pictures" / f"{number:02d}.png")
        images.append({"id": number, "file_name": f"{number:02d}.png"})
        annotations += [
            {"image_id": number, "category_id": 1, "bbox": [9 * k, 5, 8, 8], "iscrowd": int(k == 0)}
            for k in range(1 + number % 5)
        ]
    path = folder / "heads.json"
    content = {"images": images, "annotations": annotations}
    path.write_text(json.dumps(content | {"categories": [{"id": 1, "name": "head"}]}))
    return path


def split(labels: Path, output: Path, *more: str) -> dict[str, AnnotatedSet]:
    parts = ["--parts", "train=0.7", "val=0.2", "test=0.1"]
    images = ["--images", str(labels.parent / "pictures")]
    arguments = ["split", "--input", str(labels), *images, "--output", str(output), *parts, *more]
    assert main(arguments) == 0
    names = ("train", "val", "test")
    root = str(labels.parent / "pictures")
    return {
        n: load_annotations(DatasetConfig(path=str(output / f"{n}.json"), images=root))
        for n in names
    }


def names_of(parts: dict[str, AnnotatedSet]) -> dict[str, list[str]]:
    return {name: [image.path.name for image in part.images] for name, part in parts.items()}


def test_parts_hold_their_shares_and_copies_stay_together(
    labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(4):
        parts = split(labels, tmp_path, "--seed", str(seed))
        names = names_of(parts)
        assert [len(part) for part in parts.values()] == [14, 4, 2]
        together = sorted(name for part in names.values() for name in part)
        assert together == [f"{number:02d}.png" for number in range(20)]
        assert sum({"00.png", "07.png", "14.png"} <= set(part) for part in names.values()) == 1
    printed = capsys.readouterr().out
    assert "1 groups of near-duplicates, 3 pictures, kept together" in printed
    assert "14 pictures (70.0% of them, 70.0% asked for)" in printed
    assert f"pictures are named from {labels.parent / 'pictures'}: give it as --images" in printed


def test_parts_beside_their_pictures_need_no_folder_named(
    labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(labels.parent / "pictures", tmp_path / "images")
    beside = shutil.copy(labels, tmp_path)
    arguments = ["split", "--input", str(beside), "--output", str(tmp_path)]
    assert main([*arguments, "--parts", "train=0.5", "val=0.5"]) == 0
    assert "--images" not in capsys.readouterr().out
    part = load_annotations(DatasetConfig(path=str(tmp_path / "val.json")))
    assert all(image.path.is_file() for image in part.images)


def test_pictures_and_boxes_are_found_from_the_new_files(labels: Path, tmp_path: Path) -> None:
    before = load_annotations(
        DatasetConfig(path=str(labels), images=str(labels.parent / "pictures"))
    )
    truths = {image.path.name: image.truth for image in before.images}
    for part in split(labels, tmp_path / "deep" / "er").values():
        for image in part.images:
            assert image.path.is_file()
            assert image.image_size == (180, 240)
            np.testing.assert_array_equal(image.truth.boxes, truths[image.path.name].boxes)
            np.testing.assert_array_equal(image.truth.ignore, truths[image.path.name].ignore)


def test_the_order_of_the_labels_does_not_matter_but_the_seed_does(
    labels: Path, tmp_path: Path
) -> None:
    content: dict[str, Any] = json.loads(labels.read_text())
    content["images"] = content["images"][::-1]
    turned = labels.parent / "reversed.json"
    turned.write_text(json.dumps(content))
    first = names_of(split(labels, tmp_path / "a"))
    assert names_of(split(turned, tmp_path / "b")) == first
    assert (tmp_path / "a/val.json").read_bytes() == (tmp_path / "b/val.json").read_bytes()
    assert names_of(split(labels, tmp_path / "c", "--seed", "1")) != first


def test_a_picture_that_cannot_be_read(
    labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--input", str(labels), "--images", str(tmp_path), "--output", str(tmp_path)]
    assert run_command(main, ["split", *places, "--parts", "a=.5", "b=.5"]) == 2
    error = capsys.readouterr().err
    assert "error: 20 pictures cannot be read, the first:" in error
    assert "'convert check' lists them all" in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (["train=0.8"], "two or more shares that add up to 1; got train=0.8"),
        (["train=0.8", "val=0.1"], "add up to 1; got train=0.8 val=0.1"),
        (["train=0.8", "train=0.2"], "each name once; got 'train=0.2'"),
        (["train", "val=0.2"], "a share between 0 and 1; got 'train'"),
        (["../x=0.8", "val=0.2"], "expected NAME=SHARE, each name once; got '../x=0.8'"),
        (["train=nan", "val=0.2"], "a share between 0 and 1; got 'train=nan'"),
        (["train=1.2", "val=-0.2"], "a share between 0 and 1; got 'train=1.2'"),
    ],
)
def test_mistakes(
    parts: list[str], message: str, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["split", "--input", str(labels), "--output", "nowhere", "--parts", *parts]
    assert run_command(main, arguments) == 2
    assert message in capsys.readouterr().err


def test_more_parts_than_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "none.json").write_text('{"images": [], "annotations": []}')
    arguments = ["split", "--input", str(tmp_path / "none.json"), "--output", str(tmp_path)]
    assert run_command(main, [*arguments, "--parts", "a=.5", "b=.5"]) == 2
    assert "expected at least 2 pictures, one a part; got 0" in capsys.readouterr().err
