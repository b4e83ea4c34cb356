"""``convert slim``: starts a smaller, faster network from trained weights."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch
from torchvision.models.detection.image_list import ImageList
from tqdm import tqdm

from head_detection.apps.arguments import positive, weights
from head_detection.config import ExperimentConfig, NetworkConfig, load_config
from head_detection.errors import ConfigError, WeightsError
from head_detection.models.faster_rcnn import FasterRCNN, build_detector, load_detector
from head_detection.models.slimming import slim
from head_detection.models.weights import WeightsDescription, save_weights
from head_detection.training.distributed import Ranks
from head_detection.training.inputs import build_data, load_sets
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
        "--input", required=True, type=weights, metavar="NAME|FILE", help="trained weights"
    )
    parser.add_argument(
        "--cfg", required=True, type=Path, metavar="FILE",
        help="experiment file with the smaller network: the input's with a lower lite_expansion, "
        "or fpn: light, or both; and with the pictures of data.train, whose labels are not used",
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
    if arguments.output.suffix.lower() != ".safetensors":
        raise WeightsError(f"--output: expected a .safetensors file; got {arguments.output}")
    config = load_config(arguments.cfg, [*arguments.set, "data.validation=[]"])
    source, description = load_detector(arguments.input)
    network = _network(config, description, arguments.input)
    target = build_detector(network, description.inference).eval()
    batches = list(_batches(config, source, arguments.crops))
    for name, left in slim(source, target, batches):
        print(f"{name}: leaves {left:.1%} of the variance", flush=True)
    slimmed = description.model_copy(
        update={
            "network": network,
            "training": {"slimmed_from": "/".join(arguments.input.parts[-2:])},
            "metrics": {},
        }
    )
    save_weights(arguments.output, target.network, slimmed)
    print(
        f"{arguments.output}: {_size(source)} M parameters became {_size(target)} M; train it with "
        f"--set training.initial_weights={arguments.output} training.teacher={arguments.input}"
    )
    return 0


def _network(config: ExperimentConfig, given: WeightsDescription, path: Path) -> NetworkConfig:
    """Return the experiment's network, without pretrained weights of its own.

    Raises:
        ConfigError: it differs from the given one in more than what can be made smaller, or not.
    """
    own = config.network.backbone
    update = {"lite_expansion": own.lite_expansion, "fpn": own.fpn, "pretrained": False}
    backbone = given.network.backbone.model_copy(update=update)
    network = config.network.model_copy(
        update={"backbone": own.model_copy(update={"pretrained": False})}
    )
    expected = given.network.model_copy(update={"backbone": backbone})
    theirs, ours = (part.model_dump(mode="json") for part in (expected, network))
    if keys := [key for key, _ in differences(theirs, ours)]:
        raise ConfigError(
            f"network: expected that of {path}, but for backbone.lite_expansion and backbone.fpn; "
            f"{', '.join(keys)} differ"
        )
    old = given.network.backbone
    if network.upscale:
        raise ConfigError("network.upscale: expected false; such networks cannot be made smaller")
    if own.lite_expansion > old.lite_expansion or (old.fpn, own.fpn) not in PYRAMIDS:
        raise ConfigError(
            f"network.backbone: expected a lite_expansion of at most {old.lite_expansion}, and fpn "
            f"{old.fpn}, or light in place of top_down; got {own.lite_expansion} and {own.fpn}"
        )
    if (own.lite_expansion, own.fpn) == (old.lite_expansion, old.fpn):
        raise ConfigError(
            f"network.backbone: expected a lite_expansion below {old.lite_expansion}, or fpn light "
            f"in place of top_down, to make {path} smaller; got its own network"
        )
    return network


def _batches(config: ExperimentConfig, source: FasterRCNN, count: int) -> Iterator[ImageList]:
    """Yield at least ``count`` training samples of the experiment, or all of an epoch."""
    train, _ = load_sets(config)
    ranks = Ranks(rank=0, world_size=1, device=torch.device("cpu"))
    seen = 0
    with tqdm(total=count, unit="crop", desc="reading", leave=False, disable=None) as bar:
        for samples in build_data(config, train, [], ranks).batches.batches(0):
            batch, _ = source.transform([sample.image for sample in samples])
            yield batch
            bar.update(len(samples))
            seen += len(samples)
            if seen >= count:
                return


def _size(detector: FasterRCNN) -> str:
    return f"{sum(parameter.numel() for parameter in detector.parameters()) / 1e6:.2f}"
