"""Detect heads over HTTP: ``python scripts/serve.py``, then open http://127.0.0.1:8000."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from head_detection.apps.start import start

if __name__ == "__main__":
    sys.exit(start("serve"))
