import json
from pathlib import Path

import pytest

from head_detection import files
from head_detection.errors import OutputError
from head_detection.files import replacing
from head_detection.results.output_folder import (
    MARKER_TEXT,
    RUN_FILE,
    choose_folder,
    claiming,
    clear_folder,
    listed_name,
    mark_folder,
)

NAME = ".head-detection-output"


def finished(folder: Path, *names: str) -> Path:
    """A folder with the results of a run: pictures of these names."""
    with claiming(folder, ["images", "json"]):
        with mark_folder(folder / "images") as listed:
            listed.writelines(map(listed_name, names))
        (folder / "detections.json").write_text("{}")
    return folder


def test_folders_count_up_from_the_wanted_one(tmp_path: Path) -> None:
    for name in ("out", "out-2", "out-3"):
        folder = choose_folder(tmp_path / "out", ["json", "images"])
        assert folder == tmp_path / name
        finished(folder)
    assert choose_folder(tmp_path / "out", ["json"], overwrite=True) == tmp_path / "out"
    assert not (tmp_path / "out" / "detections.json").exists()


def test_a_folder_of_before_these_lists_is_one_of_results(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / NAME).write_text(MARKER_TEXT)
    assert choose_folder(tmp_path, ["json"]) == tmp_path.with_name(f"{tmp_path.name}-2")


@pytest.mark.skipif(files.fcntl is None, reason="nothing is cleared where there are no locks")
def test_what_a_killed_run_left_is_cleared_where_its_folder_is_passed_over(tmp_path: Path) -> None:
    folder = finished(tmp_path / "out", "a/1.jpg")
    (folder / "images" / "a").mkdir()
    (folder / "mine").mkdir()
    name = ".x.0123456789abcdef.part"
    parts = [folder / name, folder / "images" / name, folder / "images" / "a" / name]
    others = [folder / "mine" / name, folder / "images" / "a" / "1.jpg"]
    for path in (*parts, *others):
        path.touch()
    files.clear_leftovers.cache_clear()  # as in the process of the next run
    assert choose_folder(folder, ["json"]) == tmp_path / "out-2"
    assert [path.exists() for path in parts] == [False] * 3
    assert [path.exists() for path in others] == [True] * 2


@pytest.mark.parametrize("name", ["", "."])
def test_the_working_folder_has_a_name_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(finished(tmp_path / "work"))
    assert choose_folder(Path(name), ["json"]) == tmp_path / "work-2"


def test_lists_remove_nothing_outside_and_bear_any_name(tmp_path: Path) -> None:
    outside = tmp_path / "outside.jpg"
    outside.write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.jpg").write_text("mine")
    names = ["../../outside.jpg", str(outside), "link/a.jpg", "x" * 5000, "a\0b", "b\nc/d.jpg"]
    folder = finished(tmp_path / "out", *names)
    (folder / "images" / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "images" / "b\nc").mkdir()
    (folder / "images" / "b\nc" / "d.jpg").write_text("")
    with (folder / "images" / NAME).open("a") as listed:
        listed.write('"cut')
    clear_folder(folder)
    assert outside.exists()
    assert (tmp_path / "elsewhere" / "a.jpg").exists()
    left = sorted(path.name for path in (folder / "images").iterdir())
    assert left == [NAME, "link"]
    assert (folder / "images" / NAME).read_text() == MARKER_TEXT
    assert not (folder / RUN_FILE).exists()


def begin_in_vain(folder: Path) -> None:
    """Begin two formats, then fail, as where a port is in use."""
    with claiming(folder, ["images", "json"]):
        (folder / "detections.json").write_text("{")
        mark_folder(folder / "images").close()
        raise OutputError("no")


def test_a_run_that_cannot_begin_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("mine")
    with pytest.raises(OutputError, match="no"):
        begin_in_vain(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]
    (tmp_path / "mine.csv").unlink()
    assert choose_folder(tmp_path, ["json"]) == tmp_path
    with claiming(tmp_path, ["json"]):
        pass
    with pytest.raises(OutputError, match="another run writes here"), claiming(tmp_path, ["json"]):
        pass
    assert json.loads((tmp_path / RUN_FILE).read_text()) == {"outputs": ["detections.json"]}
    clear_folder(tmp_path / "none")
    (tmp_path / RUN_FILE).write_text("{")
    (tmp_path / "detections.json").write_text("mine")
    clear_folder(tmp_path)  # nothing is known of it
    assert [path.name for path in tmp_path.iterdir()] == ["detections.json"]


def test_a_folder_that_another_run_still_writes_to_is_not_cleared(tmp_path: Path) -> None:
    with claiming(tmp_path, ["json"]):
        pass
    with replacing(tmp_path / "detections.json") as temporary:
        temporary.write_text("{")
        with pytest.raises(OutputError, match="another run still writes here; wait for its end"):
            choose_folder(tmp_path, ["json"], overwrite=True)
        assert temporary.exists()
        temporary.write_text("{}")
    assert choose_folder(tmp_path, ["json"], overwrite=True) == tmp_path
    assert not list(tmp_path.iterdir())
