import sys
from types import ModuleType
from typing import Any

import pytest

from head_detection.batch.ray_services import without_actors, without_watchers

STATISTICS = "ray.data._internal.stats"
AUTOSCALER = "ray.data._internal.cluster_autoscaler.rate_based_cluster_autoscaler"


class Coordinator:
    """In place of Ray's own, which asks an actor."""

    def __init__(self, requester_id: str) -> None:
        self.requester_id = requester_id

    def request_resources(self, resources: list[object], expire_after_s: float) -> None:
        pytest.fail("asked")

    def cancel_request(self) -> None:
        pytest.fail("asked")

    def get_reserved_resources(self) -> dict[str, object]:
        return pytest.fail("asked")

    def what_another_version_has(self) -> str:
        return f"Ray's own for {self.requester_id}"


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """Of a package in Ray's place: what is in some of its modules."""
    names = ["ray", *(n[:i] for n in (STATISTICS, AUTOSCALER) for i, c in enumerate(n) if c == ".")]
    made = {name: ModuleType(name) for name in [*names, STATISTICS, AUTOSCALER]}
    for name, module in made.items():
        monkeypatch.setitem(sys.modules, name, module)
    nodes = [
        {"NodeID": "a", "Alive": True, "Resources": {"CPU": 2.0}},
        {"NodeID": "b", "Alive": False, "Resources": {"CPU": 8.0}},
    ]
    vars(made["ray"])["nodes"] = lambda: nodes
    vars(made[STATISTICS])["get_or_create_stats_actor"] = lambda: pytest.fail("started")
    vars(made[AUTOSCALER])["DefaultAutoscalingCoordinator"] = Coordinator
    return {name: vars(module) for name, module in made.items()}


def test_a_job_of_its_own_has_no_actor_beside_those_that_answer(
    modules: dict[str, dict[str, Any]],
) -> None:
    whole = modules[STATISTICS]["get_or_create_stats_actor"]
    with without_actors():
        actor = modules[STATISTICS]["get_or_create_stats_actor"]()
        assert actor.update_execution_metrics.remote("tag", [], [], state={}) is None
        coordinator = modules[AUTOSCALER]["DefaultAutoscalingCoordinator"](requester_id="data-1")
        coordinator.request_resources([{"CPU": 1}], expire_after_s=9.0, whatever=True)
        assert coordinator.get_reserved_resources() == {"a": {"CPU": 2.0}}
        coordinator.cancel_request()
        assert coordinator.what_another_version_has() == "Ray's own for data-1"
        assert isinstance(coordinator, Coordinator)
    assert modules[STATISTICS]["get_or_create_stats_actor"] is whole
    assert modules[AUTOSCALER]["DefaultAutoscalingCoordinator"] is Coordinator


def test_where_ray_has_its_parts_elsewhere_all_is_started(
    modules: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    del modules[STATISTICS]["get_or_create_stats_actor"]
    monkeypatch.delitem(sys.modules, AUTOSCALER)
    before = dict(modules[STATISTICS])
    with without_actors(), without_watchers():
        assert modules[STATISTICS] == before
