import pytest
import torch
import yaml

from head_detection.apps import main as dispatcher
from head_detection.config import parse_config
from head_detection.data.synthetic import synthetic_set
from head_detection.errors import ConfigError, WeightsError
from head_detection.models.faster_rcnn import build_detector, load_detector
from head_detection.models.weights import WeightsDescription, save_weights

NETWORK = {
    "backbone": {"name": "tf_efficientnet_lite0", "strides": [8, 16], "fpn_width": 8},
    "anchors": {"sizes": [[16], [32]], "ratios": [1.0]},
    "box_head": {"width": 16, "pool_size": 2},
}


@pytest.fixture
def trained(tmp_path):
    config = parse_config({"network": NETWORK}, [])
    torch.manual_seed(0)
    model = build_detector(config.network, config.inference)
    description = WeightsDescription(
        network=config.network, metrics={"val": {"num_heads": 7}}, licence="CC0"
    )
    path = tmp_path / "trained.safetensors"
    save_weights(path, model.network, description.with_score_threshold(0.4))
    return path


@pytest.fixture
def experiment(tmp_path):
    """An experiment file with a smaller network and eight made-up pictures."""
    backbone = {**NETWORK["backbone"], "lite_expansion": 4, "fpn": "light"}
    values = {
        "name": "small",
        "network": {**NETWORK, "backbone": backbone},
        "data": {"train": [{"path": str(synthetic_set(tmp_path / "set", 8, (96, 128), seed=0))}]},
        "training": {"batch_size": 4},
    }
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def slim(trained, experiment, output, *more):
    arguments = ["--input", trained, "--cfg", experiment, "--output", output, *more]
    return dispatcher.run(["convert", "slim", *map(str, arguments)])


def test_a_smaller_network_is_written_with_the_threshold_and_licence(
    trained, experiment, tmp_path, capsys
):
    output = tmp_path / "small.safetensors"
    assert slim(trained, experiment, output, "--crops", "8") == 0
    model, description = load_detector(output)
    assert description.network.backbone.lite_expansion == 4
    assert description.network.backbone.fpn == "light"
    assert description.inference.score_threshold == 0.4
    assert (description.licence, description.metrics) == ("CC0", {})
    assert description.training["slimmed_from"].endswith("/trained.safetensors")
    assert model.backbone.body.network.blocks[2][1].conv_dw.out_channels == 160  # 4 times 40
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("blocks.1.0: leaves ")
    assert lines[-2].startswith("roi_heads.box_head.fc6: leaves ")
    assert lines[-1].startswith(f"{output}: ")
    assert "training.initial_weights=" in lines[-1]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("network.backbone.fpn_width=16", r"backbone\.fpn; backbone\.fpn_width differ"),
        ("network.box_head.width=32", r"; box_head\.width differ"),
        ("network.backbone.lite_expansion=7", "a lite_expansion of at most 6"),
        ("network.backbone.fpn=retinaface", "light in place of top_down; got 4 and retinaface"),
        ("network.upscale=true", "; upscale differ"),
    ],
)
def test_another_network_is_one_clear_line(trained, experiment, tmp_path, change, line):
    with pytest.raises(ConfigError, match=line) as error:
        slim(trained, experiment, tmp_path / "out.safetensors", "--set", change)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out.safetensors").exists()


def test_the_same_network_is_one_clear_line(trained, experiment, tmp_path):
    same = ["--set", "network.backbone.lite_expansion=6", "network.backbone.fpn=top_down"]
    with pytest.raises(ConfigError, match=r"expected a lite_expansion below 6, or fpn light"):
        slim(trained, experiment, tmp_path / "out.safetensors", *same)


def test_a_small_network_becomes_smaller_but_gets_no_larger_pyramid(trained, experiment, tmp_path):
    small, smaller = tmp_path / "small.safetensors", tmp_path / "smaller.safetensors"
    assert slim(trained, experiment, small, "--crops", "4") == 0
    with pytest.raises(ConfigError, match="fpn light, or light in place"):
        slim(small, experiment, smaller, "--set", "network.backbone.fpn=top_down")
    change = ("--crops", "4", "--set", "network.backbone.lite_expansion=2")
    assert slim(small, experiment, smaller, *change) == 0
    assert load_detector(smaller)[1].network.backbone.lite_expansion == 2


def test_another_ending_is_refused_before_anything_is_read(trained, tmp_path):
    with pytest.raises(WeightsError, match=r"--output: expected a \.safetensors file"):
        slim(trained, tmp_path / "missing.yaml", tmp_path / "out.pt")
