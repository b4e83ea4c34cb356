import torch

from head_detection.config import NetworkConfig, parse_config
from head_detection.models.network import Network, build_network


def config(*overrides: str) -> NetworkConfig:
    tiny = ["network.backbone.name=mobilenet0.25", "network.backbone.fpn_width=8"]
    return parse_config({}, [*tiny, "network.box_head.width=16", *overrides]).network


def test_its_tensors_have_torchvisions_names() -> None:
    names = set(build_network(config("network.upscale=true")).state_dict())
    assert {name.split(".")[0] for name in names} == {"backbone", "rpn", "roi_heads"}
    for name in (
        "rpn.head.conv.0.0.weight", "rpn.head.cls_logits.bias", "rpn.upscale.weight",
        "roi_heads.box_head.fc6.weight", "roi_heads.box_predictor.bbox_pred.bias",
        "roi_heads.upscale.bias",
    ):  # fmt: skip
        assert name in names


def test_maps_and_scores_have_the_shapes_that_are_promised() -> None:
    network = build_network(config())
    maps = network.dense(torch.rand(2, 3, 64, 96))
    assert [tuple(level.shape) for level in maps.features] == [
        (2, 8, 16, 24), (2, 8, 8, 12), (2, 8, 4, 6), (2, 8, 2, 3),
    ]  # fmt: skip
    assert [level.shape[1] for level in maps.objectness] == [3] * 4  # three ratios
    assert [level.shape[1] for level in maps.deltas] == [12] * 4
    logits, deltas = network.score(torch.rand(5, 8, 7, 7))
    assert (logits.shape, deltas.shape) == ((5, 2), (5, 8))


def test_upscaling_doubles_what_is_looked_at_and_pooled_from() -> None:
    network: Network = build_network(config("network.upscale=true"))
    maps = network.dense(torch.rand(1, 3, 64, 64))
    assert [level.shape[2] for level in maps.objectness] == [32, 16, 8, 4]
    assert [level.shape[2] for level in maps.features] == [32, 16, 8, 4]


def test_answers_are_float32_under_bfloat16() -> None:
    network = build_network(config())
    with torch.autocast("cpu", torch.bfloat16):
        maps = network.dense(torch.rand(1, 3, 64, 64))
        answers = network.score(torch.rand(5, 8, 7, 7))
    levels = [level for kind in maps for level in kind]
    assert {values.dtype for values in (*levels, *answers)} == {torch.float32}
