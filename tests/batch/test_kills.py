import subprocess
import sys
from pathlib import Path


def test_what_is_killed_at_any_moment_answers_each_picture_once(repository: Path) -> None:
    """A handful here, 200 with ``make kill``."""
    script = repository / "tests" / "batch" / "kills.py"
    done = subprocess.run(
        [sys.executable, str(script), "--kills", "4"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("batch: 4 kills (")
