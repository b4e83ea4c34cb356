"""``GrowingFile``: whole after each part."""

from pathlib import Path

import pytest

from head_detection import files
from head_detection.errors import OutputError
from head_detection.files import is_written_to
from head_detection.results.growing_file import GrowingFile
from head_detection.results.output_folder import choose_folder, claiming

LOCKS = pytest.mark.skipif(files.fcntl is None, reason="no locks here")


def test_each_part_is_written_over_the_end_of_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    file = GrowingFile(path)
    states = []
    for part, end in [(b"[1", b"]\n"), (b", 2", b"]\n"), (b"", b"]\n"), (b"", b"]")]:
        file.add(part, end)
        states.append(path.read_bytes())
    file.close()
    assert states == [b"[1]\n", b"[1, 2]\n", b"[1, 2]\n", b"[1, 2]"]
    later = GrowingFile(path, goes_on=True)
    later.add(b"3")
    later.close()
    assert path.read_bytes() == b"[1, 2]3"
    GrowingFile(path).close()
    assert path.read_bytes() == b""


def test_a_full_disk_leaves_what_was_there(small_disk: Path) -> None:
    file = GrowingFile(small_disk / "a.json")
    file.add(b"[1", b"]")
    with pytest.raises(OSError, match=r"No space left.*a\.json"):
        file.add(bytes(200_000), b"]")
    assert file.path.read_bytes() == b"[1]"
    file.add(b", 2", b"]")
    file.close()
    assert file.path.read_bytes() == b"[1, 2]"


@LOCKS
def test_a_folder_with_a_file_that_grows_is_written_to(tmp_path: Path) -> None:
    with claiming(tmp_path, ["csv"]):
        file = GrowingFile(tmp_path / "detections.csv")
    assert is_written_to(tmp_path, ["detections.csv"])
    assert not is_written_to(tmp_path, ["counts.csv"])
    with pytest.raises(OutputError, match="another run still writes here"):
        choose_folder(tmp_path, ["json"], overwrite=True)
    file.close()
    assert choose_folder(tmp_path, ["json"], overwrite=True) == tmp_path
    assert not list(tmp_path.iterdir())
