"""Both losses beside torchvision's own, and what a batch of them asks of a GPU."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.models.detection.rpn import RegionProposalNetwork

from head_detection.config import parse_config
from head_detection.models.box_regression import ROI_WEIGHTS, BoxLoss, encode_boxes
from head_detection.models.losses import (
    RoiLoss,
    RpnLoss,
    Samples,
    build_roi_loss,
    build_rpn_loss,
    hardest_mean_loss,
)
from head_detection.models.matching import BoxMatcher
from head_detection.models.sampling import BalancedSampler
from head_detection.models.targets import Targets, collect_targets

NOTHING = torch.zeros(0, 4)
ALL = BalancedSampler(10_000, 0.5)
"""Takes every candidate, so that nothing is left to chance."""
RPN_LOSS = RpnLoss(BoxMatcher(0.7, 0.3, True), ALL)
ROI_LOSS = RoiLoss(BoxMatcher(0.5, 0.5, False), ALL, box_loss_beta=1 / 9)
COUNTS = ([4, 0, 1, 9], [30], [0, 0])
WAITING = {"nonzero", "_local_scalar_dense", "item", "masked_select", "lift_fresh", "is_nonzero"}
"""Operators after which a processor waits for its GPU; ``lift_fresh`` begins ``torch.tensor``."""


def random_boxes(count: int, generator: torch.Generator) -> Tensor:
    corners = torch.rand(count, 2, generator=generator) * 40
    return torch.cat((corners, corners + 2 + torch.rand(count, 2, generator=generator) * 28), 1)


def random_targets(counts: list[int], *, ignored: int = 0) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(len(counts))
    return [
        {
            "boxes": random_boxes(count, generator),
            "labels": torch.ones(count, dtype=torch.int64),
            "ignore_boxes": random_boxes(ignored, generator),
        }
        for count in counts
    ]


def random_outputs(
    num_images: int, num_boxes: int, *, requires_grad: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """``(N, 4)`` boxes, ``(B, N)`` logits and ``(B, N, 4)`` deltas."""
    generator = torch.Generator().manual_seed(num_images + num_boxes)
    logits = torch.randn(num_images, num_boxes, generator=generator)
    deltas = torch.randn(num_images, num_boxes, 4, generator=generator)
    return (
        random_boxes(num_boxes, generator),
        logits.requires_grad_(requires_grad),
        deltas.requires_grad_(requires_grad),
    )


def outputs_of(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Logits ``(N, 2)`` and deltas ``(N, 8)`` that depend on the box alone, not on its slot."""
    weights = torch.randn(4, 10, generator=torch.Generator().manual_seed(0)) / 30
    outputs = boxes.reshape(-1, 4) @ weights
    return outputs[:, :2], outputs[:, 2:]


# The first stage.


@pytest.mark.parametrize("counts", COUNTS, ids=str)
def test_rpn_losses_and_gradients_are_torchvisions(counts: list[int]) -> None:
    targets = random_targets(counts)
    anchors, logits, deltas = random_outputs(len(counts), 300, requires_grad=True)
    theirs = RegionProposalNetwork(nn.Identity(), nn.Identity(), 0.7, 0.3, 10_000, 0.5, {}, {}, 0.7)
    every = [anchors] * len(counts)
    labels, matched = theirs.assign_targets_to_anchors(every, targets)
    codes = list(theirs.box_coder.encode(matched, every))
    # Pictures without heads give torchvision codes of log(0), which it never reads.
    expected = theirs.compute_loss(logits.reshape(-1, 1), deltas.reshape(-1, 4), labels, codes)
    expected_gradients = torch.autograd.grad(sum(expected), (logits, deltas))
    found = RPN_LOSS(anchors, logits, deltas, collect_targets(targets))
    torch.testing.assert_close(found["loss_objectness"], expected[0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found["loss_rpn_box_reg"], expected[1], rtol=1e-6, atol=1e-6)
    gradients = torch.autograd.grad(sum(found.values()), (logits, deltas))
    for mine, its in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-5, atol=1e-7)


def test_rpn_losses_by_hand() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60], [80, 80, 90, 90]])
    targets = collect_targets(
        [{"boxes": torch.tensor([[1.0, 0, 11, 10]]), "ignore_boxes": anchors[2:] + 1}]
    )
    # The head is a tenth of a width off its anchor: smooth L1 .5 * .1^2 * 9. Two are sampled.
    found = RPN_LOSS(anchors, torch.zeros(1, 3), torch.zeros(1, 3, 4), targets)
    assert found["loss_objectness"].item() == pytest.approx(0.693147, abs=1e-6)
    assert found["loss_rpn_box_reg"].item() == pytest.approx(0.045 / 2, abs=1e-6)


