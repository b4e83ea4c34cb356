import os
import signal
import sys
from types import ModuleType
from unittest import mock

import pytest

from head_detection.apps.command import ending_in_order
from head_detection.batch.connection import connected


@pytest.mark.parametrize("code", [signal.SIGTERM, 1])
def test_sigterm_while_ray_starts_ends_as_it_does_elsewhere(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**_options: object) -> None:  # Ray 2.60: first its driver's handler, then its node's
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(code))
        signal.raise_signal(signal.SIGTERM)

    ray = ModuleType("ray")
    vars(ray).update(is_initialized=lambda: False, init=init)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", ModuleType("ray.data"))
    with mock.patch.dict(os.environ), ending_in_order():
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(SystemExit) as ended, connected(None):
            pytest.fail("started")
        assert ended.value.code == 143
        assert signal.getsignal(signal.SIGTERM) is before
