"""Validates the detector on whole pictures, which the ranks share."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext

import torch
from torch import nn

from head_detection.data.dataset import HeadDataset, Sample
from head_detection.evaluation.evaluator import evaluate
from head_detection.structures import Detections, GroundTruth
from head_detection.training.distributed import Ranks

BATCH_SIZE = 4
SIMILAR = 1.1
"""Pictures whose aspect ratios differ by less share a batch, which needs little padding."""
BATCHES_AHEAD = 2


def validate(
    model: nn.Module,
    dataset: HeadDataset,
    ranks: Ranks,
    precision: torch.dtype | None,
    advance: Callable[[int, int], bool],
) -> dict[str, float] | None:
    """Detect in every picture, each rank in its share, and evaluate all of them together.

    Args:
        model: the detector; switched to evaluation mode and left so.
        dataset: whole pictures.
        ranks: every rank calls this; a share may be empty.
        precision: type of autocast; None is float32.
        advance: called after each batch with the number of this rank's pictures that are done, and
            their total; returns whether to continue.

    Returns:
        The metrics of ``evaluate``, the same on every rank; None if a rank did not continue.
    """
    model.eval()
    results: list[tuple[int, Detections, GroundTruth]] = []
    batches = _batches(dataset, ranks)
    goes_on = True
    for samples in _loaded(dataset, batches):
        results += _detect(model, samples, ranks.device, precision)
        goes_on = advance(len(results), sum(map(len, batches)))
        if not goes_on:
            break
    # The ranks agree here, because one that left alone would keep the others waiting.
    shares = ranks.gather((goes_on, results))
    if not all(went_on for went_on, _ in shares):
        return None
    gathered = sorted((result for _, share in shares for result in share), key=lambda r: r[0])
    return evaluate([found for _, found, _ in gathered], [truth for _, _, truth in gathered])


def _batches(dataset: HeadDataset, ranks: Ranks) -> list[list[int]]:
    """Return this rank's pictures in batches of similar shape; unknown shapes are not batched."""
    shapes = [image.image_size for image in dataset.images]
    ratios = [shape[1] / shape[0] if shape else 0.0 for shape in shapes]
    order = sorted(range(len(ratios)), key=lambda index: (ratios[index], index))
    batches: list[list[int]] = []
    for index in order[ranks.rank :: ranks.world_size]:
        first = ratios[batches[-1][0]] if batches else 0.0
        if first > 0 and ratios[index] < first * SIMILAR and len(batches[-1]) < BATCH_SIZE:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def _loaded(dataset: HeadDataset, batches: Sequence[Sequence[int]]) -> Iterator[list[Sample]]:
    """Read pictures in a thread beside the network, with a bounded number ahead."""

    def load(indices: Sequence[int]) -> list[Sample]:
        return [dataset.load(index, 0) for index in indices]

    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting: deque[Future[list[Sample]]] = deque()
        for batch in batches:
            waiting.append(pool.submit(load, batch))
            if len(waiting) > BATCHES_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@torch.inference_mode()
def _detect(
    model: nn.Module, samples: Sequence[Sample], device: torch.device, precision: torch.dtype | None
) -> list[tuple[int, Detections, GroundTruth]]:
    images = [sample.image.to(device) for sample in samples]
    with torch.autocast(device.type, precision) if precision else nullcontext():
        outputs = model(images)
    results = []
    for sample, output in zip(samples, outputs, strict=True):
        height, width = sample.image.shape[-2:]
        found = Detections.from_arrays(
            output["boxes"].cpu().numpy(), output["scores"].cpu().numpy(), (height, width)
        )
        heads, ignored = sample.target["boxes"], sample.target["ignore_boxes"]
        boxes = torch.cat([heads, ignored]).numpy()
        is_ignored = torch.arange(len(boxes)) >= len(heads)
        truth = GroundTruth(boxes, is_ignored.numpy())
        results.append((int(sample.target["image_id"]), found, truth))
    return results