def test_what_is_not_sampled_may_be_no_number() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]])
    targets = collect_targets([{"boxes": anchors[:1], "ignore_boxes": anchors[1:]}])
    logits = torch.tensor([[0.0, float("nan")]], requires_grad=True)
    deltas = torch.full((1, 2, 4), float("nan"))
    deltas[0, 0] = 0.0
    deltas.requires_grad_()
    found = RPN_LOSS(anchors, logits, deltas, targets)
    sum(found.values()).backward()
    assert found["loss_objectness"].item() == pytest.approx(0.693147, abs=1e-6)
    assert logits.grad.tolist() == [[-0.5, 0.0]]
    assert not deltas.grad.any()


# The second stage.


def torchvision_samples(
    proposals: list[Tensor], targets: list[dict[str, Tensor]]
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    theirs = RoIHeads(None, None, None, 0.5, 0.5, 10_000, 0.5, None, 0.0, 0.5, 100)
    boxes, _, labels, codes = theirs.select_training_samples(proposals, targets)
    return boxes, labels, list(codes)


def padded(proposals: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The proposals as ``(B, P, 4)``, with NaN where they end, and which are valid ``(B, P)``."""
    boxes = nn.utils.rnn.pad_sequence(proposals, batch_first=True, padding_value=float("nan"))
    return boxes, ~boxes.isnan().any(dim=2)


@pytest.mark.parametrize("counts", COUNTS, ids=str)
def test_roi_samples_and_losses_are_torchvisions(counts: list[int]) -> None:
    generator = torch.Generator().manual_seed(9)
    targets = random_targets(counts)
    proposals = [random_boxes(60 + 7 * k, generator) for k in range(len(counts))]
    boxes, labels, codes = torchvision_samples(proposals, targets)
    samples = ROI_LOSS.sample(*padded(proposals), collect_targets(targets))
    assert samples.mask.sum(dim=1).tolist() == [len(own) for own in boxes]
    for k, (own, own_labels, own_codes) in enumerate(zip(boxes, labels, codes, strict=True)):
        head_codes = torch.where(own_labels[:, None] > 0, own_codes, 0.0)  # others are not read
        theirs = torch.cat((own, own_labels[:, None], head_codes), dim=1)
        mine = torch.cat((samples.boxes, samples.labels[..., None], samples.regression), dim=2)[k]
        torch.testing.assert_close(
            sorted(mine[samples.mask[k]].tolist()), sorted(theirs.tolist()), rtol=1e-6, atol=1e-5
        )
    expected = fastrcnn_loss(*outputs_of(torch.cat(boxes)), labels, codes)
    found = ROI_LOSS(*outputs_of(samples.boxes), samples)
    torch.testing.assert_close(found["loss_classifier"], expected[0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found["loss_box_reg"], expected[1], rtol=1e-6, atol=1e-6)


def three_samples(*, is_padded: bool) -> Samples:
    """A head 1 pixel beside a box of 10, two of background, and two slots that are not taken."""
    boxes = torch.tensor([[[0.0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50]]])
    labels, regression = torch.tensor([[1, 0, 0]]), torch.zeros(1, 3, 4)
    regression[0, 0, 0] = 1.0  # 10 * 1 / 10
    mask = torch.ones(1, 3, dtype=torch.bool)
    if is_padded:
        nothing = torch.tensor([[[0.0, 0, 1, 1]] * 2])
        boxes = torch.cat((boxes, nothing), dim=1)
        labels, mask = (nn.functional.pad(part, (0, 2)) for part in (labels, mask))
        regression = nn.functional.pad(regression, (0, 0, 0, 2))
    return Samples(boxes, mask, labels, regression)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("smooth_l1", 0.5),  # beta 1: .5 * 1^2
        ("giou", 1 - 9 / 11),  # nothing enclosed but the union
        ("ciou", 1 - 9 / 11 + 1 / (11**2 + 10**2)),  # the centres are 1 apart
    ],
)
@pytest.mark.parametrize("is_padded", [False, True])
def test_box_losses_by_hand(kind: BoxLoss, expected: float, is_padded: bool) -> None:
    samples = three_samples(is_padded=is_padded)
    deltas = torch.zeros(samples.mask.numel(), 8, requires_grad=True)
    logits = torch.zeros(samples.mask.numel(), 2, requires_grad=True)
    with torch.no_grad():
        logits[3:], deltas[3:] = float("nan"), float("inf")
        deltas[:, :4] = float("nan")  # the background has no box
    loss = replace(ROI_LOSS, box_loss=kind, box_loss_beta=1.0, box_loss_weight=6.0)
    found = loss(logits, deltas, samples)
    assert found["loss_classifier"].item() == pytest.approx(0.693147, abs=1e-6)
    assert found["loss_box_reg"].item() == pytest.approx(6 * expected / 3, abs=1e-5)
    sum(found.values()).backward()
    assert not logits.grad[3:].any()
    assert not deltas.grad[1:].any()
    assert not deltas.grad[:, :4].any()
    assert deltas.grad[0, 4] < 0  # to the right is nearer


def test_the_k_hardest_by_hand() -> None:
    # Probabilities of the head for true background: the loss of each is -log(1 - p).
    odds = torch.tensor([1.0, 3.0, 7.0, float("nan")]).log()
    logits = torch.stack((torch.zeros(4), odds), dim=1).requires_grad_()
    labels, mask = torch.zeros(4, dtype=torch.int64), torch.tensor([True, True, True, False])
    log2 = 0.693147
    for keep, expected in ((0, 2 * log2), (3, 2 * log2), (2, 2.5 * log2), (1, 3 * log2)):
        loss = hardest_mean_loss(logits, labels, mask, keep)
        assert loss.item() == pytest.approx(expected, abs=1e-5)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert not gradient[3].any()
        assert int(gradient[:, 1].count_nonzero()) == (keep or 3)


def test_padding_leaves_the_hardest_alone() -> None:
    samples = three_samples(is_padded=True)
    logits = torch.tensor([[0.0, 0.0]] * 3 + [[-50.0, 90.0]] * 2)
    found = replace(ROI_LOSS, num_hardest=4)(logits, torch.zeros(5, 8), samples)
    assert found["loss_classifier"].item() == pytest.approx(0.693147, abs=1e-6)


def test_proposals_in_ignored_regions_and_invalid_ones_are_not_sampled() -> None:
    proposals = torch.tensor([[[0.0, 0, 9, 9], [50, 50, 60, 60], [70, 70, 80, 80]]])
    targets = collect_targets(
        [{"boxes": torch.tensor([[20.0, 20, 30, 30]]), "ignore_boxes": proposals[0, :1]}]
    )
    samples = ROI_LOSS.sample(proposals, torch.tensor([[True, True, False]]), targets)
    assert samples.mask.tolist() == [[True, True, False, False]]
    assert samples.labels.tolist() == [[1, 0, 0, 0]]
    assert samples.boxes[0].tolist() == [
        [20, 20, 30, 30],
        [50, 50, 60, 60],
        [0, 0, 1, 1],
        [0, 0, 1, 1],
    ]


# Both.


@pytest.mark.parametrize("heads", [0, 3])
def test_where_nothing_is_left_to_sample_the_losses_are_0_with_a_gradient(heads: int) -> None:
    anchors, logits, deltas = random_outputs(2, 5, requires_grad=True)
    everywhere = torch.tensor([[-100.0, -100, 500, 500]])
    targets = collect_targets([{"boxes": NOTHING, "ignore_boxes": everywhere}] * 2)
    samples = ROI_LOSS.sample(anchors.expand(2, -1, -1), torch.ones(2, 5).bool(), targets)
    assert not samples.mask.any()
    for kind in ("smooth_l1", "giou", "ciou"):
        roi = replace(ROI_LOSS, box_loss=kind, num_hardest=heads)
        outputs = torch.ones(10, 2, requires_grad=True), torch.ones(10, 8, requires_grad=True)
        found = {**RPN_LOSS(anchors, logits, deltas, targets), **roi(*outputs, samples)}
        assert [loss.item() for loss in found.values()] == [0.0] * 4
        gradients = torch.autograd.grad(sum(found.values()), (logits, deltas, *outputs))
        assert not any(gradient.any() for gradient in gradients)


def test_no_proposals_and_no_heads() -> None:
    targets = collect_targets([{"boxes": NOTHING}] * 2)
    samples = ROI_LOSS.sample(torch.zeros(2, 0, 4), torch.zeros(2, 0).bool(), targets)
    assert samples.boxes.shape == samples.regression.shape == (2, 0, 4)
    logits, deltas = torch.zeros(0, 2, requires_grad=True), torch.zeros(0, 8, requires_grad=True)
    found = ROI_LOSS(logits, deltas, samples)
    sum(found.values()).backward()
    assert [loss.item() for loss in found.values()] == [0.0, 0.0]


def test_no_proposals_but_heads() -> None:
    targets = collect_targets(random_targets([2, 0]))
    samples = ROI_LOSS.sample(torch.zeros(2, 0, 4), torch.zeros(2, 0).bool(), targets)
    assert samples.labels.tolist() == [[1, 1], [0, 0]]
    assert samples.mask.tolist() == [[True, True], [False, False]]


def test_losses_are_float32_under_autocast() -> None:
    targets = collect_targets(random_targets([3, 1]))
    anchors, logits, deltas = random_outputs(2, 50)
    samples = ROI_LOSS.sample(anchors.expand(2, -1, -1), torch.ones(2, 50).bool(), targets)
    outputs = [part.bfloat16() for part in (logits, deltas, *outputs_of(samples.boxes))]
    with torch.autocast("cpu", torch.bfloat16):
        found = RPN_LOSS(anchors, outputs[0], outputs[1], targets)
        found |= ROI_LOSS(outputs[2], outputs[3], samples)
    exact = RPN_LOSS(anchors, outputs[0].float(), outputs[1].float(), targets)
    exact |= ROI_LOSS(outputs[2].float(), outputs[3].float(), samples)
    for name, loss in found.items():
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(exact[name].item(), rel=1e-6)


class _Operators(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.waits: list[str] = []

    def __torch_dispatch__(
        self, function: Any, _types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = function.overloadpacket.__name__
        self.counts[name] += 1
        places = args[1] if name.startswith("index") and isinstance(args[1], list | tuple) else ()
        is_masked = any(isinstance(p, Tensor) and p.dtype == torch.bool for p in places)
        if name in WAITING or is_masked or (name == "_to_copy" and (kwargs or {}).get("device")):
            self.waits.append(name)
        return function(*args, **(kwargs or {}))


def operators_of(work: Callable[[], object]) -> _Operators:
    with _Operators() as operators:
        work()
    return operators


def training_step(num_images: int, kind: BoxLoss) -> Callable[[], None]:
    """All from the dicts to the gradients, as the second edition of the model does."""
    dicts = random_targets([5 + 3 * k for k in range(num_images)], ignored=2)
    anchors, logits, deltas = random_outputs(num_images, 200, requires_grad=True)
    rpn = RpnLoss(BoxMatcher(0.7, 0.3, True), BalancedSampler(64, 0.5))
    roi = RoiLoss(BoxMatcher(0.5, 0.5, False), BalancedSampler(64, 0.25), 40, kind)
    is_valid = torch.rand(num_images, 200) < 0.9
    factors = torch.ones(num_images, 2)
    scores = torch.zeros(num_images * 64, 2, requires_grad=True)
    moves = torch.zeros(num_images * 64, 8, requires_grad=True)

    def work() -> None:
        targets: Targets = collect_targets(dicts).scaled(factors)
        samples = roi.sample(anchors.expand(num_images, -1, -1), is_valid, targets)
        assert samples.boxes.shape == (num_images, 64, 4)
        losses = rpn(anchors, logits, deltas, targets) | roi(scores, moves, samples)
        sum(losses.values()).backward()

    return work


@pytest.mark.parametrize("kind", ["smooth_l1", "giou", "ciou"])
def test_16_pictures_take_the_operators_of_2_and_none_waits(kind: BoxLoss) -> None:
    two, sixteen = (operators_of(training_step(count, kind)) for count in (2, 16))
    assert sixteen.counts.total() <= 1.1 * two.counts.total()
    # Not waits: the owners of heads and of regions begin as NumPy's and go from pinned memory.
    assert sixteen.waits == ["lift_fresh"] * 2
    assert two.counts["topk"] == 5  # the counter sees what is done


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, which is not here")
def test_no_step_waits_for_a_gpu() -> None:
    device = torch.device("cuda")
    targets = collect_targets(random_targets([3, 0, 9], ignored=2))
    anchors, logits, deltas = (part.to(device) for part in random_outputs(3, 200))
    is_valid = torch.ones(3, 200, dtype=torch.bool, device=device)
    factors = torch.ones(3, 2, device=device)
    collect_targets([{"boxes": anchors}])  # the first pinned memory is asked of the driver
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        targets = targets.to(device).scaled(factors)
        for kind in ("smooth_l1", "giou", "ciou"):
            roi = replace(ROI_LOSS, box_loss=kind, num_hardest=50)
            samples = roi.sample(anchors.expand(3, -1, -1), is_valid, targets)
            count = samples.mask.numel()
            scores, moves = (samples.boxes.new_zeros(count, width) for width in (2, 8))
            inputs = logits.clone().requires_grad_(), deltas.clone().requires_grad_()
            scores, moves = scores.requires_grad_(), moves.requires_grad_()
            losses = RPN_LOSS(anchors, *inputs, targets) | roi(scores, moves, samples)
            sum(losses.values()).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_true_heads_are_not_sampled_where_they_are_not_added() -> None:
    targets = collect_targets([{"boxes": torch.tensor([[0, 0, 10, 10.0]])}])
    proposals, is_valid = torch.tensor([[[0, 0, 10, 8.0], [50, 50, 60, 60]]]), torch.ones(1, 2) > 0
    with_heads = ROI_LOSS.sample(proposals, is_valid, targets)
    without = replace(ROI_LOSS, adds_heads=False).sample(proposals, is_valid, targets)
    assert sorted(without.boxes[0].tolist()) == [[0, 0, 10, 8], [50, 50, 60, 60]]
    assert without.labels.tolist() == [[1, 0]]
    assert [0, 0, 10, 10] in with_heads.boxes[0].tolist()


def test_a_score_learns_how_well_its_box_is_placed() -> None:
    # Both overlap the head by 8/10: share (.8 - .5) / .4 = .75, target .4 + .6 * .75 = .85. The
    # third is background.
    boxes = torch.tensor([[[0, 0, 10, 8.0], [0, 2, 10, 10], [50, 50, 60, 60]]])
    codes = encode_boxes(boxes[0, :2], torch.tensor([[0, 0, 10, 10.0]]).expand(2, 4), ROI_WEIGHTS)
    codes = torch.cat((codes, torch.zeros(1, 4)))[None]
    samples = Samples(boxes, torch.ones(1, 3) > 0, torch.tensor([[1, 1, 0]]), codes)
    logits = torch.tensor([[0.0, 2.0], [0.0, 0.0], [1.0, 0.0]])
    loss = replace(ROI_LOSS, learns_iou=True)(logits, torch.zeros(3, 8), samples)

    def entropy(target: float, logit: float) -> float:
        score = 1 / (1 + math.exp(-logit))
        return -target * math.log(score) - (1 - target) * math.log(1 - score)

    expected = (entropy(0.85, 2.0) + entropy(0.85, 0.0) + entropy(0.0, -1.0)) / 3
    assert loss["loss_classifier"].item() == pytest.approx(expected, rel=1e-5)


def test_what_scores_learn_has_no_gradient_through_the_boxes() -> None:
    samples = Samples(
        torch.tensor([[[0, 0, 10, 8.0]]]), torch.ones(1, 1) > 0, torch.tensor([[1]]),
        torch.full((1, 1, 4), 0.1),
    )  # fmt: skip
    deltas = torch.zeros(1, 8, requires_grad=True)
    loss = replace(ROI_LOSS, learns_iou=True)(
        torch.zeros(1, 2, requires_grad=True), deltas, samples
    )
    loss["loss_classifier"].backward()
    assert deltas.grad is None or not deltas.grad.any()


def test_the_config_reaches_both_losses() -> None:
    config = parse_config(
        {},
        [
            "training.rpn.fg_iou_threshold=.6",
            "training.rpn.samples_per_image=9",
            "training.roi.positive_fraction=.125",
            "training.roi.ohem=7",
            "training.roi.box_loss=giou",
            "training.roi.box_loss_beta=2",
            "training.roi.box_loss_weight=5",
        ],
    ).training
    assert build_rpn_loss(config.rpn) == RpnLoss(
        BoxMatcher(0.6, 0.3, True), BalancedSampler(9, 0.5)
    )
    expected = RoiLoss(
        BoxMatcher(0.5, 0.5, False), BalancedSampler(512, 0.125), 7, "giou", 2.0, 5.0
    )
    assert build_roi_loss(config.roi) == expected
    by_iou = config.roi.model_copy(update={"score_target": "iou"})
    built = build_roi_loss(by_iou, adds_heads=False)
    assert built == replace(expected, learns_iou=True, adds_heads=False)
