from pathlib import Path

import pytest

from head_detection.errors import WeightsError
from head_detection.inference import shipped_weights as module
from head_detection.inference.shipped_weights import shipped_weights, weights_path


def test_installed_weights_are_found_before_those_of_a_checkout(tmp_path, monkeypatch):
    package = tmp_path / "head_detection"
    monkeypatch.setattr(module, "_PACKAGE", package)
    for folder in (tmp_path / "weights", package / "weights"):
        folder.mkdir(parents=True)
        (folder / "fast.safetensors").write_bytes(b"")
        assert shipped_weights() == folder / "fast.safetensors"


def test_shipped_files_have_names(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PACKAGE", tmp_path / "head_detection")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    shipped = tmp_path / "weights" / "accurate.yaml"
    shipped.write_bytes(b"")
    assert weights_path("accurate") == weights_path(Path("accurate")) == shipped
    for other in ("fast", "accurate.safetensors", "./accurate", "my/accurate"):
        assert weights_path(other) == Path(other)
    (tmp_path / "accurate").write_bytes(b"")
    assert weights_path("accurate") == Path("accurate")


def test_missing_weights_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PACKAGE", tmp_path)
    with pytest.raises(WeightsError, match=r"fast\.safetensors in .*--weights") as error:
        shipped_weights()
    assert "\n" not in str(error.value)
