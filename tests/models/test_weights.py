import os
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from head_detection.config import NetworkConfig, parse_config
from head_detection.errors import WeightsError
from head_detection.models.faster_rcnn import load_detector
from head_detection.models.network import build_network
from head_detection.models.weights import (
    WeightsDescription,
    read_description,
    read_state_dict,
    save_weights,
    store_operating_point,
)


def small_config() -> NetworkConfig:
    return parse_config(
        {},
        [
            "network.backbone.name=mobilenet0.25",
            "network.backbone.fpn_width=8",
            "network.backbone.pretrained=gone.pth",
            "network.box_head.width=16",
        ],
    ).network


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    config = small_config()
    backbone = config.backbone.model_copy(update={"pretrained": False})
    network = build_network(config.model_copy(update={"backbone": backbone}))
    path = tmp_path / "model.safetensors"
    description = WeightsDescription(network=config, metrics={"ap50": 0.5}, licence="none")
    save_weights(path, network, description.with_score_threshold(0.37))
    return path


def test_a_file_is_enough_to_build_the_same_network(weights: Path) -> None:
    model, description = load_detector(weights)
    again, _ = load_detector(weights)
    assert description.inference.score_threshold == 0.37
    assert description.network == small_config()
    assert not model.training
    image = torch.rand(3, 64, 64)
    torch.testing.assert_close(model([image]), again([image]), rtol=0, atol=0)


def test_the_description_comes_without_the_tensors(weights: Path) -> None:
    assert read_description(weights).metrics == {"ap50": 0.5}
    assert read_description(weights).class_names == ("head",)


def test_another_operating_point_leaves_the_tensors_as_they_are(weights: Path) -> None:
    before, described = weights.read_bytes(), read_description(weights)
    store_operating_point(weights, 0.61, {"f1": 0.9})
    metrics = {"ap50": 0.5, "f1": 0.9}
    expected = described.with_score_threshold(0.61).model_copy(update={"metrics": metrics})
    assert read_description(weights) == expected
    after = weights.read_bytes()
    starts = [8 + struct.unpack("<Q", content[:8])[0] for content in (before, after)]
    assert after[starts[1] :] == before[starts[0] :]
    assert [file.name for file in weights.parent.iterdir()] == [weights.name]


def test_the_description_of_a_damaged_file_is_not_replaced(weights: Path) -> None:
    damaged = weights.read_bytes()[:-1]
    weights.write_bytes(damaged)
    with pytest.raises(WeightsError, match="truncated"):
        store_operating_point(weights, 0.61, {})
    assert weights.read_bytes() == damaged


def test_truncated(weights: Path) -> None:
    content = weights.read_bytes()
    for length in (0, 4, 100, len(content) - 1):
        weights.write_bytes(content[:length])
        with pytest.raises(WeightsError, match=r"expected a whole \.safetensors"):
            load_detector(weights)


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX alone")
def test_a_path_that_safetensors_does_not_open(weights: Path) -> None:
    with pytest.raises(WeightsError, match="expected a path in Unicode, safetensors opens no oth"):
        load_detector(weights.rename(weights.with_name("caf\udce9.safetensors")))


def test_absurd_header_length(weights: Path) -> None:
    weights.write_bytes(struct.pack("<Q", 2**62) + b"{}")
    with pytest.raises(WeightsError, match=r"expected a whole \.safetensors"):
        load_detector(weights)


def test_tensors_of_another_network_are_named(weights: Path, tmp_path: Path) -> None:
    model, description = load_detector(weights)
    state = model.network.state_dict()
    del state["rpn.head.cls_logits.bias"]
    state["roi_heads.box_head.fc6.weight"] = torch.zeros(2, 2)
    state["extra"] = torch.zeros(1)
    other = tmp_path / "other.safetensors"
    save_file(state, other, metadata={"head_detection": description.model_dump_json()})
    with pytest.raises(WeightsError) as error:
        load_detector(other)
    line = str(error.value)
    assert "\n" not in line
    for part in (
        "1 missing: rpn.head.cls_logits.bias",
        "1 left over: extra",
        "(2, 2) for (16, 392)",
    ):
        assert part in line


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "describe themselves"),
        ({"head_detection": "{"}, "damaged"),
        ({"head_detection": "[]"}, "damaged"),
        ({"head_detection": '{"format_version": 9}'}, "format version 2; got 9"),
        ({"head_detection": '{"format_version": 2, "network": {"bakbone": {}}}'}, "mean backbone?"),
        (
            {"head_detection": '{"format_version": 2, "network": null}'},
            "network: expected an object; got None$",
        ),
        (
            {"head_detection": '{"format_version": 2, "network": {"std": [0, 1, 1]}}'},
            "its description is damaged: network.std.0: expected greater than 0; got 0$",
        ),
    ],
)
def test_files_of_others(metadata: dict[str, str] | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata=metadata)
    with pytest.raises(WeightsError, match=message) as error:
        load_detector(path)
    assert "\n" not in str(error.value)


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        read_description(tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match="a folder"):
        read_state_dict(tmp_path)


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("pwned",)


def test_code_in_a_pth_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Harmful()}, tmp_path / "bad.pth")
    with pytest.raises(WeightsError, match="expected a PyTorch state dict"):
        read_state_dict(tmp_path / "bad.pth")
    assert not (tmp_path / "pwned").exists()


def test_noise_is_no_state_dict(tmp_path: Path) -> None:
    path = tmp_path / "noise.pth"
    for content in (b"", b"not weights", bytes(range(256)) * 40):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="expected a PyTorch state dict") as error:
            read_state_dict(path)
        assert "\n" not in str(error.value)


def test_an_interrupted_save_leaves_the_old_file(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = weights.read_bytes()
    model, description = load_detector(weights)

    def fail(_descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save_weights(weights, model.network, description)
    assert weights.read_bytes() == before
    assert list(weights.parent.iterdir()) == [weights]
