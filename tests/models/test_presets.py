"""Presets: the tensors of a weights file, used otherwise."""

from pathlib import Path

import pytest
import torch

from head_detection.config import CalibrationConfig, NetworkConfig, ViewConfig
from head_detection.errors import WeightsError
from head_detection.models.weights import (
    WeightsDescription,
    read_description,
    read_weights,
    store_operating_point,
    tensors_path,
    write_weights,
)


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    description = WeightsDescription(network=NetworkConfig(), metrics={"of": "the file"})
    tensors = {"a": torch.ones(2)}
    write_weights(tmp_path / "own.safetensors", tensors, description.with_score_threshold(0.4))
    path = tmp_path / "careful.yaml"
    path.write_text(
        "weights: own.safetensors\n"
        "inference: {views: [{mirrored: true}], score_threshold: 0.6}\n"
        "metrics: {of: the preset}\n"
    )
    return path


def test_a_preset_has_the_tensors_and_its_own_inference(preset: Path) -> None:
    tensors, description = read_weights(preset)
    own = read_description(tensors_path(preset))
    assert tensors["a"].tolist() == [1.0, 1.0]
    assert description.network == own.network
    assert description.inference.views == (ViewConfig(mirrored=True),)
    assert (description.inference.score_threshold, own.inference.score_threshold) == (0.6, 0.4)
    assert description.metrics == {"of": "the preset"}


def test_a_preset_may_be_named_in_capitals(preset: Path) -> None:
    capitals = preset.rename(preset.with_suffix(".YAML"))
    assert read_description(capitals).inference.score_threshold == 0.6
    assert tensors_path(capitals).name == "own.safetensors"


def test_a_preset_in_capitals_is_no_weights_of_another(preset: Path) -> None:
    itself = preset.with_name("ITSELF.YAML")
    itself.write_text("weights: ITSELF.YAML\n")
    preset.write_text("weights: ITSELF.YAML\n")
    for path in (itself, preset):
        with pytest.raises(WeightsError, match=r"file beside it as weights; got 'ITSELF.YAML'"):
            read_description(path)


def test_a_preset_with_a_short_suffix_is_told_its_name(preset: Path) -> None:
    short = preset.rename(preset.with_suffix(".yml"))
    with pytest.raises(WeightsError, match=r"a \.yaml preset; got a \.yml file"):
        read_description(short)


def test_what_a_preset_does_not_name_is_the_file_s(preset: Path) -> None:
    preset.write_text("weights: own.safetensors\n")
    assert read_description(preset).inference.score_threshold == 0.4


def test_an_operating_point_of_a_preset_stays_in_the_preset(preset: Path) -> None:
    weights = tensors_path(preset)
    before = weights.read_bytes()
    store_operating_point(preset, 0.7, {"validation": {"ap50": 0.9}})
    description = read_description(preset)
    assert description.inference.score_threshold == 0.7
    assert description.inference.views == (ViewConfig(mirrored=True),)
    assert description.metrics == {"of": "the preset", "validation": {"ap50": 0.9}}
    assert weights.read_bytes() == before


def test_a_calibration_is_stored_with_the_point_that_is_one_of_its_scores(preset: Path) -> None:
    calibration = CalibrationConfig(linear=-0.25, quadratic=-0.1, largest_head=120.0)
    for path in (preset, tensors_path(preset)):
        store_operating_point(path, 0.7, {}, calibration)
        assert read_description(path).inference.calibration == calibration
        store_operating_point(path, 0.6, {})
        assert read_description(path).inference.calibration == calibration


def test_an_operating_point_of_a_file_leaves_its_tensors(preset: Path) -> None:
    weights = tensors_path(preset)
    store_operating_point(weights, 0.7, {"validation": 1})
    tensors, description = read_weights(weights)
    assert tensors["a"].tolist() == [1.0, 1.0]
    assert description.inference.score_threshold == 0.7
    assert description.metrics == {"of": "the file", "validation": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a preset with weights and inference: expected keys with values; got None$"),
        ("[1]", r"expected keys with values; got \[1\]$"),
        ("weights: [a, b]", r": weights: expected a valid string; got \['a', 'b'\]$"),
        ("weights: [", "expected a preset"),
        ("inference: {}", ": weights: expected a value; there is no such key$"),
        ("weights: own.safetensors\npictures: 3", ": pictures: unknown key; known keys: weights, "),
        ("weights: gone.safetensors", "no such file"),
        ("weights: ../own.safetensors", "expected the name of a .safetensors file beside it"),
        ("weights: /etc/passwd", "expected the name of a .safetensors file beside it"),
        ("weights: careful.yaml", "expected the name of a .safetensors file beside it"),
        ("weights: own.safetensors\ninference: {vews: []}", "did you mean views"),
        ("weights: own.safetensors\ninference: {score_threshold: 2}", "score_threshold"),
        ("weights: own.safetensors\ninference: {a=b: 2}", "a"),
        ("weights: !!python/object/apply:os.getcwd []", "expected a preset"),
        ("x" * 2**20 + "xx", "at most"),
    ],
)
def test_a_mistake_is_one_line(preset: Path, text: str, message: str) -> None:
    preset.write_text(text)
    with pytest.raises(WeightsError, match=message) as caught:
        read_weights(preset)
    assert "\n" not in str(caught.value)
    assert preset.name in str(caught.value) or "gone" in str(caught.value)


def test_a_preset_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        read_description(tmp_path / "none.yaml")
