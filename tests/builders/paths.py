"""Where things lie: this checkout, and the data that is never committed to it."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
