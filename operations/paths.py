"""Where things are."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
"""The project."""

FOLDER = ROOT / ".local"
"""Everything that the commands write."""
