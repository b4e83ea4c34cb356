import json
from pathlib import Path

import pytest
import yaml

from head_detection.apps.main import run
from head_detection.config import parse_config
from head_detection.errors import ConfigError


def main(arguments: list[str]) -> int:
    return run(["convert", *arguments])


def coco(folder: Path, sides: list[int]) -> Path:
    annotations = [
        {"id": number, "image_id": 1, "category_id": 1, "bbox": [0, 0, side, side]}
        for number, side in enumerate(sides)
    ]
    path = folder / "heads.json"
    path.write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a.jpg", "width": 800, "height": 400}],
                "categories": [{"id": 1, "name": "head"}],
                "annotations": annotations,
            }
        )
    )
    return path


def test_medians_go_straight_into_a_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = coco(tmp_path, [4, 6, 8, 100, 120, 140])
    assert main(["anchors", "--data", str(data), "--levels", "2"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed == {"sizes": [[6.0], [120.0]], "ratios": [1.0]}
    assert parse_config({"network": {"anchors": printed}}).network.anchors.sizes == (
        (6.0,),
        (120.0,),
    )


def test_sizes_are_those_after_the_resize_of_the_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, config = coco(tmp_path, [10, 40]), tmp_path / "half.yaml"
    config.write_text("inference: {resize: {min_size: 200, max_size: 4000}}")
    arguments = ["anchors", "--data", str(data), "--levels", "2", "--cfg", str(config)]
    assert main([*arguments, "--method", "kmeans"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["sizes"] == [[5.0], [20.0]]


def test_boxes_without_area_are_left_out_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["anchors", "--data", str(coco(tmp_path, [0, 10])), "--levels", "1"]) == 0
    captured = capsys.readouterr()
    assert "1 boxes without area" in captured.err
    assert yaml.safe_load(captured.out)["sizes"] == [[10.0]]


def test_too_few_heads(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 4 heads, one a size; got 1"):
        main(["anchors", "--data", str(coco(tmp_path, [10]))])


def test_what_a_reader_left_out_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = coco(tmp_path, [4, 6])
    content = json.loads(data.read_text())
    content["annotations"][0]["iscrowd"] = 1
    data.write_text(json.dumps(content))
    assert main(["anchors", "--data", str(data), "--levels", "1"]) == 0
    printed = capsys.readouterr()
    assert printed.err == "note: regions to ignore: 1\n"
    assert yaml.safe_load(printed.out)["sizes"] == [[6.0]]
