"""Initial weights: bodies trained by others, in several layouts, and this project's detectors."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor, nn

from head_detection.errors import WeightsError
from head_detection.models.weights import read_state_dict, read_weights

PREFIXES = ("", "backbone.body.", "body.", "backbone.", "features.", "encoder.")
"""Key prefixes of HeadHunter, RetinaFace, torchvision's detectors, and plain classifiers."""
BODY = "backbone.body."
COUNTERS = "num_batches_tracked"
SHOWN_KEYS = 8

logger = logging.getLogger(__name__)


def load_body(body: nn.Module, path: str) -> None:
    """Load a body from a state dict in torchvision's, timm's, RetinaFace's or HeadHunter's layout.

    Keys are matched by name, with the layout's prefix removed. If no name fits, tensors are matched
    by order if every shape agrees (ports of timm's networks keep its order). Tensors that do not
    fit are logged as a warning.

    Raises:
        WeightsError: the file cannot be read, or nothing in it fits.
    """
    source = read_state_dict(path)
    expected = body.state_dict()
    matched = _match_by_name(expected, source) or _match_by_order(expected, source)
    if not matched:
        raise WeightsError(
            f"{path}: nothing in it fits the body: expected keys like {some_names(expected)}; "
            f"got {some_names(source)}"
        )
    body.load_state_dict({key: source[name] for key, name in matched.items()}, strict=False)
    _report(path, expected, source, matched, "body")


def load_initial(detector: nn.Module, path: str | Path, *, with_body: bool = True) -> list[str]:
    """Load from a detector trained with this project all tensors whose names and shapes fit.

    Tensors that do not fit, for example of a box head of another width, are logged as a warning.

    Args:
        detector: changed in place.
        path: a weights file of this project.
        with_body: False skips the body, if the file's is another one: layers of different bodies
            may have the same name and shape by chance.

    Returns:
        The names of all tensors that were not loaded, in the detector's order.

    Raises:
        WeightsError: the file cannot be read, or nothing in it fits.
    """
    source, _ = read_weights(path)
    expected = everything = detector.state_dict()
    if not with_body:
        source, expected = _without_body(source), _without_body(expected)
    matched = {
        key: key
        for key, tensor in expected.items()
        if key in source and source[key].shape == tensor.shape
    }
    if not any(source[key].dim() > 1 for key in matched):
        raise WeightsError(
            f"{path}: nothing in it fits the detector: expected keys like {_shapes(expected)}; "
            f"got {_shapes(source)}"
        )
    detector.load_state_dict({key: source[key] for key in matched}, strict=False)
    _report(path, expected, source, matched, "detector")
    return [key for key in everything if key not in matched and not key.endswith(COUNTERS)]


def _without_body(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in tensors.items() if not key.startswith(BODY)}


def _match_by_name(expected: Mapping[str, Tensor], source: Mapping[str, Tensor]) -> dict[str, str]:
    """Return ``{key of the body: key of the file}`` for the prefix that fits most tensors."""
    best: dict[str, str] = {}
    for prefix in PREFIXES:
        plain = {
            _plain(name.removeprefix(prefix)): name for name in source if name.startswith(prefix)
        }
        matched = {
            key: plain[_plain(key)]
            for key, tensor in expected.items()
            if _plain(key) in plain and source[plain[_plain(key)]].shape == tensor.shape
        }
        best = max(best, matched, key=len)
    return best if any(source[name].dim() > 1 for name in best.values()) else {}


def _plain(key: str) -> str:
    """Unify timm's two spellings: ``network.stages_0.conv`` and ``stages.0.conv``."""
    return key.removeprefix("network.").replace("_", ".")


def _match_by_order(expected: Mapping[str, Tensor], source: Mapping[str, Tensor]) -> dict[str, str]:
    wanted = [key for key in expected if not key.endswith(COUNTERS)]
    offered = [name for name in source if not name.endswith(COUNTERS)]
    same = len(wanted) <= len(offered) and all(
        expected[key].shape == source[name].shape
        for key, name in zip(wanted, offered, strict=False)
    )
    return dict(zip(wanted, offered, strict=False)) if same else {}


def _report(
    path: str | Path,
    expected: Mapping[str, Tensor],
    source: Mapping[str, Tensor],
    matched: Mapping[str, str],
    network: str,
) -> None:
    used = set(matched.values())
    missing = [key for key in expected if key not in matched and not key.endswith(COUNTERS)]
    left_over = [name for name in source if name not in used and not name.endswith(COUNTERS)]
    for what, keys in (
        ("keep their random start", missing),
        (f"have no place in the {network}", left_over),
    ):
        if keys:
            logger.warning("%s: %d tensors %s: %s", path, len(keys), what, some_names(keys))


def _shapes(tensors: Mapping[str, Tensor]) -> str:
    return some_names(f"{key} {tuple(tensors[key].shape)}" for key in sorted(tensors))


def some_names(keys: Iterable[str]) -> str:
    """Join the first names of a list; ``...`` stands for the others."""
    names = list(keys)
    more = ", ..." if len(names) > SHOWN_KEYS else ""
    return ", ".join(names[:SHOWN_KEYS]) + more
