"""That the shapes in annotations are checked while tests run, see ``conftest.py``."""

from collections.abc import Callable
from inspect import getmembers, isfunction, unwrap
from typing import Annotated, get_origin, get_type_hints

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from torch import Tensor

from head_detection import boxes as boxes_module
from head_detection.boxes import areas, pairwise_iou
from head_detection.evaluation.evaluator import Curve
from head_detection.evaluation.matching import Matching
from head_detection.evaluation.ranking import interpolated_precision
from head_detection.models import nms
from head_detection.models.box_regression import giou_losses
from head_detection.models.matching import BoxMatcher, best_heads
from head_detection.models.network import DenseMaps
from head_detection.models.proposals import Proposals
from head_detection.models.suppression import Candidates, box_sizes
from head_detection.models.targets import Targets, collect_targets

BOXES = np.array([[0, 0, 4, 4], [1, 1, 5, 5]], np.float32)
TENSOR = torch.from_numpy(BOXES)[None]
TARGETS = collect_targets([{"boxes": TENSOR[0]}])
OWNERS = torch.zeros(2, dtype=torch.int64)


@pytest.mark.parametrize(
    "call",
    [
        lambda: areas(BOXES[0]),
        lambda: areas(BOXES[:, :3]),
        lambda: pairwise_iou(BOXES, others=BOXES[:, :2]),
        lambda: interpolated_precision(np.arange(3), np.arange(2), 3),
        lambda: Matching(np.zeros(2, np.int64), np.zeros(3, np.float32), 1),
        lambda: Curve("", np.zeros((2, 2)), np.zeros(2), "", ""),
    ],
)
def test_other_shapes_are_refused(call: Callable[[], object]) -> None:
    with pytest.raises(TypeCheckError):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: nms.greedy_nms(TENSOR, torch.zeros(1, 3), 0.5, waits=True),
        lambda: nms.keep_boxes(BOXES.astype(float), np.ones(3), 0.5),
        lambda: giou_losses(TENSOR, TENSOR[0]),
        # Behind a decorator, a method or not.
        lambda: best_heads(TENSOR[..., :3], TARGETS),
        lambda: BoxMatcher(0.5, 0.5, False).label(TENSOR[0, 0, :3], TARGETS),
        # In what is handed on: tuples with names, dataclasses, rows of tensors, None or not.
        lambda: Candidates(TENSOR, torch.zeros(2)),
        lambda: Proposals(TENSOR, torch.zeros(1, 2), is_settled=torch.zeros(1)),
        lambda: Targets(TENSOR[0], OWNERS[:1], TENSOR[0, :0], OWNERS[:0], (2,)),
        lambda: DenseMaps((torch.zeros(1, 4, 3),), (), ()),
    ],
)
def test_other_shapes_are_refused_in_the_models(call: Callable[[], object]) -> None:
    with pytest.raises(TypeCheckError):
        call()


def test_a_wrong_answer_of_the_models_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "sqrt", lambda tensor: tensor.sum())
    with pytest.raises(TypeCheckError, match="return"):
        box_sizes(TENSOR)


def test_a_wrong_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxes_module, "_overlaps", lambda *_, **__: np.zeros((2, 3)))
    with pytest.raises(TypeCheckError, match="return"):
        pairwise_iou(BOXES, BOXES)


def test_the_shapes_that_are_asked_for_pass() -> None:
    assert pairwise_iou(BOXES, BOXES[:1]).shape == (2, 1)
    assert Matching(np.zeros(0, np.int64), np.zeros(0, np.float32), 1).num_found == 0
    assert Candidates(TENSOR, torch.zeros(1, 2)).view is None
    assert box_sizes(TENSOR[0, 0]).item() == 4.0


def test_every_function_of_boxes_names_its_shapes() -> None:
    for name, function in getmembers(boxes_module, isfunction):
        if name.startswith("_") or function.__module__ != boxes_module.__name__:
            continue
        hints = get_type_hints(unwrap(function), include_extras=True)
        boxes = [hint for key, hint in hints.items() if key in ("boxes", "boxes_xywh", "others")]
        assert boxes, name
        assert all(get_origin(hint) is Annotated for hint in boxes), name
