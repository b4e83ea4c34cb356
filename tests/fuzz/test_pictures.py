"""Picture files with random damage: each is read, or refused in one line, soon.

The seed is fixed, so that every run tries the same files. ``FUZZ_ROUNDS`` tries as many times more.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

SEED = 20
CASES = 2_500
ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "1"))
SCRIPT = Path(__file__).with_name("damaged_pictures.py")
ROOT = Path(__file__).parents[2]


def test_damaged_pictures_are_read_or_refused_in_one_line() -> None:
    """In a process of its own: a decoder that crashes takes that one alone with it."""
    num_cases = CASES * ROUNDS
    done = subprocess.run(
        [sys.executable, "-W", "error", SCRIPT, str(SEED), "0", str(num_cases)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    assert done.stderr == ""  # decoders in C write there, too
    num_read = int(re.findall(r"(\d+) read", done.stdout)[-1])
    assert 0.05 * num_cases < num_read < 0.95 * num_cases  # not all too broken, not all still whole
