"""Every field of the experiment file is read by somebody; one that nobody reads is a lie."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

import head_detection
from head_detection.config import ExperimentConfig, TrackingConfig

PACKAGE = Path(head_detection.__file__).parent


def fields_of(model: type[BaseModel], key: str) -> Iterator[tuple[str, str, str]]:
    """Yield class, key in its parent, and field, over all sections below."""
    for name, field in model.model_fields.items():
        yield model.__name__, key, name
        kinds = (field.annotation, *get_args(field.annotation))
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from fields_of(kind, name)


def last_name(node: ast.expr | None) -> str:
    """Return the last identifier of ``a.b.c``, without a leading underscore."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value  # an annotation in quotes
    name = {ast.Name: "id", ast.Attribute: "attr"}.get(type(node))
    return "" if name is None else str(getattr(node, name)).lstrip("_")


def annotated_names(tree: ast.stmt) -> set[tuple[str, str]]:
    """Return (name, class) of parameters and variables with annotations."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            found.add((node.arg.lstrip("_"), last_name(node.annotation)))
        elif isinstance(node, ast.AnnAssign):
            found.add((last_name(node.target), last_name(node.annotation)))
    return found


def other_names(tree: ast.stmt) -> set[tuple[str, str]]:
    """Return (name, section) of ``name = x.section`` and ``for name in x.section``."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            found.update((last_name(target), last_name(node.value)) for target in node.targets)
        elif isinstance(node, ast.For | ast.comprehension):
            found.add((last_name(node.target), last_name(node.iter)))
    return found


def reads_in(source: str) -> set[tuple[str, str]]:
    """Return (owner, attribute) of every read, the owner by its class and by its section's key."""
    return {read for part in ast.parse(source).body for read in reads_of(part)}


def reads_of(tree: ast.stmt) -> set[tuple[str, str]]:
    """Return the reads of one function or class: ``config`` is another one in the next."""
    owners: dict[str, set[str]] = {}
    for name, owner in annotated_names(tree) | other_names(tree):
        owners.setdefault(name, set()).add(owner)
    reads = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            name = last_name(node.value)
            reads.update((owner, node.attr) for owner in {name} | owners.get(name, set()))
    return reads


READS = {
    read
    for path in sorted(PACKAGE.rglob("*.py"))
    if "config" not in path.relative_to(PACKAGE).parts
    for read in reads_in(path.read_text(encoding="utf-8"))
}


@pytest.mark.parametrize(
    ("owner", "key", "field"),
    sorted({*fields_of(ExperimentConfig, "config"), *fields_of(TrackingConfig, "tracking")}),
    ids=str,
)
def test_every_field_is_read(owner: str, key: str, field: str) -> None:
    keys = {"train", "validation"} if owner == "DatasetConfig" else {key}
    assert any((name, field) in READS for name in (owner, *keys)), (
        f"{owner}.{field} is read nowhere in the package: read it or remove it"
    )


def test_reads_are_told_by_their_owner() -> None:
    source = (
        "def f(config: RpnTrainingConfig, other: RoiTrainingConfig):\n"
        "    return config.a + other.b.c\n"
    )
    reads = reads_in(source)
    assert {("RpnTrainingConfig", "a"), ("RoiTrainingConfig", "b"), ("b", "c")} <= reads
    assert ("RoiTrainingConfig", "a") not in reads


def test_reads_through_other_names_count_and_writes_do_not() -> None:
    source = (
        "def f():\n  roi = training.roi\n  for entry in data.train:\n    roi.x = entry.weight\n"
    )
    assert ("train", "weight") in reads_in(source)
    assert ("roi", "x") not in reads_in(source)
