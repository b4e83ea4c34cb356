"""That the shapes in annotations are checked while tests run, see ``conftest.py``."""

from collections.abc import Callable
from inspect import getmembers, isfunction, unwrap
from typing import Annotated, get_origin, get_type_hints

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from head_detection import boxes as boxes_module
from head_detection.boxes import areas, pairwise_iou
from head_detection.evaluation.evaluator import Curve
from head_detection.evaluation.matching import Matching
from head_detection.evaluation.ranking import interpolated_precision

BOXES = np.array([[0, 0, 4, 4], [1, 1, 5, 5]], np.float32)


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


def test_a_wrong_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxes_module, "_overlaps", lambda *_, **__: np.zeros((2, 3)))
    with pytest.raises(TypeCheckError, match="return"):
        pairwise_iou(BOXES, BOXES)


def test_the_shapes_that_are_asked_for_pass() -> None:
    assert pairwise_iou(BOXES, BOXES[:1]).shape == (2, 1)
    assert Matching(np.zeros(0, np.int64), np.zeros(0, np.float32), 1).num_found == 0


def test_every_function_of_boxes_names_its_shapes() -> None:
    for name, function in getmembers(boxes_module, isfunction):
        if name.startswith("_") or function.__module__ != boxes_module.__name__:
            continue
        hints = get_type_hints(unwrap(function), include_extras=True)
        boxes = [hint for key, hint in hints.items() if key in ("boxes", "boxes_xywh", "others")]
        assert boxes, name
        assert all(get_origin(hint) is Annotated for hint in boxes), name
