"""``evaluate``: weights and labelled pictures to measured figures."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from tqdm import tqdm

from head_detection.atomic import write_bytes
from head_detection.config import DatasetConfig
from head_detection.data.annotations import AnnotatedSet
from head_detection.data.formats import load_annotations
from head_detection.evaluation.evaluator import evaluate
from head_detection.inference.detector import HeadDetector
from head_detection.inference.engines import PRECISIONS
from head_detection.structures import Detections

FORMATS = get_args(DatasetConfig.model_fields["format"].annotation)
LOWEST_SCORE = 0.02
"""The curves need low scores; under this there is next to nothing to find."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and return the exit code.

    Raises:
        ValueError: a mistake of the user, one line.
    """
    arguments = _create_parser().parse_args(argv)
    labelled = load_annotations(
        DatasetConfig(path=arguments.data, format=arguments.format, images=arguments.images)
    )
    detector = HeadDetector.from_weights(
        arguments.weights,
        device=arguments.device,
        precision=arguments.precision,
        score_threshold=LOWEST_SCORE,
    )
    found = _detect(detector, labelled)
    figures = evaluate(found, [image.truth for image in labelled.images])
    _print_table(figures, labelled, detector)
    if arguments.output:
        report = {
            "schema": "head-detection/metrics/1",
            "model": detector.origin,
            "data": arguments.data,
            "num_images": len(labelled.images),
            "num_heads": labelled.num_heads,
            "figures": figures,
        }
        path = arguments.output / "metrics.json"
        write_bytes(path, json.dumps(report, indent=1).encode())
        print(f"written to {path}")
    return 0


def _detect(detector: HeadDetector, labelled: AnnotatedSet) -> list[Detections]:
    paths = [image.path for image in labelled.images]
    found, num_heads = [], 0
    with tqdm(total=len(paths), unit="picture", file=sys.stderr) as progress:
        for result in detector.stream(paths):
            if result.error is not None:
                raise result.error
            if result.detections is not None:
                found.append(result.detections)
                num_heads += len(result.detections)
            progress.set_postfix(boxes=num_heads, refresh=False)
            progress.update()
    return found


def _print_table(figures: dict[str, float], labelled: AnnotatedSet, detector: HeadDetector) -> None:
    print(
        f"{detector.origin['weights']}, {detector.origin['precision']}, on {labelled.name}: "
        f"{len(labelled.images)} pictures, {labelled.num_heads} heads; IoU 0.5"
    )
    for name, value in figures.items():
        print(f"  {name:18} {value:8.4f}")


def _create_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure a detector on labelled pictures.")
    parser.add_argument("--weights", type=Path, help="a .safetensors file (default: shipped fast)")
    parser.add_argument("--data", required=True, help="annotations: a file or folder")
    parser.add_argument("--format", default="coco", choices=FORMATS)
    parser.add_argument("--images", help="folder that the picture names start from")
    parser.add_argument("--output", type=Path, help="folder for metrics.json")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N, mps")
    parser.add_argument("--precision", default="auto", choices=PRECISIONS)
    return parser
