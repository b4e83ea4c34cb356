"""``python -m head_detection`` is ``head-detection``."""

import sys

from head_detection.apps.start import start

sys.exit(start())
