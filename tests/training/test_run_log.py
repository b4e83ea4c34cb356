import csv
import math
import sys

import pytest
from PIL import Image

from head_detection.training.run_log import COLUMNS, RunLog


@pytest.fixture(autouse=True)
def no_tensorboard(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


def read(folder):
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_by_name_with_blanks(tmp_path):
    log = RunLog(tmp_path, 0)
    log.add(5, 1, {"loss": 1.25, "learning_rate": 0.001})
    log.add(5, 1, {"ap50": 0.5, "recall_under_8": math.nan})
    first, second = read(tmp_path)
    assert tuple(first) == COLUMNS
    assert (first["step"], first["epoch"], first["loss"], first["ap50"]) == ("5", "1", "1.25", "")
    assert (second["loss"], second["ap50"], second["recall_under_8"]) == ("", "0.5", "")


def test_a_full_disk_is_told_with_the_name_of_the_log(small_disk):
    log = RunLog(small_disk, 0)
    (small_disk / "rest").write_bytes(bytes(56 * 1024))

    def fill():
        for step in range(1, 1000):
            log.add(step, 1, {"loss": 1.25})

    with pytest.raises(OSError, match="No space left") as caught:
        fill()
    assert caught.value.filename == str(small_disk / "log.csv")
    (small_disk / "rest").unlink()
    assert [row["step"] for row in RunLog(small_disk, 1).rows] == ["1"]


def test_a_row_has_the_means_of_the_steps_since_the_last(tmp_path):
    log = RunLog(tmp_path, 0)
    log.collect({"loss": 1.0, "gradient_norm": 2.0})
    log.collect({"loss": 2.0, "gradient_norm": math.nan})
    log.collect({"loss": 6.0, "gradient_norm": 4.0})
    assert log.means() == {"loss": 3.0, "gradient_norm": 3.0}
    log.collect({"loss": 5.0})
    assert log.means() == {"loss": 5.0}
    assert log.means() == {}


def test_an_unknown_column_is_a_fault(tmp_path):
    with pytest.raises(ValueError, match="fields not in fieldnames"):
        RunLog(tmp_path, 0).add(1, 1, {"losss": 1.0})


def test_a_resumed_run_forgets_later_rows_and_cut_ones(tmp_path):
    log = RunLog(tmp_path, 0)
    for step in (1, 2, 3):
        log.add(step, 1, {"loss": float(step)})
    with log.path.open("a") as file:
        file.write("4,1,0.")
    resumed = RunLog(tmp_path, 2)
    resumed.add(3, 1, {"loss": 30.0})
    assert [row["loss"] for row in read(tmp_path)] == ["1", "2", "30"]


def test_a_validation_that_is_done_again_is_logged_once(tmp_path):
    log = RunLog(tmp_path, 0)
    for epoch in (1, 2):
        log.add(3 * epoch, epoch, {"loss": 1.0})
        log.add(3 * epoch, epoch, {"ap50": 0.5})
    RunLog(tmp_path, 6, 1)  # killed after the second validation, before the checkpoint
    assert [row["ap50"] for row in read(tmp_path)] == ["", "0.5", ""]


def test_a_row_that_a_kill_cut_short_is_dropped(tmp_path):
    RunLog(tmp_path, 0)
    with (tmp_path / "log.csv").open("a") as file:
        file.write("1,1,0.")
    assert RunLog(tmp_path, 9).rows == []


@pytest.mark.parametrize("num_rows", [0, 1, 3])
def test_the_curves_are_a_picture(tmp_path, num_rows):
    log = RunLog(tmp_path, 0)
    for step in range(num_rows):
        log.add(step + 1, 1, {"loss": 1.0, "ap50": 0.5})
    log.draw()
    with Image.open(tmp_path / "curves.png") as picture:
        picture.load()
        assert picture.width > 600


def test_without_tensorboard_it_says_so_and_goes_on(tmp_path):
    log = RunLog(tmp_path, 0)
    assert log.lacks_tensorboard
    log.add(1, 1, {"loss": 1.0})
    log.close()
    assert not (tmp_path / "tensorboard").exists()


def test_with_tensorboard_there_are_events(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard")
    pytest.importorskip("tensorboard", reason="optional package")
    log = RunLog(tmp_path, 0)
    log.add(1, 1, {"loss": 1.0, "ap50": 0.5})
    log.close()
    (events,) = (tmp_path / "tensorboard").iterdir()
    content = events.read_bytes()
    assert b"training/loss" in content
    assert b"validation/ap50" in content
