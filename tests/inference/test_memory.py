"""Freed memory: used again, and given back where it piles up."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from head_detection.inference import memory
from head_detection.inference.memory import FreedMemory, keep_freed_memory

ROOT = Path(__file__).parents[2]
needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
FAULTS = """
import resource, torch
from head_detection.inference.memory import keep_freed_memory
if {keep}: assert keep_freed_memory()
def work():
    for _ in range(10): torch.ones(16_000_000)
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
HOLES = """
from head_detection.inference.memory import FreedMemory, _resident_bytes, keep_freed_memory
assert keep_freed_memory()
freed, before = FreedMemory(most=64 * 2**20), _resident_bytes()
freed.tidy()
for size in range(8 * 2**20, 40 * 2**20, 2 * 2**20):
    blocks = [bytearray(size), bytearray(10)]
    freed.tidy()
    del blocks[0]
    freed.tidy()
print((_resident_bytes() - before) // 2**20)
"""


def printed(code: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@needs_glibc
def test_memory_is_taken_from_the_system_once() -> None:
    faults = [printed(FAULTS.format(keep=keep)) for keep in (False, True)]
    # 64 MB are 15,625 pages of 4 KiB, ten times; where pages are larger there are fewer.
    assert faults[1] < faults[0] / 10


@needs_glibc
def test_no_more_than_is_allowed_piles_up() -> None:
    assert printed(HOLES) <= 64


def test_it_is_given_back_when_it_has_piled_up(monkeypatch: pytest.MonkeyPatch) -> None:
    resident = iter([100, 90, 189, 191, 95, 196, 80])
    trims: list[int] = []

    class Library:
        def malloc_trim(self, pad: int) -> int:
            trims.append(pad)
            return 1

    monkeypatch.setattr(memory, "_c_library", Library)
    monkeypatch.setattr(memory, "_resident_bytes", lambda: next(resident))
    freed = FreedMemory(most=100)
    counts = []
    for _ in range(5):
        freed.tidy()
        counts.append(len(trims))
    # 100; 90 is less; 189 is 99 more than it; 191 is 101 more: back to 95; 196 is 101 more: to 80.
    assert counts == [0, 0, 0, 1, 2]


@pytest.mark.parametrize("library", [object, lambda: None])
def test_a_c_library_without_the_settings_is_left_alone(
    library: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_c_library", library)
    assert keep_freed_memory() is False
    FreedMemory().tidy()
