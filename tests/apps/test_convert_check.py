import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import yaml
from PIL import Image

from head_detection.apps.command import run_command
from head_detection.apps.main import run
from head_detection.config import parse_config


def main(arguments: list[str]) -> int:
    return run(["convert", *arguments])


Draw = Callable[[int], npt.NDArray[np.uint8]]
Box = tuple[float, float, float, float]
HEADS: list[Box] = [(20, 20, 10, 12), (60, 60, 20, 24), (100, 60, 30, 30), (150, 90, 40, 44)]


def write_coco(path: Path, pictures: dict[str, list[Box]]) -> Path:
    names = list(pictures)
    annotations = [
        {"id": len(names), "image_id": names.index(name), "category_id": 1, "bbox": list(box)}
        for name, boxes in pictures.items()
        for box in boxes
    ]
    images = [
        {"id": number, "file_name": name, "width": 240, "height": 180}
        for number, name in enumerate(names)
    ]
    content = {"images": images, "annotations": annotations}
    path.write_text(json.dumps(content | {"categories": [{"id": 1, "name": "head"}]}))
    return path


@pytest.fixture
def healthy(tmp_path: Path, draw_scene: Draw) -> Path:
    for seed in range(3):
        Image.fromarray(draw_scene(seed)).save(tmp_path / f"{seed}.png")
    return write_coco(tmp_path / "heads.json", {f"{seed}.png": HEADS for seed in range(3)})


def check(*arguments: object) -> tuple[int, dict[str, Any]]:
    """Return the exit code and report.json; the folder is the last argument."""
    code = main(["check", *map(str, arguments[:-1]), "--report", str(arguments[-1])])
    report: dict[str, Any] = json.loads((Path(str(arguments[-1])) / "report.json").read_text())
    return code, report


