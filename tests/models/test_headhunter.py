"""HeadHunter's checkpoints load, and give what its own code gave."""

import importlib.util
import itertools
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from head_detection.apps.main import run
from head_detection.config import load_config
from head_detection.errors import ConfigError
from head_detection.inference.detector import HeadDetector
from head_detection.models.context import DeformConvolution
from head_detection.models.headhunter import from_headhunter, options_of, rename
from head_detection.models.network import build_network


def main(arguments: list[str]) -> int:
    return run(["convert", *arguments])


ROOT = Path(__file__).parents[2]
GOLDEN = ROOT.parent / "shared" / "headhunter"
CONFIG = ROOT / "configs" / "headhunter_r50_cpm.yaml"
MOBILENET = [
    "network.backbone.fpn=retinaface",
    "network.backbone.fpn_width=64",
    "network.backbone.name=mobilenet0.25",
    "network.backbone.mobilenet_stem=2x2_stride1",
    "network.backbone.strides=[4,8,16]",
    "network.backbone.negative_slope=0.1",
    "network.backbone.context=ssh",
    "network.backbone.ssh_kernels=large",
]

needs_golden = pytest.mark.skipif(
    not GOLDEN.is_dir(), reason="HeadHunter's golden outputs are not beside this checkout"
)


def golden_state_dict(name: str) -> dict[str, Tensor]:
    spec = importlib.util.spec_from_file_location("filling", GOLDEN / "fill_state_dict.py")
    assert spec is not None
    assert spec.loader is not None
    filling: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(filling)
    state: dict[str, Tensor] = filling.fill(json.loads((GOLDEN / f"{name}.keys.json").read_text()))
    return state


@needs_golden
@pytest.mark.parametrize(
    ("name", "overrides"), [("resnet50_cpm", []), ("mobilenet025_ssh", MOBILENET)]
)
def test_converted_weights_give_the_original_boxes(
    name: str, overrides: list[str], tmp_path: Path
) -> None:
    theirs, ours = tmp_path / "theirs.pth", tmp_path / "ours.safetensors"
    torch.save(golden_state_dict(name), theirs)
    command = ["weights", "--from", "headhunter", "--cfg", str(CONFIG)]
    settings = ["--set", *overrides] if overrides else []
    assert main([*command, "--input", str(theirs), "--output", str(ours), *settings]) == 0

    detector = HeadDetector.from_weights(ours, device="cpu", precision="fp32")
    found = detector.detect([GOLDEN / "input.png"])[0]

    golden = np.load(GOLDEN / f"{name}.golden.npz")
    assert len(found) == 300
    np.testing.assert_allclose(found.scores, golden["scores"], rtol=0, atol=1e-4)
    # Two of the 300 are scored alike but for the last digit, which decides their order.
    nearest = np.abs(found.boxes[:, None] - golden["boxes"]).max(axis=2).argmin(axis=0)
    assert sorted(nearest) == list(range(300))
    assert np.abs(nearest - np.arange(300)).max() <= 1
    np.testing.assert_allclose(found.boxes[nearest], golden["boxes"], rtol=0, atol=1e-3)
    np.testing.assert_allclose(found.scores[nearest], golden["scores"], rtol=0, atol=1e-5)


@needs_golden
def test_wrong_options_are_named_with_what_to_add(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.pth"
    torch.save(golden_state_dict("mobilenet025_ssh"), theirs)
    command = ["weights", "--from", "headhunter", "--cfg", str(CONFIG)]
    with pytest.raises(ConfigError) as error:
        main([*command, "--input", str(theirs), "--output", str(tmp_path / "ours.safetensors")])
    line = str(error.value)
    assert "\n" not in line
    suggested = shlex.split(line.partition("--set ")[2])
    assert set(suggested) == set(MOBILENET)
    assert main([*command, "--input", str(theirs), "--output", str(tmp_path / "ours.safetensors"),
                 "--set", *suggested]) == 0  # fmt: skip


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("module.backbone.body.layer1.0.conv1.weight", "backbone.body.layer1.0.conv1.weight"),
        ("backbone.fpn.inner_blocks.2.bias", "backbone.fpn.inner_blocks.2.0.bias"),
        ("backbone.fpn.layer_blocks.0.0.weight", "backbone.fpn.layer_blocks.0.0.weight"),
        ("backbone.fpn.output3.0.weight", "backbone.fpn.laterals.2.0.weight"),
        ("backbone.fpn.merge1.1.running_var", "backbone.fpn.merges.0.1.running_var"),
        ("backbone.ssh4.conv7x7_3.0.weight", "backbone.contexts.3.conv7_3.0.weight"),
        ("backbone.ssh1.conv3X3.0.m_conv.bias", "backbone.contexts.0.conv3.0.mask.bias"),
        ("rpn.head.conv.weight", "rpn.head.conv.0.0.weight"),
        ("rpn.upscale_feat.weight", "rpn.upscale.weight"),
        ("roi_heads.upscale_feat.bias", "roi_heads.upscale.bias"),
    ],
)
def test_names(theirs: str, ours: str) -> None:
    assert rename(theirs) == ours


