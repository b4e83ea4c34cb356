import argparse
from pathlib import Path
from typing import Any

import pytest

from head_detection.apps.batch import add_arguments
from head_detection.apps.batch_options import cluster_of
from head_detection.apps.main import main
from head_detection.batch import connection, listing
from head_detection.batch.ray_data import Cluster
from head_detection.errors import BatchError


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(["--source", "a", "--output", "b", *words])


def test_a_cluster_is_what_the_options_say() -> None:
    assert cluster_of(parsed()) is None
    assert cluster_of(parsed("--runner", "ray")) == Cluster()
    words = ("--runner", "ray", "--ray-address", "auto", "--processes", "8", "--ray-gpus", "0.5")
    assert cluster_of(parsed(*words)) == Cluster("auto", (1, 8), 0.5)


@pytest.mark.parametrize("words", [("--ray-address", "auto"), ("--ray-gpus", "1")])
def test_options_of_ray_without_it_are_one_line(words: tuple[str, str]) -> None:
    with pytest.raises(BatchError, match=f"^{words[0]} is of Ray; add --runner ray"):
        cluster_of(parsed(*words))


@pytest.mark.parametrize("device", ["cuda:1", "mps"])
def test_a_gpu_that_is_named_is_ray_s_to_choose(device: str) -> None:
    with pytest.raises(BatchError, match=rf"^--device {device}: expected auto, cpu or cuda, for R"):
        cluster_of(parsed("--runner", "ray", "--device", device))
    with pytest.raises(BatchError, match=r"^--ray-gpus 0.5: expected none with --device cpu$"):
        cluster_of(parsed("--runner", "ray", "--device", "cpu", "--ray-gpus", "0.5"))


def test_a_cluster_that_is_not_there_is_told_before_all_is_listed(
    tmp_path: Path, tiny_weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    def refuse(address: str) -> None:
        raise BatchError(f"{address}: no such cluster")

    monkeypatch.setattr(connection, "check_cluster", refuse)
    monkeypatch.setattr(listing, "list_items", lambda *_: pytest.fail("listed"))
    words = ["batch", "--source", str(tmp_path), "--output", str(tmp_path / "out")]
    words += ["--weights", str(tiny_weights), "--runner", "ray", "--ray-address", "nowhere:1"]
    assert main(words) == 2
    assert capsys.readouterr().err == "error: nowhere:1: no such cluster\n"
