"""Find heads in pictures, videos and cameras: ``python scripts/test.py --source FOLDER``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from head_detection.apps.start import start

if __name__ == "__main__":
    sys.exit(start("test"))
