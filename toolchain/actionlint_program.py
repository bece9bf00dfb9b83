"""actionlint, which checks the workflows: https://github.com/rhysd/actionlint."""

import subprocess
from pathlib import Path

from toolchain import go_build
from toolchain.find_program import Program, Way, run

VERSION = "1.7.12"

_MODULE = go_build.MODULES / "actionlint"


def _unfit(executable: Path) -> str | None:
    try:
        found = run(executable, "-version", timeout=30).split("\n")[0]
    except (OSError, subprocess.SubprocessError):
        found = ""
    return None if found == VERSION else f"is {found or 'of an unknown version'}, this needs {VERSION}"


def _build(folder: Path) -> None:
    go_build.build(_MODULE, f"github.com/rhysd/actionlint.version={VERSION}", folder)


ACTIONLINT = Program(
    name="actionlint",
    version=VERSION,
    unfit=_unfit,
    ways=(Way("building", "from its Go module", _build),),
    advice=f"Put actionlint {VERSION} on PATH, or install {go_build.advice(_MODULE)}.",
)
