"""Where the weights that come with this package are, installed or in a checkout."""

from pathlib import Path
from typing import Final

from head_detection.models.weights import WeightsError

DEFAULT_WEIGHTS: Final = "fast.safetensors"
_PACKAGE: Final = Path(__file__).parents[1]


def shipped_weights(name: str = DEFAULT_WEIGHTS) -> Path:
    """Return the path of a shipped weights file.

    Raises:
        WeightsError: it is neither in the installed package nor in the checkout. One line.
    """
    folders = (_PACKAGE / "weights", _PACKAGE.parent / "weights")
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise WeightsError(
        f"expected the shipped weights {name} in {' or '.join(map(str, folders))}; found none: "
        "name others with --weights, or train some with scripts/train.py"
    )
