import argparse

import pytest

from head_detection.apps.batch import add_arguments
from head_detection.apps.batch_options import cluster_of
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
