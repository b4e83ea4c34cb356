"""Where the weights that come with this package are, installed or in a checkout."""

from pathlib import Path
from typing import Final

from head_detection.errors import WeightsError

DEFAULT_WEIGHTS: Final = "fast.safetensors"
SUFFIXES: Final = (".safetensors", ".yaml")
_PACKAGE: Final = Path(__file__).parents[1]


def shipped_weights(name: str = DEFAULT_WEIGHTS) -> Path:
    """Return the path of a shipped weights file.

    Raises:
        WeightsError: it is neither in the installed package nor in the checkout. One line.
    """
    found = _find(name)
    if found is not None:
        return found
    raise WeightsError(
        f"expected the shipped weights {name} in {' or '.join(map(str, _folders()))}; found none: "
        "name others with --weights, or train some with scripts/train.py"
    )


def weights_path(name: str | Path) -> Path:
    """Return the path that a user means: ``fast`` is a shipped file, ``accurate`` a preset.

    Anything else is a path as it stands, and so is a file of such a name in the working folder.

    Example:
        >>> weights_path("fast").name, weights_path("my/fast").name
        ('fast.safetensors', 'fast')
    """
    path = Path(name)
    is_bare = not path.suffix and path.name == str(name) and not path.exists()
    shipped = (_find(f"{name}{suffix}") for suffix in SUFFIXES) if is_bare else ()
    return next((found for found in shipped if found is not None), path)


def _folders() -> tuple[Path, Path]:
    return _PACKAGE / "weights", _PACKAGE.parent / "weights"


def _find(name: str) -> Path | None:
    return next((folder / name for folder in _folders() if (folder / name).is_file()), None)
