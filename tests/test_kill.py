"""A few of the kills of ``make kill``, of the command that is quick to start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_what_killed_conversions_leave_is_whole(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, repository / "tests" / "kill.py", "--only", "convert", "--kills", "6"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("kill: 6 kills, all that was left is whole\n")
