"""Answer requests over HTTP: ``python scripts/serve.py``, then http://127.0.0.1:8000."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from head_detection.apps.main import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
