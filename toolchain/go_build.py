"""Builds a program from the Go module that provides it.

Each folder below `go/` has a go.mod and a go.sum only: they pin every source, and name the program as a tool.
"""

import shutil
from pathlib import Path

from toolchain.find_program import WayError, run

MODULES = Path(__file__).with_name("go")


def build(module: Path, variable: str, folder: Path) -> None:
    """Build a module's program into `bin` of a folder.

    Args:
        module: the folder of its go.mod.
        variable: of the program's code, and its value: a program built this way knows its version from nowhere else.
        folder: where to.
    """
    flags = ("-trimpath", "-buildvcs=false", f"-ldflags=-s -w -X {variable}")
    go(module, "build", *flags, "-o", f"{folder / 'bin'}/", "tool")


def go(module: Path, verb: str, *arguments: str) -> str:
    """Return what the `go` program prints, run in a module that it must not change.

    Raises:
        WayError: there is no such program.
        SubprocessError: it failed.
    """
    program = shutil.which("go")
    if not program:
        raise WayError("there is no go on PATH")
    return run(program, verb, "-mod=readonly", *arguments, cwd=module, CGO_ENABLED="0")


def advice(module: Path) -> str:
    """Return which Go builds a module, and where a person gets it."""
    lines = (module / "go.mod").read_text(encoding="utf-8").splitlines()
    oldest = next(line.removeprefix("go ") for line in lines if line.startswith("go "))
    return f"Go {oldest} or newer (https://go.dev/dl/)"
