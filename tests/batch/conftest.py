"""A folder of small files for a detector that is none."""

from collections.abc import Callable
from pathlib import Path

import pytest

from head_detection.batch.worker import WorkerOptions

HERE = Path(__file__).resolve().parent


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> WorkerOptions:
    """Options of a worker whose detector does what a file's bytes tell it to."""
    monkeypatch.syspath_prepend(str(HERE))
    return WorkerOptions(builder="fake_detector:build", threads=1)


@pytest.fixture
def fill(tmp_path: Path) -> Callable[[dict[str, bytes]], Path]:
    """A function from names and bytes to a folder of such files."""

    def make(files: dict[str, bytes]) -> Path:
        folder = tmp_path / "source"
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return folder

    return make
