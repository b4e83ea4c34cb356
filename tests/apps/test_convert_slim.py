import pytest
import torch
import yaml

from head_detection.apps import main as dispatcher
from head_detection.apps.conversions import slim as slim_command
from head_detection.config import override_inference, parse_config
from head_detection.data.synthetic import synthetic_set
from head_detection.errors import ConfigError, WeightsError
from head_detection.models.faster_rcnn import build_detector, load_detector
from head_detection.models.weights import (
    WeightsDescription,
    read_weights,
    save_weights,
    write_weights,
)

SMALL = {"strides": [8, 16], "fpn_width": 8}
NETWORK = {
    "backbone": {"name": "tf_efficientnet_lite0", **SMALL},
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
        ("network.backbone.fpn_width=16", r"add --set network\.backbone\.fpn_width=8$"),
        ("network.box_head.width=32", r"add --set network\.box_head\.width=16$"),
        ("network.mean=[0.5, 0.5, 0.4]", r"add --set 'network\.mean=\[0\.485,0\.456,0\.406\]'$"),
        ("network.anchors.sizes=[[8], [24]]", r"add --set 'network\.anchors\.sizes=\[\[16\.0\],\["),
        ("network.backbone.lite_expansion=7", "a lite_expansion below 6 or fpn light, to make"),
        ("network.backbone.fpn=retinaface", "got a lite_expansion of 4 and fpn retinaface"),
        ("network.upscale=true", r"add --set network\.upscale=false$"),
    ],
)
def test_another_network_is_one_clear_line(trained, experiment, tmp_path, change, line):
    with pytest.raises(ConfigError, match=line) as error:
        slim(trained, experiment, tmp_path / "out.safetensors", "--set", change)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out.safetensors").exists()


def test_the_same_network_is_one_clear_line(trained, experiment, tmp_path):
    same = ["--set", "network.backbone.lite_expansion=6", "network.backbone.fpn=top_down"]
    with pytest.raises(ConfigError, match=r"expected a lite_expansion below 6 or fpn light"):
        slim(trained, experiment, tmp_path / "out.safetensors", *same)


def test_a_small_network_becomes_smaller_but_gets_no_larger_pyramid(trained, experiment, tmp_path):
    small, smaller = tmp_path / "small.safetensors", tmp_path / "smaller.safetensors"
    assert slim(trained, experiment, small, "--crops", "4") == 0
    with pytest.raises(ConfigError, match="expected a lite_expansion below 4, to"):
        slim(small, experiment, smaller, "--set", "network.backbone.fpn=top_down")
    change = ("--crops", "4", "--set", "network.backbone.lite_expansion=2")
    assert slim(small, experiment, smaller, *change) == 0
    assert load_detector(smaller)[1].network.backbone.lite_expansion == 2


def test_another_body_has_only_its_pyramid_to_lose(trained, experiment, tmp_path):
    config = parse_config({"network": {**NETWORK, "backbone": {"name": "resnet18", **SMALL}}}, [])
    model = build_detector(config.network, config.inference)
    path = tmp_path / "resnet.safetensors"
    save_weights(path, model.network, WeightsDescription(network=config.network))
    resnet = ["network.backbone.name=resnet18", "network.backbone.lite_expansion=6"]
    out, light = tmp_path / "out.safetensors", tmp_path / "light.safetensors"
    with pytest.raises(ConfigError, match="expected fpn light, to make"):
        slim(path, experiment, out, "--set", *resnet, "network.backbone.fpn=top_down")
    assert slim(path, experiment, light, "--crops", "2", "--set", *resnet) == 0
    with pytest.raises(ConfigError, match="has resnet18 and light") as error:
        slim(light, experiment, out, "--set", *resnet)
    assert "lite_expansion" not in str(error.value)


def test_pictures_need_no_labels_and_few_give_as_many_crops(
    trained, experiment, tmp_path, monkeypatch
):
    seen = []
    monkeypatch.setattr(
        slim_command, "slim", lambda _source, _target, batches: seen.extend(batches) or []
    )
    pictures = f"data.train=[{{path: {tmp_path / 'set' / 'images'}, format: folder}}]"
    output = tmp_path / "small.safetensors"
    assert slim(trained, experiment, output, "--crops", "18", "--set", pictures) == 0
    assert [len(batch.tensors) for batch in seen] == [4, 4, 4, 4, 2]  # eight pictures, five batches
    assert not torch.equal(seen[0].tensors, seen[2].tensors)  # another epoch, other crops


def test_pictures_of_nothing_are_one_clear_line(trained, experiment, tmp_path):
    """The second stage would forget all it knows: nothing shows what it does."""
    nothing = "inference.proposals={score_threshold: 1.0, pre_nms_top_n: 1, post_nms_top_n: 1}"
    tensors, description = read_weights(trained)
    inference = override_inference(description.inference, [nothing])
    blind = tmp_path / "blind.safetensors"
    write_weights(blind, tensors, description.model_copy(update={"inference": inference}))
    output = tmp_path / "out.safetensors"
    with pytest.raises(ConfigError, match=r"^data\.train: expected pictures of heads; the larger"):
        slim(blind, experiment, output, "--crops", "2")
    assert not output.exists()


def test_the_same_command_gives_the_same_file(trained, experiment, tmp_path):
    outputs = [tmp_path / name for name in ("one.safetensors", "two.safetensors")]
    for output in outputs:
        assert slim(trained, experiment, output, "--crops", "4") == 0
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_a_path_with_a_space_is_printed_as_a_shell_takes_it(trained, experiment, tmp_path, capsys):
    output = tmp_path / "my small.safetensors"
    assert slim(trained, experiment, output, "--crops", "4") == 0
    assert f"'training.initial_weights={output}' training.teacher=" in capsys.readouterr().out


def test_an_output_that_cannot_be_is_refused_before_anything_is_read(trained, tmp_path):
    before, nothing = trained.read_bytes(), tmp_path / "missing.yaml"
    with pytest.raises(WeightsError, match="expected another file than the input"):
        slim(trained, nothing, trained)
    assert trained.read_bytes() == before
    folder = tmp_path / "folder.safetensors"
    folder.mkdir()
    with pytest.raises(WeightsError, match="is a folder: choose another name"):
        slim(trained, nothing, folder)


def test_another_ending_is_refused_before_anything_is_read(trained, tmp_path):
    with pytest.raises(WeightsError, match=r"--output: expected a \.safetensors file"):
        slim(trained, tmp_path / "missing.yaml", tmp_path / "out.pt")
