"""``convert slim``: starts a smaller, faster network from trained weights."""

import argparse
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any, Final

import torch
from torchvision.models.detection.image_list import ImageList
from tqdm import tqdm

from head_detection.apps.arguments import check_weights_output, positive, set_option, weights
from head_detection.config import (
    BackboneConfig,
    ExperimentConfig,
    NetworkConfig,
    load_config,
)
from head_detection.errors import ConfigError
from head_detection.models.faster_rcnn import FasterRCNN, build_detector, load_detector
from head_detection.models.slimming import slim
from head_detection.models.weights import WeightsDescription, save_weights
from head_detection.training.distributed import Ranks
from head_detection.training.inputs import build_data, load_training_sets
from head_detection.training.run_folder import differences

CROPS: Final = 128
PYRAMIDS: Final = (
    *((fpn, fpn) for fpn in ("top_down", "light", "retinaface")),
    ("top_down", "light"),
)
"""The pyramids of the larger and of the smaller network."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--input", required=True, type=weights, metavar="NAME|FILE",
        help="trained weights: fast, accurate, light, a file, or the folder of a run",
    )  # fmt: skip
    parser.add_argument(
        "--cfg", required=True, type=Path, metavar="FILE",
        help="experiment file with the smaller network: the input's with a lower lite_expansion, "
        "or fpn: light, or both; and with the pictures of data.train, which need no labels",
    )  # fmt: skip
    parser.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="KEY.PATH=VALUE",
        help="replace fields of the experiment file; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--crops", type=positive, default=CROPS, metavar="N",
        help=f"training samples to fit the smaller network to (default: {CROPS})",
    )  # fmt: skip
    parser.add_argument("--output", required=True, type=Path, help="the .safetensors file to write")


def run(arguments: argparse.Namespace) -> int:
    """Write the smaller network's weights, and return the exit code."""
    check_weights_output(arguments.output, arguments.input)
    config = load_config(arguments.cfg, [*arguments.set, "data.validation=[]"])
    source, description = load_detector(arguments.input)
    network = _network(config, description, arguments.input)
    target = build_detector(network, description.inference).eval()
    batches = list(_batches(config, source, arguments.crops))
    try:
        for name, left in slim(source, target, batches):
            print(f"{name}: leaves {left:.1%} of the variance", flush=True)
    except ValueError as error:
        raise ConfigError(f"data.train: {error}") from error
    slimmed = description.model_copy(
        update={
            "network": network,
            "training": {"slimmed_from": "/".join(arguments.input.parts[-2:])},
            "metrics": {},
        }
    )
    save_weights(arguments.output, target.network, slimmed)
    started = {"initial_weights": str(arguments.output), "teacher": str(arguments.input)}
    print(
        f"{arguments.output}: {_size(source)} M parameters became {_size(target)} M; train it with "
        f"{set_option({f'training.{key}': value for key, value in started.items()})}"
    )
    return 0


def _network(config: ExperimentConfig, given: WeightsDescription, path: Path) -> NetworkConfig:
    """Return the experiment's network, without pretrained weights of its own.

    Raises:
        ConfigError: it differs from the given one in more than what can be made smaller, or not at
            all.
    """
    own = config.network.backbone
    update = {"lite_expansion": own.lite_expansion, "fpn": own.fpn, "pretrained": False}
    backbone = given.network.backbone.model_copy(update=update)
    network = config.network.model_copy(
        update={"backbone": own.model_copy(update={"pretrained": False})}
    )
    expected = given.network.model_copy(update={"backbone": backbone})
    theirs, ours = (part.model_dump(mode="json") for part in (expected, network))
    if differing := differences(theirs, ours):
        values = dict(_whole_value(theirs, f"network.{key}") for key, _ in differing)
        raise ConfigError(
            f"network: expected that of {path}, but for backbone.lite_expansion and backbone.fpn; "
            f"got another: add {set_option(values)}"
        )
    if network.upscale:
        raise ConfigError("network.upscale: expected false; such networks cannot be made smaller")
    _check_is_smaller(own, given.network.backbone, path)
    return network


def _whole_value(network: Any, key_path: str) -> tuple[str, Any]:
    """Return a field's key and value; of an entry of a list, those of the list."""
    section, *keys = key_path.split(".")
    value, taken = network, [section]
    while keys and isinstance(value, dict):
        taken.append(keys.pop(0))
        value = value[taken[-1]]
    return ".".join(taken), value


def _check_is_smaller(own: BackboneConfig, old: BackboneConfig, path: Path) -> None:
    """Check that of two bodies with pyramids, alike but for what may differ, one is smaller.

    Raises:
        ConfigError: it is larger, or the same; says what would be smaller.
    """
    ways = [f"a lite_expansion below {old.lite_expansion}"] if old.has_expansion else []
    ways += ["fpn light"] if old.fpn == "top_down" else []
    if not ways:
        raise ConfigError(
            f"network.backbone: expected weights that can be made smaller, of an EfficientNet-Lite "
            f"or with fpn top_down; {path} has {old.name} and {old.fpn}"
        )
    got = own.lite_expansion, own.fpn
    is_larger = own.lite_expansion > old.lite_expansion or (old.fpn, own.fpn) not in PYRAMIDS
    if is_larger or got == (old.lite_expansion, old.fpn):
        raise ConfigError(
            f"network.backbone: expected {' or '.join(ways)}, to make {path} smaller; got a "
            f"lite_expansion of {got[0]} and fpn {got[1]}"
        )


def _batches(config: ExperimentConfig, source: FasterRCNN, wanted: int) -> Iterator[ImageList]:
    """Yield this many training samples of the experiment, epoch after epoch."""
    ranks = Ranks(rank=0, world_size=1, device=torch.device("cpu"))
    data = build_data(config, load_training_sets(config), [], ranks).batches
    samples = (sample for epoch in count() for batch in data.batches(epoch) for sample in batch)
    size = config.training.batch_size
    with tqdm(total=wanted, unit="crop", desc="reading", leave=False, disable=None) as bar:
        for start in range(0, wanted, size):
            drawn = list(islice(samples, min(size, wanted - start)))
            batch, _ = source.transform([sample.image for sample in drawn])
            yield batch
            bar.update(len(drawn))


def _size(detector: FasterRCNN) -> str:
    return f"{sum(parameter.numel() for parameter in detector.parameters()) / 1e6:.2f}"
