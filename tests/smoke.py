"""Trains twenty steps on made-up pictures, finds heads in them and measures: ``make smoke``."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from head_detection.data.synthetic import synthetic_set  # noqa: E402 - the checkout's own


def run(name: str, *arguments: str | Path) -> None:
    """Run a script of the checkout as a user would, and stop where it fails."""
    command = [sys.executable, ROOT / "scripts" / f"{name}.py", *arguments]
    print(f"\n$ python scripts/{name}.py", *arguments, flush=True)  # noqa: T201
    subprocess.run(command, check=True)


def main() -> None:
    """Run the three commands, and check what they leave."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        labels = synthetic_set(folder / "set", 20, (96, 128), seed=0)
        data = f"[{{path: {labels}}}]"
        weights, found, measured = (folder / name for name in ("run", "found", "measured"))
        run(
            "train", "--cfg", ROOT / "configs" / "smoke.yaml", "--output", weights,
            "--set", f"data.train={data}", f"data.validation={data}", "data.allow_overlap=true",
        )  # fmt: skip
        best = weights / "best.safetensors"
        run("test", "--weights", best, "--source", folder / "set" / "images", "--output", found)
        run("evaluate", "--weights", best, "--data", labels, "--output", measured)
        answers = json.loads((found / "detections.json").read_text())["images"]
        metrics = json.loads((measured / "metrics.json").read_text())
        assert len(answers) == metrics["num_images"] == 20
        assert (weights / "log.csv").read_text().count("\n") > 1
    print("\nsmoke: trained 20 steps, detected, evaluated")  # noqa: T201


if __name__ == "__main__":
    main()
