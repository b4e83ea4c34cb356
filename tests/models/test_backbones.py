from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import Tensor, nn

from head_detection.config import BODIES, BackboneConfig
from head_detection.errors import ConfigError
from head_detection.models.backbones import create_backbone

SMALL = {"fpn_width": 8}
OTHER_TIMM_BODY = "timm/mobilenetv3_small_050"


def shapes(levels: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {stride: tuple(level.shape) for stride, level in levels.items()}


@pytest.mark.parametrize("name", [*BODIES, OTHER_TIMM_BODY])
def test_each_body_runs_forward_and_backward(name: str) -> None:
    backbone = create_backbone(BackboneConfig(name=name, strides=(4, 8, 16, 32), **SMALL))
    levels = backbone(torch.rand(2, 3, 64, 96))
    assert shapes(levels) == {
        "4": (2, 8, 16, 24), "8": (2, 8, 8, 12), "16": (2, 8, 4, 6), "32": (2, 8, 2, 3),
    }  # fmt: skip
    sum(level.square().mean() for level in levels.values()).backward()
    first = next(backbone.body.parameters())
    assert first.grad is not None
    assert bool(first.grad.isfinite().all())
    assert first.grad.abs().sum() > 0


@pytest.mark.parametrize("context", ["ssh", "cpm", "deform_ssh"])
@pytest.mark.parametrize("width", [8, 32])
def test_contexts_of_any_width(context: str, width: int) -> None:
    config = BackboneConfig(name="mobilenet0.25", context=context, context_width=width, **SMALL)
    levels = create_backbone(config)(torch.rand(1, 3, 64, 64))
    assert [shape[1] for shape in shapes(levels).values()] == [8] * 4


def test_levels_from_8_to_64_and_of_a_single_stride() -> None:
    backbone = create_backbone(BackboneConfig(name="resnet18", strides=(8, 16, 32, 64), **SMALL))
    assert shapes(backbone(torch.rand(1, 3, 128, 128))) == {
        "8": (1, 8, 16, 16), "16": (1, 8, 8, 8), "32": (1, 8, 4, 4), "64": (1, 8, 2, 2),
    }  # fmt: skip
    alone = create_backbone(BackboneConfig(name="resnet18", strides=(4,), **SMALL))
    assert shapes(alone(torch.rand(1, 3, 64, 64))) == {"4": (1, 8, 16, 16)}
    assert not hasattr(alone.body, "layer2")


def test_retinaface_pyramid_with_three_levels() -> None:
    config = BackboneConfig(name="resnet18", strides=(8, 16, 32), fpn="retinaface", **SMALL)
    backbone = create_backbone(config)
    assert len(backbone.fpn.merges) == 2
    assert list(backbone(torch.rand(1, 3, 64, 64))) == ["8", "16", "32"]


def test_headhunters_mobilenet_halves_the_strides() -> None:
    config = BackboneConfig(name="mobilenet0.25", mobilenet_stem="2x2_stride1", strides=(4, 8, 16))
    levels = create_backbone(config)(torch.rand(1, 3, 64, 64))
    # Its 2x2 kernel with padding 1 leaves 65 pixels of 64, hence the odd sizes.
    assert [shape[-1] for shape in shapes(levels).values()] == [17, 9, 5]


@pytest.mark.parametrize(
    "values",
    [
        {"name": "mobilenet0.25", "mobilenet_stem": "2x2_stride1", "strides": (4, 8, 16, 32)},
        {"name": "resnet18", "strides": (4, 64)},
        {"name": "resnet18", "strides": (64,)},
        {"name": "timm/no_such_network"},
        {"name": "timm/vit_tiny_patch16_224", "strides": (4, 8)},
        {"name": "timm/levit_128s", "strides": (16,)},  # pictures of 224x224 alone
        {"name": "resnet18", "context": "ssh", "context_width": 6},
        {"name": "mobilenet0.25", "pretrained": True},
    ],
)
def test_what_does_not_fit_is_one_clear_line(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"^network\.backbone\.\w+: ") as error:
        create_backbone(BackboneConfig.model_validate(values))
    assert "\n" not in str(error.value)


def test_a_slimmer_lite_body_has_no_published_weights() -> None:
    with pytest.raises(ValueError, match=r"pretrained: expected false .* lite_expansion of 6"):
        BackboneConfig(name="tf_efficientnet_lite1", pretrained=True, lite_expansion=4)
    for name in ("resnet18", "timm/tf_efficientnet_lite3"):
        with pytest.raises(ValueError, match=rf"lite0, 1 and 2 have one; got '{name}'"):
            BackboneConfig(name=name, lite_expansion=4)
    BackboneConfig(name="timm/tf_efficientnet_lite2", pretrained="body.pth", lite_expansion=4)


def test_a_body_made_for_one_size_takes_any_and_its_maps_have_channels_first() -> None:
    config = BackboneConfig(name="timm/swin_tiny_patch4_window7_224", strides=(4, 8), fpn_width=8)
    levels = create_backbone(config)(torch.rand(1, 3, 64, 96))
    assert list(shapes(levels).values()) == [(1, 8, 16, 24), (1, 8, 8, 12)]


@pytest.mark.parametrize(
    ("stages", "frozen", "free"),
    [
        (1, "conv1.weight", "layer1.0.conv1.weight"),
        (2, "layer1.1.bn2.bias", "layer2.0.conv1.weight"),
    ],
)
def test_frozen_stages_of_a_resnet(stages: int, frozen: str, free: str) -> None:
    backbone = create_backbone(BackboneConfig(name="resnet18", **SMALL))
    backbone.freeze(frozen_stages=stages)
    parameters = dict(backbone.body.named_parameters())
    assert not parameters[frozen].requires_grad
    assert parameters[free].requires_grad


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "hrnet_w18", "mobilenet0.25"])
def test_frozen_parts_stay_as_they_are_while_the_rest_learns(name: str) -> None:
    backbone = create_backbone(BackboneConfig(name=name, **SMALL))
    backbone.freeze(frozen_stages=1, frozen_batch_norm=True)
    backbone.train()
    before = {key: value.clone() for key, value in backbone.body.state_dict().items()}
    free = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(free, lr=0.1)
    sum(level.square().mean() for level in backbone(torch.rand(2, 3, 64, 64)).values()).backward()
    optimizer.step()
    after = backbone.body.state_dict()
    norms = {
        key for key, module in backbone.body.named_modules() if isinstance(module, nn.BatchNorm2d)
    }
    for key, value in before.items():
        if key.rpartition(".")[0] in norms:
            torch.testing.assert_close(after[key], value, rtol=0, atol=0)
    assert any(not torch.equal(after[key], value) for key, value in before.items())
    with pytest.raises(ConfigError, match="frozen_stages"):
        backbone.freeze(frozen_stages=99)


def test_pretrained_false_reads_nothing(tmp_path: Path) -> None:
    missing = BackboneConfig(name="resnet18", pretrained=str(tmp_path / "none.pth"))
    with pytest.raises(ValueError, match="no such file"):
        create_backbone(missing)
    create_backbone(missing.model_copy(update={"pretrained": False}))


def test_a_download_that_fails_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> nn.Module:
        raise URLError("no route\nto host")

    monkeypatch.setattr(torchvision.models, "get_model", refuse)
    with pytest.raises(ConfigError, match=r"cannot be downloaded here .*no route to host") as error:
        create_backbone(BackboneConfig(name="resnet18", pretrained=True))
    assert "\n" not in str(error.value)
