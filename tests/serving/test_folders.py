"""Folders of videos are removed after their work or, after a kill, at the next start."""

import subprocess
import sys
from pathlib import Path

import pytest

from head_detection.serving.folders import PREFIX, clear_folders, temporary_folder

HOLDING = """
import sys, tempfile
tempfile.tempdir = sys.argv[1]
from head_detection.serving.folders import temporary_folder
with temporary_folder() as folder:
    (folder / "video.mp4").write_bytes(b"a video")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_is_for_its_user_alone_and_gone_after_its_block(temporary: Path) -> None:
    with temporary_folder() as folder:
        assert folder.parent == temporary
        assert folder.stat().st_mode & 0o077 == 0
        (folder / "video.mp4").write_bytes(b"a video")
        clear_folders()  # of another service that starts: this one is held
        assert (folder / "video.mp4").exists()
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_left_is_cleared_and_nothing_else(temporary: Path) -> None:
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    (temporary / f"{PREFIX}link").symlink_to(elsewhere)
    (temporary / f"{PREFIX}file").touch()
    others = set(temporary.iterdir())
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, temporary],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        clear_folders()
        assert (folder / "video.mp4").exists()
        process.kill()
    assert (folder / "video.mp4").exists()
    clear_folders()
    assert set(temporary.iterdir()) == others
    assert (elsewhere / "kept").exists()
