"""Names of result files: none is taken for that of another source."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from head_detection.results.file_names import ResultFolder, inside


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[ResultFolder]:
    made = ResultFolder(tmp_path / "video")
    yield made
    made.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.mkdir()
    return path


def names(folder: ResultFolder, source: Path, *files: str) -> list[str]:
    paths = [(file, source / file) for file in files]
    return [
        str(folder.free_name(file, ".mp4", index, path)) for index, (file, path) in enumerate(paths)
    ]


def test_a_video_keeps_the_name_of_its_own(folder: ResultFolder, source: Path) -> None:
    for file in ("door.avi", "door.mkv", "door.mp4", "gate.avi", "a.MP4"):
        (source / file).touch()
    assert names(folder, source, "a.MP4", "door.avi", "door.mkv", "door.mp4", "gate.avi") == [
        "a.mp4",
        "door.avi.mp4",
        "door.mkv.mp4",
        "door.mp4",
        "gate.mp4",
    ]


def test_two_without_such_a_sibling_have_two_names(folder: ResultFolder, source: Path) -> None:
    assert names(folder, source, "door.avi", "door.mkv", "door.mkv") == [
        "door.mp4",
        "door.mkv.mp4",
        "door.mkv~3.mp4",
    ]


def test_names_of_streams_have_no_file(folder: ResultFolder) -> None:
    assert str(folder.free_name("gate", ".mp4", 0)) == "gate.mp4"


def test_the_name_of_a_stream_is_not_cut_at_a_dot(folder: ResultFolder) -> None:
    files = ("127.0.0.1-9411", "127.0.0.1-9412", "hall.left", "hall.right", "clip.mkv")
    made = [folder.free_name(file, ".mp4", 0, is_stream=True) for file in files]
    assert [str(name) for name in made] == [
        "127.0.0.1-9411.mp4",
        "127.0.0.1-9412.mp4",
        "hall.left.mp4",
        "hall.right.mp4",
        "clip.mp4",
    ]


@pytest.mark.parametrize(
    ("file", "is_windows", "path"),
    [
        ("//server/share/a.jpg", False, "server/share/a.jpg"),
        ("D:/a.jpg", False, "D:/a.jpg"),
        ("D:/a.jpg", True, "a.jpg"),
        ("//server/share/../a.jpg", True, "server/share/a.jpg"),
        ("a:b/c.jpg", True, "a:b/c.jpg"),
    ],
)
def test_no_drive_and_no_share_leads_out_of_the_folder(
    file: str, is_windows: bool, path: str
) -> None:
    assert str(inside(file, is_windows=is_windows)) == path
