import os
from pathlib import Path

import pytest

from head_detection.files import replacing, write_bytes


def test_the_folder_is_made_and_the_file_is_whole(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a" / "b.txt", b"new")
    write_bytes(tmp_path / "a" / "b.txt", b"newer")
    assert (tmp_path / "a" / "b.txt").read_bytes() == b"newer"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.txt"]


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    with replacing(path) as temporary:
        temporary.write_bytes(b"half")
        assert path.read_bytes() == b"old"
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
    assert path.read_bytes() == b"half"


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_alone(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    def stop_half_way() -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        stop_half_way()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_names_as_long_as_the_system_takes(tmp_path: Path) -> None:
    name = "ä" * 125 + ".json"  # 255 bytes
    write_bytes(tmp_path / name, b"x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_file_is_as_readable_as_any_other(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_bytes(tmp_path / "a.txt", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == mode
