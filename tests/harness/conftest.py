"""Puts the toy systems where workers, which inherit the path, can import them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "toys"))
