"""``benchmark``: milliseconds a picture, beside torchvision's stock model in the same run."""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import torch
import torchvision
from matplotlib import cbook
from torch import Tensor
from torchvision.transforms.v2 import functional
from tqdm import tqdm

from head_detection.apps.arguments import positive
from head_detection.data.picture import read_picture
from head_detection.inference.detector import HeadDetector
from head_detection.inference.devices import PRECISIONS
from head_detection.inference.sources import find_pictures

SAMPLE = "grace_hopper.jpg"
"""Comes with matplotlib; public domain."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and return the exit code.

    Raises:
        ValueError: a mistake of the user, one line.
    """
    arguments = _create_parser().parse_args(argv)
    images = _read_images(arguments.source, arguments.size, arguments.limit)
    detector = HeadDetector.from_weights(
        arguments.weights, device=arguments.device, precision=arguments.precision
    )
    contestants: dict[str, Callable[[Tensor], object]] = {
        "this": lambda image: detector.engine.detect([image])
    }
    if arguments.against == "torchvision":
        contestants["torchvision"] = _stock_model(torch.device(detector.engine.device))
    times = _interleave(contestants, images, arguments.runs)
    print(
        f"{detector.origin['weights']} ({detector.engine.precision}, {detector.engine.device}), "
        f"{len(images)} pictures of {arguments.size[0]}x{arguments.size[1]}, one at a time, "
        f"{arguments.runs} runs in turn, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}; milliseconds a picture"
    )
    for name, values in times.items():
        print(
            f"  {name:12} median {statistics.median(values):8.1f}   min {min(values):8.1f}   "
            f"max {max(values):8.1f}"
        )
    if len(times) > 1:
        ratios = [b / a for a, b in zip(times["this"], times["torchvision"], strict=True)]
        print(
            f"  ratio        median {statistics.median(ratios):8.1f}   min {min(ratios):8.1f}   "
            f"max {max(ratios):8.1f}   (torchvision's fasterrcnn_resnet50_fpn, eager float32, "
            "random weights)"
        )
    return 0


def _read_images(source: str | None, size: tuple[int, int], limit: int) -> list[Tensor]:
    """Return pictures brought to one size, so that every contestant sees the same work."""
    paths = (
        [Path(cbook.get_sample_data(SAMPLE, asfileobj=False))]
        if source is None
        else [picture.path for picture in islice(find_pictures([source]).pictures, limit)]
    )
    arrays = [torch.from_numpy(read_picture(path)).permute(2, 0, 1) for path in paths]
    return [functional.resize(array, list(size), antialias=True) for array in arrays]


def _stock_model(device: torch.device) -> Callable[[Tensor], object]:
    model = torchvision.models.detection.fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=2
    )
    model = model.eval().to(device)

    @torch.inference_mode()
    def detect(image: Tensor) -> object:
        return [
            {key: value.cpu() for key, value in found.items()}
            for found in model([image.to(device).float() / 255])
        ]

    return detect


def _interleave(
    contestants: dict[str, Callable[[Tensor], object]], images: Sequence[Tensor], num_runs: int
) -> dict[str, list[float]]:
    """Time each contestant in turn, so that a drifting machine treats them alike."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for run in tqdm(range(num_runs + 1), desc="runs, the first to warm up"):
        for name, detect in contestants.items():
            start = time.perf_counter()
            for image in images:
                detect(image)
            if run:
                times[name].append((time.perf_counter() - start) / len(images) * 1e3)
    return times


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH such as 600x800; got {text!r}")
    return int(height), int(width)


def _create_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure the speed of a detector.")
    parser.add_argument("--weights", type=Path, help="a .safetensors file (default: shipped fast)")
    parser.add_argument("--source", help="pictures (default: one that comes with matplotlib)")
    parser.add_argument("--size", type=_size, default=(600, 800), help="default: 600x800")
    parser.add_argument("--limit", type=positive, default=8, help="pictures at most (default: 8)")
    parser.add_argument("--runs", type=positive, default=5, help="counted runs (default: 5)")
    parser.add_argument("--against", choices=["torchvision", "nothing"], default="torchvision")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N, mps")
    parser.add_argument("--precision", default="auto", choices=PRECISIONS)
    return parser
