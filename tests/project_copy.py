"""A copy of the project as git has it."""

import shutil
import subprocess
from pathlib import Path

from operations.paths import ROOT


def tracked_files() -> list[str]:
    """Return the files that git has of the project."""
    listed = subprocess.run(("git", "ls-files", "-z"), cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name]


def copy_project(folder: Path) -> None:
    """Copy the tracked files into a folder, with what is edited in them and not yet committed."""
    for name in tracked_files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
