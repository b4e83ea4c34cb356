"""How many cores there are for this process."""

from pathlib import Path

import pytest

from head_detection import cores
from head_detection.cores import num_cores


@pytest.mark.parametrize(
    ("affinity", "quota", "expected"),
    [
        (8, None, 8),
        (8, "max 100000\n", 8),
        (8, "300000 100000\n", 3),
        (8, "150000 100000\n", 1),
        (8, "50000 100000\n", 1),
        (2, "300000 100000\n", 2),
    ],
)
def test_cores_are_those_that_affinity_and_container_leave(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    affinity: int,
    quota: str | None,
    expected: int,
) -> None:
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: set(range(affinity)), False)
    path = tmp_path / "cpu.max"
    if quota is not None:
        path.write_text(quota)
    monkeypatch.setattr(cores, "CPU_QUOTA", path)
    assert num_cores() == expected
