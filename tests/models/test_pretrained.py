from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import Tensor

from head_detection.config import BackboneConfig, NetworkConfig
from head_detection.errors import WeightsError
from head_detection.models.backbones import create_backbone
from head_detection.models.network import build_network
from head_detection.models.pretrained import load_initial
from head_detection.models.weights import WeightsDescription, save_weights

SHARED = Path(__file__).parents[3] / "shared" / "pretrained"


def body_of(name: str, path: Path, **values: object) -> dict[str, Tensor]:
    config = BackboneConfig.model_validate(
        {"name": name, "pretrained": str(path), "fpn_width": 8, **values}
    )
    state: dict[str, Tensor] = create_backbone(config).body.state_dict()
    return state


def save(state: object, folder: Path) -> Path:
    path = folder / "theirs.pth"
    torch.save(state, path)
    return path


def test_torchvisions_layout(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    theirs = torchvision.models.resnet18().state_dict()
    ours = body_of("resnet18", save(theirs, tmp_path))
    torch.testing.assert_close(ours, {key: theirs[key] for key in ours})
    assert "2 tensors have no place in the body: fc.weight, fc.bias" in caplog.text


@pytest.mark.parametrize("prefix", ["backbone.body.", "module.backbone.body.", "module.body."])
def test_bodies_of_whole_detectors(prefix: str, tmp_path: Path) -> None:
    theirs = torchvision.models.resnet18().state_dict()
    wrapped = {"state_dict": {prefix + key: value for key, value in theirs.items()}}
    ours = body_of("resnet18", save(wrapped, tmp_path))
    torch.testing.assert_close(ours["layer4.1.conv2.weight"], theirs["layer4.1.conv2.weight"])


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "cspresnet50", "hrnet_w18"])
def test_timms_layout(name: str, tmp_path: Path) -> None:
    theirs = timm.create_model(name, pretrained=False).state_dict()
    ours = body_of(name, save(theirs, tmp_path))
    known = {key.replace("_", "."): value for key, value in theirs.items()}
    compared = 0
    for key, value in ours.items():
        plain = key.removeprefix("network.").replace("_", ".")
        if plain in known:
            torch.testing.assert_close(value, known[plain], rtol=0, atol=0)
            compared += 1
    assert compared > 0.9 * len(ours)


def test_other_names_in_the_same_order(tmp_path: Path) -> None:
    theirs = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    renamed = {f"_part{index}.value": value for index, value in enumerate(theirs.values())
               if value.dim()}  # fmt: skip
    ours = body_of("tf_efficientnet_lite0", save(renamed, tmp_path))
    torch.testing.assert_close(
        ours["network.blocks.2.0.conv_dw.weight"], theirs["blocks.2.0.conv_dw.weight"]
    )


def test_missing_tensors_keep_their_start_and_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    theirs = torchvision.models.resnet18().state_dict()
    del theirs["layer3.0.conv1.weight"]
    body_of("resnet18", save(theirs, tmp_path))
    assert "1 tensors keep their random start: layer3.0.conv1.weight" in caplog.text


@pytest.mark.parametrize(
    "content",
    [
        {"something.weight": torch.zeros(3, 3)},
        {"conv1.weight": torch.zeros(64, 3, 3, 3)},
        {},
        [1, 2, 3],
    ],
)
def test_nothing_that_fits_is_an_error(content: object, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="expected") as error:
        body_of("resnet18", save(content, tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the public weights are not beside this checkout")
@pytest.mark.parametrize("name", ["mobilenetv1_x025_imagenet.pth.tar", "retinaface_mnet025.pth"])
def test_public_mobilenets_fit_whole(name: str, caplog: pytest.LogCaptureFixture) -> None:
    body_of("mobilenet0.25", SHARED / name)
    assert "random start" not in caplog.text


def small(width: int = 16) -> NetworkConfig:
    backbone = {"name": "mobilenet0.25", "fpn_width": 8}
    return NetworkConfig.model_validate({"backbone": backbone, "box_head": {"width": width}})


def test_a_detector_starts_from_another_as_far_as_it_fits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, config = tmp_path / "first.safetensors", small()
    first, second = build_network(config), build_network(small(width=24))
    save_weights(path, first, WeightsDescription(network=config))
    load_initial(second, str(path))
    before, after = first.state_dict(), second.state_dict()
    fitting = [key for key in before if before[key].shape == after[key].shape]
    torch.testing.assert_close({k: after[k] for k in fitting}, {k: before[k] for k in fitting})
    assert (
        len(before) - len(fitting) == 6
    )  # of the box head: two layers, and the weights of both predictors
    assert "6 tensors keep their random start: roi_heads.box_head.fc6.weight" in caplog.text


def test_a_detector_of_another_kind_is_no_start(tmp_path: Path) -> None:
    path, config = tmp_path / "first.safetensors", small()
    save_weights(path, torch.nn.Linear(2, 2), WeightsDescription(network=config))
    with pytest.raises(WeightsError, match="nothing in it fits the detector: expected keys like"):
        load_initial(build_network(config), str(path))


def test_a_detector_of_other_sizes_is_told_by_its_shapes(tmp_path: Path) -> None:
    path, config = tmp_path / "first.safetensors", small()
    layers = {"fc.weight": torch.zeros(3, 2), "fc.bias": torch.zeros(3)}
    first = torch.nn.ModuleDict({"fc": torch.nn.Linear(2, 3)})
    first.load_state_dict(layers)
    save_weights(path, first, WeightsDescription(network=config))
    second = torch.nn.ModuleDict({"fc": torch.nn.Linear(5, 3)})
    with pytest.raises(WeightsError, match=r"fc.weight \(3, 5\).*; got .*fc.weight \(3, 2\)"):
        load_initial(second, str(path))
