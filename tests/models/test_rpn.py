import torch
from torchvision.models.detection.image_list import ImageList

from head_detection.config import ModelConfig, parse_config
from head_detection.models.rpn import HeadProposalNetwork, leave_out_ignored, share_inside


def model_config(*overrides: str) -> ModelConfig:
    return parse_config({}, overrides).model


def test_share_inside_by_hand() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 40], [5, 5, 5, 9]])
    regions = torch.tensor([[0.0, 0, 5, 10], [0, 0, 100, 30]])
    expected = torch.tensor([[0.5, 1.0], [0.0, 0.5], [0.0, 0.0]])
    torch.testing.assert_close(share_inside(boxes, regions), expected)
    assert share_inside(boxes, torch.zeros(0, 4)).shape == (3, 0)


def test_negatives_mostly_inside_an_ignored_region_are_left_out() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 21], [0, 0, 9, 9], [50, 50, 60, 60]])
    labels = torch.tensor([0.0, 0.0, 1.0, 0.0])
    target = {"ignore_boxes": torch.tensor([[0.0, 0, 10, 10]])}
    # Shares 1, 10/21, 1, 0; the third box matches a head.
    assert leave_out_ignored([labels], [boxes], [target])[0].tolist() == [-1, 0, 1, 0]
    assert leave_out_ignored([labels], [boxes], [{}])[0].tolist() == [0, 0, 1, 0]
    assert labels.tolist() == [0, 0, 1, 0]


def test_anchors_in_ignored_regions_are_never_sampled() -> None:
    network = HeadProposalNetwork(model_config("network.anchors.sizes=[[16]]"), 8, 1).train()
    anchors = torch.tensor([[0.0, 0, 16, 16], [100, 100, 116, 116], [40, 40, 56, 56]])
    target = {
        "boxes": torch.tensor([[40.0, 40, 56, 56]]),
        "ignore_boxes": torch.tensor([[0.0, 0, 20, 20]]),
    }
    labels, _ = network.assign_targets_to_anchors([anchors], [target])
    assert labels[0].tolist() == [-1, 0, 1]
    positive, negative = network.fg_bg_sampler(labels)
    assert positive[0].tolist() == [0, 0, 1]
    assert negative[0].tolist() == [0, 1, 0]


def test_upscaling_is_as_wide_as_the_model_and_doubles_the_anchors() -> None:
    sizes = "network.anchors.sizes=[[16], [32]]"
    counts = []
    for upscale in ("false", "true"):
        network = HeadProposalNetwork(
            model_config(sizes, f"network.upscale={upscale}"), 24, 2
        ).eval()
        seen: list[int] = []
        network.head.register_forward_hook(
            lambda _module, _inputs, maps, seen=seen: seen.append(sum(m.numel() for m in maps[0]))
        )
        features = {"8": torch.rand(1, 24, 8, 8), "16": torch.rand(1, 24, 4, 4)}
        proposals, _ = network(ImageList(torch.zeros(1, 3, 64, 64), [(64, 64)]), features)
        assert proposals[0].shape[1] == 4
        counts += seen
    assert counts == [3 * (64 + 16), 3 * (256 + 64)]
