import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from head_detection import files
from head_detection.files import (
    create_bytes,
    is_temporary,
    real_path,
    replacing,
    replacing_folder,
    write_bytes,
)

POSIX = pytest.mark.skipif(os.name != "posix", reason="locks and permissions as POSIX has them")


def test_the_folder_is_made_and_the_file_is_whole(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a" / "b.txt", b"new")
    write_bytes(tmp_path / "a" / "b.txt", b"newer")
    assert (tmp_path / "a" / "b.txt").read_bytes() == b"newer"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.txt"]


def test_a_file_reaches_the_disk_by_a_descriptor_that_may_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows flushes no other (FlushFileBuffers: GENERIC_WRITE)."""
    fcntl = pytest.importorskip("fcntl")
    kinds: list[tuple[bool, bool]] = []

    def note(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        may_write = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
        kinds.append((is_folder, may_write))

    monkeypatch.setattr("os.fsync", note)
    write_bytes(tmp_path / "a", b"a")
    assert kinds == [(False, True), (True, False)]


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


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_is_created_whole_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    def refuse(path: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    if not has_links:
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    path = tmp_path / "a" / "b.txt"
    create_bytes(path, b"first")
    with pytest.raises(FileExistsError):
        create_bytes(path, b"second")
    assert path.read_bytes() == b"first"
    assert list(path.parent.iterdir()) == [path]


def test_links_are_followed_and_one_that_leads_to_itself_stays(tmp_path: Path) -> None:
    loop, first, second = (tmp_path / name for name in ("loop", "first", "second"))
    loop.symlink_to("loop")
    first.symlink_to(second)
    second.symlink_to(first)
    (tmp_path / "link").symlink_to(tmp_path)
    assert real_path(tmp_path / "link" / "a" / ".." / "b") == tmp_path.resolve() / "b"
    assert real_path(loop).name == "loop"
    assert real_path(loop / "a").name == "a"
    assert real_path(first).name in ("first", "second")


def test_an_error_tells_no_temporary_name(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with pytest.raises(NotADirectoryError) as caught, replacing_folder(path):
        path.symlink_to(path)
    assert (caught.value.filename, caught.value.filename2) == (str(path), None)


def test_names_as_long_as_the_system_takes(tmp_path: Path) -> None:
    name = "ä" * 125 + ".json"  # 255 bytes
    write_bytes(tmp_path / name, b"x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@POSIX
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_file_is_as_readable_as_any_other(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_bytes(tmp_path / "a.txt", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == mode


def test_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "labels"
    path.mkdir()
    with replacing_folder(path) as folder:
        assert folder.name == "labels"
        assert folder != path
        (folder / "a.txt").write_bytes(b"x")
        assert list(path.iterdir()) == []
    assert [file.name for file in path.iterdir()] == ["a.txt"]

    def stop_half_way() -> None:
        with replacing_folder(tmp_path / "other") as folder:
            (folder / "a.txt").write_bytes(b"x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_half_way()
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def write_anew() -> Callable[[Path], None]:
    """A function that writes as a new process does: it does not know any folder."""

    def write(path: Path) -> None:
        files.clear_leftovers.cache_clear()
        write_bytes(path, b"new")

    return write


KILLED = """
import sys, time
from pathlib import Path
from head_detection.files import replacing, replacing_folder
with replacing(Path("a.txt")) as one, replacing_folder(Path("labels")) as other:
    one.write_bytes(b"half")
    (other / "a.txt").write_bytes(b"half")
    print("half", flush=True)
    time.sleep(60)
"""


@POSIX
def test_what_a_killed_process_left_is_cleared_and_nothing_else(
    tmp_path: Path, write_anew: Callable[[Path], None]
) -> None:
    own = [tmp_path / name for name in (".a.part", "a.txt.0123456789abcdef.part", ".mine")]
    for path in own:
        path.touch()
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED], cwd=tmp_path, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        write_anew(tmp_path / "b.txt")  # what is still being written stays
        temporary = sorted(path.name for path in tmp_path.iterdir() if is_temporary(path.name))
        assert [name[:7] for name in temporary] == [".a.txt.", ".labels"]
        process.send_signal(signal.SIGKILL)
    write_anew(tmp_path / "c.txt")
    assert sorted(tmp_path.iterdir()) == sorted([*own, tmp_path / "b.txt", tmp_path / "c.txt"])


@POSIX
def test_a_folder_is_listed_once(tmp_path: Path, write_anew: Callable[[Path], None]) -> None:
    write_anew(tmp_path / "a.txt")
    leftover = tmp_path / ".a.txt.0123456789abcdef.part"
    leftover.touch()
    write_bytes(tmp_path / "b.txt", b"")
    assert leftover.exists()
    write_anew(tmp_path / "b.txt")
    assert not leftover.exists()


@POSIX
def test_a_link_named_as_a_leftover_leads_nowhere(
    tmp_path: Path, write_anew: Callable[[Path], None]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").touch()
    link = tmp_path / ".x.0123456789abcdef.part"
    link.symlink_to(tmp_path / "mine")
    write_anew(tmp_path / "b.txt")
    assert (tmp_path / "mine" / "a.txt").exists()


def test_a_system_without_locks_writes_and_clears_nothing(
    tmp_path: Path, write_anew: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    leftover = tmp_path / ".a.txt.0123456789abcdef.part"
    leftover.touch()
    monkeypatch.setattr(files, "fcntl", None)
    write_anew(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_bytes() == b"new"
    assert leftover.exists()


@POSIX
def test_what_is_cleared_before_it_is_locked_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, tried = files.lock_file, list[Path]()

    def lock_late(path: Path, *, waits: bool = False) -> int | None:
        tried.append(path)
        if len(tried) == 1:
            path.unlink()
        return lock(path, waits=waits)

    monkeypatch.setattr(files, "lock_file", lock_late)
    write_bytes(tmp_path / "a.txt", b"x")
    assert len(set(tried)) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def copy(source: Path, path: Path) -> None:
    with replacing(path) as temporary:
        shutil.copyfile(source, temporary)


def fill(source: Path, path: Path) -> None:
    with replacing_folder(path) as folder:
        (folder / "a").write_bytes(source.read_bytes())


@pytest.mark.parametrize(
    "write", [lambda source, path: write_bytes(path, source.read_bytes()), copy, fill]
)
def test_a_full_disk_is_told_by_name_and_leaves_what_was_there(
    write: Callable[[Path, Path], None], tmp_path: Path, small_disk: Path
) -> None:
    (tmp_path / "large").write_bytes(bytes(100_000))
    (small_disk / "before").write_bytes(b"x")
    with pytest.raises(OSError, match="No space left") as caught:
        write(tmp_path / "large", small_disk / "a")
    assert caught.value.errno == errno.ENOSPC
    assert (caught.value.filename, caught.value.filename2) == (str(small_disk / "a"), None)
    assert list(small_disk.iterdir()) == [small_disk / "before"]
