"""Measure a detector on labelled pictures: ``python scripts/evaluate.py --data FILE.json``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from head_detection.apps.start import start

if __name__ == "__main__":
    sys.exit(start("evaluate"))
