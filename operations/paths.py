"""The folders of the project."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
"""The project."""

LOCAL_FOLDER = ROOT / ".local"
"""Where the commands write everything that they write."""
