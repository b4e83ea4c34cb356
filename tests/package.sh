#!/usr/bin/env bash
# Builds the wheel, installs it into an empty environment and finds heads with it: `make package`.
# Nothing of the checkout is in reach: the command runs in another folder.
set -euo pipefail
python="$1"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
pip() { "$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }

"$python" -m venv "$folder/venv"
echo "Building the wheel and installing it into an empty environment ..."
pip wheel --no-deps --wheel-dir "$folder/wheel" "$root"
pip install "$folder"/wheel/head_detection-*.whl

cd "$folder"
portrait="$(venv/bin/python -c 'from matplotlib import cbook; print(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))')"
venv/bin/head-detection test --source "$portrait" --output found --save json,images
venv/bin/python - <<'PYTHON'
import json
from pathlib import Path

import head_detection

assert Path(head_detection.__file__).is_relative_to(Path("venv").resolve()), head_detection.__file__
(image,) = json.loads(Path("found/detections.json").read_text())["images"]
assert image["count"] == 1, f"expected the one head of the portrait; got {image['count']}"
x1, y1, x2, y2 = image["boxes"][0]
assert 100 < x1 < 200 and 0 <= y1 < 80 and 330 < x2 < 420 and 280 < y2 < 380, image["boxes"]
PYTHON
echo "package: the installed wheel finds the head of the portrait"

echo "Installing the extra track beside it ..."
wheel="$(echo wheel/head_detection-*.whl)"
pip install "$wheel[track]"
# trackers brings opencv-python, which needs libGL; both write cv2, the one without goes last.
pip install --force-reinstall --no-deps opencv-python-headless
venv/bin/python - <<'PYTHON'
from head_detection.data.sequences import door_scene
from head_detection.data.simulated_detections import SimulatedDetector
from head_detection.pipeline.tracking import HeadTracker
from head_detection.structures import Frame

tracker, ids = HeadTracker(), set()
for index, found in enumerate(SimulatedDetector(door_scene()).detections()):
    ids.update(tracker.follow(Frame("door", index, index / 10), found).ids.tolist())
assert 5 <= max(ids) <= 12, ids
PYTHON
echo "package: with the extra track it follows heads"

echo "Installing the extra batch beside it ..."
pip install "$wheel[batch]"
echo "$portrait" > list.txt
venv/bin/head-detection batch --source list.txt --output answers
venv/bin/python - <<'PYTHON'
import pyarrow.parquet

(count,) = pyarrow.parquet.read_table("answers/shards")["count"].to_pylist()
assert count == 1, f"expected the one head of the portrait; got {count}"
PYTHON
echo "package: with the extra batch it works through a list"
