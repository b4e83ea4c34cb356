"""What a process of its own has imported."""

import subprocess
import sys
from pathlib import Path

SHIPPED = """
import sys
from head_detection import build_detector, create_backbone
from head_detection.config import BackboneConfig
import head_detection.inference.detector, head_detection.results.formats
create_backbone(BackboneConfig(name="tf_efficientnet_lite0"))
print(*[name for name in ("torch._dynamo", "sympy", "timm", "supervision", "scipy", "matplotlib")
        if name in sys.modules])
pooling = sys.modules["torchvision.ops.roi_align"]
print(pooling.is_compile_supported("cpu"), "torch._dynamo" in sys.modules)
import torch
print(torch._dynamo.utils is sys.modules["torch._dynamo.utils"], torch._dynamo.__file__[-3:])
"""
ANOTHER = """
import sys
from head_detection.models.quick_import import import_torchvision
import torchvision.ops
print(torchvision.ops.counters is sys.modules["torch._dynamo.utils"].counters)
"""


def run(code: str, *folders: Path) -> list[str]:
    before = f"import sys; sys.path[:0] = {[str(folder) for folder in folders]}\n"
    checkout = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", before + code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=checkout,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_shipped_bodies_need_no_compiler_and_no_timm_which_come_when_asked_for() -> None:
    assert run(SHIPPED) == ["", "True True", "True .py"]


def test_a_torchvision_that_asks_for_more_of_the_compiler_gets_it(tmp_path: Path) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("from torchvision import ops")
    (package / "ops.py").write_text("from torch._dynamo.utils import counters")
    assert run(ANOTHER, tmp_path) == ["True"]
