import pytest
import torch

from head_detection.benchmark.run import describe_machine


def test_the_gpu_is_the_one_that_is_measured_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: f"GPU {device}")
    assert describe_machine(torch.device("cuda:1"))["gpu"] == "GPU cuda:1"
    assert describe_machine(torch.device("cpu"))["gpu"] is None
