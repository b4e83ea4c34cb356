"""``convert average``: writes the mean of the weights of several runs."""

import argparse
from pathlib import Path

from torch import Tensor, nn

from head_detection.apps.arguments import check_weights_output, weights
from head_detection.errors import WeightsError
from head_detection.models.faster_rcnn import load_detector
from head_detection.models.weights import fit, read_weights, save_weights


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--input", required=True, type=weights, nargs="+", metavar="FILE",
        help="two or more weights files or runs of the same network; one given twice counts twice",
    )  # fmt: skip
    parser.add_argument("--output", required=True, type=Path, help="the .safetensors file to write")


def run(arguments: argparse.Namespace) -> int:
    """Write the file, with the description of the first input but without its metrics.

    Source:
        Wortsman et al., Model soups, ICML 2022: the uniform soup.
    """
    paths: list[Path] = arguments.input
    check_weights_output(arguments.output, *paths)
    if len(paths) < 2:  # noqa: PLR2004 - a mean needs two
        raise WeightsError("--input: expected two files or more; got one")
    model, description = load_detector(paths[0])
    sums = _values(model.network)
    for path in paths[1:]:
        tensors, _ = read_weights(path)
        fit(model.network, tensors, str(path))
        sums = {name: sums[name] + values for name, values in _values(model.network).items()}
    means = {name: total / len(paths) for name, total in sums.items()}
    model.network.load_state_dict(means, strict=False)
    training = description.training | {"average_of": ["/".join(p.parts[-2:]) for p in paths]}
    averaged = description.model_copy(update={"training": training, "metrics": {}})
    save_weights(arguments.output, model.network, averaged)
    print(f"{arguments.output}: mean of {len(paths)} files")
    print("its score threshold is the first one's: choose it anew with evaluate --choose-threshold")
    return 0


def _values(model: nn.Module) -> dict[str, Tensor]:
    """Return all floating-point tensors: counters have no mean."""
    state = model.state_dict()
    return {name: tensor.double() for name, tensor in state.items() if tensor.is_floating_point()}