def test_a_healthy_set(healthy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = check("--input", healthy, tmp_path / "report")
    assert code == 0
    assert report["healthy"]
    assert report["problems"] == {}
    assert report["sets"][0]["pictures"] == 3
    assert report["sets"][0]["heads"] == 12
    assert report["sets"][0]["heads_per_picture"]["median"] == 4
    printed = capsys.readouterr().out
    assert "3 pictures, 12 heads" in printed
    assert printed.endswith("healthy\n")
    files = {file.name for file in (tmp_path / "report").iterdir()}
    assert files == {
        "report.json", "index.html", "sample.jpg", "heads_per_picture.png", "head_sizes.png"
    }  # fmt: skip


def test_the_suggestion_goes_into_a_config(healthy: Path, tmp_path: Path) -> None:
    _, report = check("--input", healthy, tmp_path / "report")
    network = parse_config(yaml.safe_load(report["suggestion"])).network
    assert network.anchors.sizes == ((10.95,), (21.91,), (30.0,), (41.95,))  # roots of areas
    assert network.anchors.ratios == (1.15,)  # between 1.1 and 1.2
    assert list(network.mean) == report["pixels"]["mean"]
    assert list(network.std) == report["pixels"]["std"]


def test_anchors_in_network_pixels(healthy: Path, tmp_path: Path) -> None:
    config = tmp_path / "half.yaml"
    config.write_text("inference: {resize: {min_size: 90}}")
    _, report = check("--input", healthy, "--cfg", config, tmp_path / "report")
    sizes = yaml.safe_load(report["suggestion"])["network"]["anchors"]["sizes"]
    assert sizes == [[5.48], [10.95], [15.0], [20.98]]


def test_all_kinds_of_trouble(tmp_path: Path, draw_scene: Draw) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    scene = draw_scene(0)
    Image.fromarray(scene).save(first / "a.png")
    Image.fromarray(scene[4:, 5:]).resize((240, 180)).save(first / "b.png")
    Image.fromarray(scene).save(second / "a.jpg", quality=60)
    Image.fromarray(draw_scene(1)).save(first / "boxes.png")
    Image.fromarray(draw_scene(2)).resize((120, 90)).save(first / "small.png")
    Image.new("RGB", (240, 180)).save(first / "black.png")
    (first / "broken.png").write_bytes(b"no picture")
    names = ["a", "b", "small", "black", "broken", "gone"]
    boxes: list[Box] = [
        (230, 20, 30, 30), (5, 5, 0, 9), (5, 5, 2, 2), (0, 0, 230, 170), *HEADS[:1], *HEADS[:1]
    ]  # fmt: skip
    labels = write_coco(
        first / "heads.json", {f"{name}.png": [] for name in names} | {"boxes.png": boxes}
    )
    other = write_coco(second / "heads.json", {"a.jpg": HEADS})
    code, report = check("--input", labels, other, tmp_path / "report")
    assert code == 1
    assert report["problems"] == {
        "missing": 1,
        "unreadable": 1,
        "blank": 1,
        "wrong_size": 1,
        "outside": 1,
        "no_area": 1,
        "tiny": 1,
        "huge": 1,
        "duplicated": 1,
        "copies_between": 1,
    }
    (group,) = report["copies"]
    assert [picture["file"] for picture in group["pictures"]] == ["a.png", "b.png", "a.jpg"]
    message = f"shows the same as {second.name}/heads: a.jpg, {first.name}/heads: b.png"
    assert message in [finding["message"] for finding in report["findings"]]
    assert {finding["file"] for finding in report["findings"] if finding["boxes"]} == {"boxes.png"}
    assert {"flagged.jpg", "copies.jpg"} <= {p.name for p in (tmp_path / "report").iterdir()}


def test_copies_within_a_set_and_what_is_accepted(
    tmp_path: Path, draw_scene: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(draw_scene(0)).save(tmp_path / "a.png")
    Image.fromarray(draw_scene(0)[:, ::-1]).save(tmp_path / "b.png")
    labels = write_coco(tmp_path / "heads.json", {"a.png": HEADS, "b.png": HEADS})
    arguments = ["check", "--input", str(labels)]
    assert main(arguments) == 1
    assert "shows the same as" in capsys.readouterr().out
    assert main([*arguments, "--accept", "copies_within", "tiny"]) == 0
    printed = capsys.readouterr().out
    assert "1 groups of near-duplicate pictures in one set (accepted)" in printed
    assert "some mirrored" in printed


def scut_folder(folder: Path, names: list[str], draw_scene: Draw) -> Path:
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    box = "<bndbox><xmin>5</xmin><ymin>5</ymin><xmax>25</xmax><ymax>30</ymax></bndbox>"
    for seed, name in enumerate(names):
        text = f"<annotation><object><name>person</name>{box}</object></annotation>"
        (folder / "Annotations" / f"{name}.xml").write_text(text)
        Image.fromarray(draw_scene(seed)).save(folder / "JPEGImages" / f"{name}.jpg")
    return folder


def test_pictures_and_labels_without_each_other_in_folders(
    tmp_path: Path, draw_scene: Draw
) -> None:
    folder = scut_folder(tmp_path / "scut", ["a", "b", "c"], draw_scene)
    lists = folder / "ImageSets" / "Main"
    (lists / "train.txt").write_text("a\n")
    (lists / "val.txt").write_text("b\n")
    (lists / "test.txt").write_text("c\n")
    arguments = ("--format", "scut", "--input", folder, "--split", "train", "val")
    code, report = check(*arguments, tmp_path / "report")
    assert (code, report["problems"]) == (0, {}), "another split names the third picture"
    assert [entry["name"] for entry in report["sets"]] == ["scut/train", "scut/val"]
    Image.fromarray(draw_scene(9)).save(folder / "JPEGImages" / "d.jpg")
    (folder / "JPEGImages" / "a.jpg").unlink()
    code, report = check(*arguments, tmp_path / "report")
    assert (code, report["problems"]) == (1, {"missing": 1, "unlabelled": 1})
    unlabelled = [f["file"] for f in report["findings"] if f["kind"] == "unlabelled"]
    assert unlabelled == [str(folder / "JPEGImages" / "d.jpg")]


def test_pictures_beside_a_file_are_a_remark(healthy: Path, tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(healthy.parent / "more.png")
    code, report = check("--input", healthy, tmp_path / "report")
    assert code == 0
    assert report["remarks"] == [
        f"{healthy}: 1 pictures beside its own are named by no label given here"
    ]


def test_names_are_escaped_and_nothing_is_loaded_from_elsewhere(
    tmp_path: Path, draw_scene: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    name = '<img src=x onerror="a">\x1b[2J&.png'
    Image.fromarray(draw_scene(0)).save(tmp_path / name)
    labels = write_coco(tmp_path / "heads.json", {name: [(0, 0, 500, 500)], "<b>gone.png": []})
    code, _ = check("--input", labels, tmp_path / "report")
    assert code == 1
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=&#34;a&#34;&gt;" in page
    assert "<b>" not in page
    for source in re.findall(r'(?:src|href)="([^"]*)"', page):
        assert (tmp_path / "report" / source).is_file()
    assert "://" not in page
    assert "\x1b" not in capsys.readouterr().out


def test_a_later_report_does_not_show_old_sheets(healthy: Path, tmp_path: Path) -> None:
    check("--input", healthy, "--tiny", 15, tmp_path / "report")
    assert (tmp_path / "report" / "flagged.jpg").exists()
    check("--input", healthy, tmp_path / "report")
    assert not (tmp_path / "report" / "flagged.jpg").exists()


def test_a_set_without_pictures(tmp_path: Path) -> None:
    labels = write_coco(tmp_path / "none.json", {})
    code, report = check("--input", labels, tmp_path / "report")
    assert (code, report["problems"]) == (1, {"empty_set": 1})
    assert report["pixels"] is None
    assert yaml.safe_load(report["suggestion"]) is None


@pytest.mark.parametrize("draws_heads_whole", [False, True])
def test_boxes_outside_are_no_fault_of_a_set_that_draws_heads_whole(
    healthy: Path, tmp_path: Path, draws_heads_whole: bool
) -> None:
    content = json.loads(healthy.read_text())
    content["annotations"][0]["bbox"][0] = -9
    content["info"] = {"boxes_may_reach_outside": draws_heads_whole}
    healthy.write_text(json.dumps(content))
    _, report = check("--input", healthy, tmp_path / "report")
    assert report["problems"] == ({} if draws_heads_whole else {"outside": 1})
    parts = ["--output", str(tmp_path), "--parts", "a=0.5", "b=0.5"]
    assert main(["split", "--input", str(healthy), *parts]) == 0
    for part in ("a", "b"):
        info = json.loads((tmp_path / f"{part}.json").read_text()).get("info", {})
        assert bool(info) == draws_heads_whole


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "nowhere.json"], "nowhere.json: no such file"),
        (["--input", "x", "--huge", "2"], "--huge: expected above 0 and at most 1; got 2.0"),
        (["--input", "x", "--tiny", "nan"], "--tiny: expected 0 or more; got nan"),
        (["--input", "x", "--set", "a=1"], "--set: expected --cfg too"),
    ],
)
def test_mistakes(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(main, ["check", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("--samples", "0", "1 or more; got 0"), ("--seed", "-1", "0 or more; got -1")],
)
def test_values_that_options_do_not_take(
    option: str, value: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_code:
        main(["check", "--input", "x", option, value])
    assert exit_code.value.code == 2
    assert f"argument {option}: expected {message}" in capsys.readouterr().err
