"""The experiment file: what it takes, what it refuses, and in which words."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from head_detection.config import (
    ExperimentConfig,
    dump_config,
    load_config,
    override_inference,
    parse_config,
)
from head_detection.errors import ConfigError

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


def load(folder: Path, content: str | bytes, *overrides: str) -> ExperimentConfig:
    path = folder / "config.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load_config(path, overrides)


def mistake(folder: Path, content: str | bytes, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, content, *overrides)
    text = str(caught.value)
    assert "\n" not in text, "a mistake is one line"
    return text


@pytest.mark.parametrize("content", ["", "# nothing\n", "---\n"])
def test_an_empty_file_is_the_defaults(tmp_path: Path, content: str) -> None:
    assert load(tmp_path, content) == ExperimentConfig()


def test_only_what_is_named_differs(tmp_path: Path) -> None:
    config = load(tmp_path, "training: {epochs: 7}\n")
    assert config.training.epochs == 7
    assert config.training.batch_size == ExperimentConfig().training.batch_size
    assert config.network == ExperimentConfig().network


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_load_and_are_named_after_their_file(path: Path) -> None:
    assert load_config(path).name == path.stem


def test_there_are_configs_to_load() -> None:
    names = {path.stem for path in CONFIGS}
    assert {"scut", "headhunter_r50_cpm", "crowdhuman", "crohd_finetune"} <= names


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_dumped_config_loads_as_itself(tmp_path: Path, path: Path) -> None:
    config = load_config(path)
    assert load(tmp_path, dump_config(config)) == config


def test_a_dump_names_every_field() -> None:
    dumped: dict[str, Any] = yaml.safe_load(dump_config(ExperimentConfig()))
    assert dumped["training"]["schedule"]["milestones"] == [10, 20, 25]
    assert dumped["network"]["backbone"]["context_width"] is None
    assert set(dumped) == {"name", "network", "inference", "data", "training"}


def test_a_config_cannot_be_changed_after_it_was_checked() -> None:
    with pytest.raises(ValueError, match="frozen"):
        ExperimentConfig().training.epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("trianing: {epochs: 3}", ["trianing", "did you mean training?"]),
        ("training: {epohcs: 3}", ["training.epohcs", "did you mean epochs?"]),
        ("data: {train: [{path: a, fromat: coco}]}", ["data.train.0.fromat", "format?"]),
        (
            "inference: {suppression: {soft_nms: {sigmas: 1.0}}}",
            ["inference.suppression.soft_nms.sigmas", "sigma?"],
        ),
        ("qqqqqq: 1", ["qqqqqq: unknown key", "name, network, inference, data, training"]),
        ("training: {epochs: three}", ["training.epochs", "integer", "'three'"]),
        ("training: {epochs: '3'}", ["training.epochs", "integer", "'3'"]),
        ("training: {epochs: true}", ["training.epochs", "integer", "True"]),
        ("training: {epochs: 2.5}", ["training.epochs", "integer", "2.5"]),
        (
            "training: {roi: {fg_iou_threshold: 0.4}}",
            ["training.roi.bg_iou_threshold: expected at most fg_iou_threshold", "0.5 and 0.4"],
        ),
        ("training: {rpn: {bg_iou_threshold: 0.8}}", ["training.rpn.bg_iou_threshold", "0.8"]),
        (f"training: {{seed: {2**64}}}", ["training.seed", "less than 18446744073709551616"]),
        ("training: {epochs: 0}", ["training.epochs", "1", "got 0"]),
        ("training: {channels_last: 1}", ["training.channels_last", "boolean", "1"]),
        ("training: {precision: fp8}", ["training.precision", "'fp32', 'bf16' or 'fp16'", "fp8"]),
        (
            "inference: {suppression: {nms_iou_threshold: 1.5}}",
            ["inference.suppression.nms_iou_threshold", "1.5"],
        ),
        (
            "network: {backbone: {name: resnet51}}",
            ["network.backbone.name", "resnet50", "resnet51"],
        ),
        ("network: {backbone: {strides: [4, 4]}}", ["network.backbone.strides", "repeats"]),
        ("network: {backbone: {strides: [3]}}", ["network.backbone.strides", "4, 8, 16, 32, 64"]),
        ("network: {mean: [0.5, 0.5]}", ["network.mean"]),
        ("data: {augmentation: {zoom: [2.0, 1.0]}}", ["data.augmentation.zoom", "smaller"]),
        ("data: {train: {path: a}}", ["data.train"]),
        ("data: {train: [{format: coco}]}", ["data.train.0.path"]),
        ("network:", ["network", "None"]),
        ("name: 5", ["name", "string", "5"]),
        ("name: 2020-01-01", ["config.yaml"]),
    ],
)
def test_a_mistake_names_the_key_and_what_was_expected(
    tmp_path: Path, content: str, parts: list[str]
) -> None:
    text = mistake(tmp_path, content)
    assert str(tmp_path / "config.yaml") in text
    for part in parts:
        assert part in text


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    text = mistake(tmp_path, "trianing: {}\ntraining: {epochs: x, batch_size: y}")
    assert "trianing" in text
    assert "training.epochs" in text
    assert "training.batch_size" in text


@pytest.mark.parametrize(
    "content",
    [
        "[1, 2]",
        "just text",
        "3",
        b"\xff\xfe\x00\x01",
        b"\x00",
        "a: [",
        "a: b: c",
        "- a\nb: c",
        "? [a, b]\n: 3",
        "a: &a [*a]",
        "a: *nobody",
        "--- 1\n--- 2",
        "name: !!python/object/apply:os.getcwd []",
        "name: !mine x",
        "name: !!binary aGVhZA==",
        "name: !!set {a, b}",
    ],
)
def test_what_is_no_config_is_refused_in_one_line(tmp_path: Path, content: str | bytes) -> None:
    assert "config.yaml" in mistake(tmp_path, content)


@pytest.mark.parametrize("content", ["[" * 1200, "{a: " * 1200 + "1" + "}" * 1200, "- " * 1200])
def test_endless_nesting_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    assert len(mistake(tmp_path, content)) < 1000


@pytest.mark.parametrize("path", ["missing.yaml", ".", "missing/folder.yaml"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, path: str) -> None:
    with pytest.raises(ConfigError, match="expected a YAML experiment file"):
        load_config(tmp_path / path)


def test_overrides_apply_in_order_and_win_over_the_file(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "training: {epochs: 3, batch_size: 4}",
        "training.epochs=5",
        "training.epochs=6",
        "inference.suppression.soft_nms.enabled=true",
        "network.backbone.strides=[8, 16]",
        "network.anchors.sizes=[[8, 14], [22, 34]]",
        "data.train=[{path: a.json, weight: 2.0}]",
        "training.optimizer={name: adamw}",
        "name=a=b",
    )
    assert (config.training.epochs, config.training.batch_size) == (6, 4)
    assert config.inference.suppression.soft_nms.enabled is True
    assert config.network.backbone.strides == (8, 16)
    assert config.network.anchors.sizes == ((8, 14), (22, 34))
    assert (config.data.train[0].path, config.data.train[0].weight) == ("a.json", 2.0)
    assert config.training.optimizer.name == "adamw"
    assert config.name == "a=b"


def test_an_override_may_be_null() -> None:
    values = {"network": {"backbone": {"context_width": 64}}}
    config = parse_config(values, ["network.backbone.context_width=null"])
    assert config.network.backbone.context_width is None
    assert values == {"network": {"backbone": {"context_width": 64}}}, "the input is not changed"


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("training.epochs", ["override 'training.epochs'", "key.path=value"]),
        ("=5", ["override '=5'", "key.path=value"]),
        ("", ["override ''", "key.path=value"]),
        ("training.epohcs=5", ["training.epohcs", "did you mean epochs?"]),
        ("a.b.c=5", ["a: unknown key"]),
        ("training.epochs=five", ["training.epochs", "integer", "five"]),
        ("training.epochs=", ["training.epochs", "integer"]),
        ("training=3", ["training", "3"]),
        ("name=[", ["override 'name=['", "YAML"]),
        ("name.first=x", ["override 'name.first=x'", "name"]),
        ("network.backbone.strides=8", ["network.backbone.strides", "8"]),
    ],
)
def test_a_mistake_in_an_override_is_told(tmp_path: Path, override: str, parts: list[str]) -> None:
    text = mistake(tmp_path, "name: mine", override)
    for part in parts:
        assert part in text


def test_only_inference_changes_after_training() -> None:
    config = ExperimentConfig().inference
    changed = override_inference(config, ["inference.score_threshold=0.25"])
    assert (config.score_threshold, changed.score_threshold) == (0.5, 0.25)
    for override in ("network.upscale=true", "training.epochs=3", "resize.max_size=9", "inference"):
        with pytest.raises(ConfigError, match=r"expected inference\.KEY=VALUE"):
            override_inference(config, [override])
    with pytest.raises(ConfigError, match=r"inference\.resize\.max_sise: unknown key"):
        override_inference(config, ["inference.resize.max_sise=9"])