@pytest.mark.parametrize(
    "overrides",
    [
        ["network.upscale=true", "network.backbone.context=none"],
        ["network.backbone.context=ssh", "network.backbone.ssh_kernels=stacked"],
        ["network.backbone.context=deform_ssh", "network.backbone.ssh_kernels=large"],
        ["network.backbone.strides=[8,16,32]", "network.backbone.fpn=retinaface"],
        ["network.backbone.name=resnet152"],
        MOBILENET,
    ],
)
def test_options_are_read_off_the_tensors(overrides: list[str]) -> None:
    config = load_config(CONFIG, overrides)
    theirs = {
        to_headhunter(key): value
        for key, value in build_network(config.network).state_dict().items()
    }
    options = options_of(theirs)
    values: Any
    for key_path, expected in options.items():
        values = config.model_dump(mode="json")
        for key in key_path.split("."):
            values = values[key]
        assert values == expected, key_path
    assert {rename(key) for key in theirs} == set(build_network(config.network).state_dict())


def to_headhunter(key: str) -> str:
    """Spell a name as the original does, for the parts whose names differ."""
    for ours, theirs in (
        ("backbone.fpn.laterals.", "backbone.fpn.output"),
        ("backbone.fpn.merges.", "backbone.fpn.merge"),
        ("backbone.contexts.", "backbone.ssh"),
    ):
        if key.startswith(ours):
            level, _, rest = key.removeprefix(ours).partition(".")
            key = f"{theirs}{int(level) + 1}.{rest}"
    for ours, theirs in (
        (".conv3.0.offset.", ".conv3X3.0.p_conv."), (".conv3.0.mask.", ".conv3X3.0.m_conv."),
        (".conv3.", ".conv3X3."), (".conv5_", ".conv5X5_"),
        (".conv7_2.", ".conv7X7_2."), (".conv7_3.", ".conv7x7_3."), (".upscale.", ".upscale_feat."),
    ):  # fmt: skip
        key = key.replace(ours, theirs)
    return key


def test_deformable_offsets_are_rows_then_columns() -> None:
    generator = torch.Generator().manual_seed(0)
    state = {
        "conv.weight": torch.randn(2, 3, 3, 3, generator=generator),
        "p_conv.weight": torch.randn(18, 3, 3, 3, generator=generator) * 0.3,
        "p_conv.bias": torch.randn(18, generator=generator),
        "m_conv.weight": torch.randn(9, 3, 3, 3, generator=generator),
        "m_conv.bias": torch.randn(9, generator=generator),
    }
    image = torch.randn(1, 3, 5, 6, generator=generator)
    prefix = "backbone.ssh1.conv3X3.0."
    converted = from_headhunter({prefix + key: value for key, value in state.items()})
    ours = DeformConvolution(3, 2)
    ours.load_state_dict(
        {
            key.removeprefix("backbone.contexts.0.conv3.0."): value
            for key, value in converted.items()
        }
    )
    torch.testing.assert_close(ours(image), deformed_by_hand(image, state), rtol=1e-4, atol=1e-4)


def deformed_by_hand(image: Tensor, state: dict[str, Tensor]) -> Tensor:
    """Sample each of the nine places with its (row, column) offset, channels 0-8 and 9-17."""
    offsets = torch.conv2d(image, state["p_conv.weight"], state["p_conv.bias"], padding=1)[0]
    masks = torch.conv2d(image, state["m_conv.weight"], state["m_conv.bias"], padding=1)[
        0
    ].sigmoid()
    height, width = image.shape[-2:]
    result = torch.zeros(1, 2, height, width)
    for row, column, place in itertools.product(range(height), range(width), range(9)):
        y = row + place // 3 - 1 + offsets[place, row, column].item()
        x = column + place % 3 - 1 + offsets[9 + place, row, column].item()
        value = bilinear(image[0], y, x) * masks[place, row, column]
        result[0, :, row, column] += state["conv.weight"][:, :, place // 3, place % 3] @ value
    return result


def bilinear(image: Tensor, y: float, x: float) -> Tensor:
    top, left = int(np.floor(y)), int(np.floor(x))
    total = torch.zeros(image.shape[0])
    for r, c in itertools.product((top, top + 1), (left, left + 1)):
        if 0 <= r < image.shape[1] and 0 <= c < image.shape[2]:
            total += (1 - abs(y - r)) * (1 - abs(x - c)) * image[:, r, c]
    return total


def test_output_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a \.safetensors file"):
        main(["weights", "--from", "headhunter", "--cfg", str(CONFIG),
              "--input", "x.pth", "--output", str(tmp_path / "x.pth")])  # fmt: skip
