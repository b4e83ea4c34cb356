import platform
import subprocess
import sys

import pytest

from head_detection.apps import allocation

FAULTS = """
import resource, torch
from head_detection.apps.allocation import keep_freed_memory
if {keep}: assert keep_freed_memory()
def work():
    for _ in range(10): torch.ones(16_000_000)
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_memory_is_taken_from_the_system_once():
    faults = []
    for keep in (False, True):
        program = [sys.executable, "-c", FAULTS.format(keep=keep)]
        done = subprocess.run(program, capture_output=True, text=True, check=True)
        faults.append(int(done.stdout))
    # 64 MB are 15,625 pages of 4 KiB, ten times; where pages are larger there are fewer.
    assert faults[1] < faults[0] / 10


def test_a_c_library_without_the_setting_is_left_alone(monkeypatch):
    monkeypatch.setattr(allocation.ctypes, "CDLL", lambda _name: object())
    assert allocation.keep_freed_memory() is False
