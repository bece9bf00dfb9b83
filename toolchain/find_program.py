"""The ways to a program, tried in order: PATH, our own copy, then each way to get one."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from platformdirs import user_cache_path

from errors import UserError
from toolchain.progress import say, working

_LAST_LINES = 10
_VERSION = re.compile(r"\d+\.\d+\.\d+\S*")


class ToolchainError(UserError):
    """A program cannot be had. The message is for a person: what was tried, and what to do."""


class WayError(Exception):
    """One way does not lead to the program; the next may."""


class AbsentError(WayError):
    """It is not here: what a person expects to hear of only where no way leads to it."""


class IncompleteError(WayError):
    """It is here, and would suit if something were put beside it: that is what a person can do."""


@dataclass(frozen=True)
class Way:
    """How to get a program that this machine does not have.

    Attributes:
        doing: what it does, in one word, as in "still building".
        how: the rest of that sentence.
        fill: puts the program, and what belongs beside it, into `bin` of the folder it is given.
    """

    doing: str
    how: str
    fill: Callable[[Path], None]


@dataclass(frozen=True)
class Program:
    """A program, and how to come by it.

    Attributes:
        name: of its executable.
        version: the one to get.
        unfit: says why an executable does not suit, as the end of a sentence; None where it does. Raises an
            IncompleteError where something beside it is missing.
        ways: tried in this order where neither PATH nor our own copy has it.
        advice: what a person can do where all of them fail.
    """

    name: str
    version: str
    unfit: Callable[[Path], str | None]
    ways: tuple[Way, ...]
    advice: str


def find(program: Program) -> Path:
    """Return the path of a program that suits, and get it first where this machine has none.

    Raises:
        ToolchainError: no way led to it, or one met what must not be passed over.
    """
    ways: Iterator[Callable[[Program], Path]] = (partial(_get, way=way) for way in program.ways)
    refusals, advice = [], program.advice
    for attempt in (_on_path, _own_copy, *ways):
        try:
            return attempt(program)
        except WayError as refusal:
            if isinstance(refusal, IncompleteError):
                advice = str(refusal)
            else:
                refusals.append(f"- {refusal}")
            if not isinstance(refusal, AbsentError):
                say(str(refusal).partition("\n")[0])
    raise ToolchainError("\n".join([f"{program.name} {program.version} cannot be had:", *refusals, advice]))


def version_of(executable: Path) -> str:
    """Return the version that a program says it has, or nothing where it says none."""
    try:
        answer = run(executable, "version", PULUMI_SKIP_UPDATE_CHECK="true", timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    found = _VERSION.search(answer)
    return found[0] if found else ""


def run(
    program: str | Path, *arguments: str, cwd: Path | None = None, timeout: float | None = None, **environment: str
) -> str:
    """Return what a program prints to stdout.

    Raises:
        OSError: it cannot be started.
        SubprocessError: it fails, or takes longer than the timeout.
    """
    return subprocess.run(  # noqa: S603  a list of arguments, none of which comes from outside
        [program, *arguments],
        cwd=cwd,
        timeout=timeout,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        text=True,
        errors="replace",
    ).stdout


def _on_path(program: Program) -> Path:
    found = shutil.which(program.name)
    if not found:
        raise AbsentError(f"{program.name}: not on PATH")
    path = Path(found).absolute()
    if why := program.unfit(path):
        raise WayError(f"{program.name} on PATH {why}")
    say(f"{program.name}: using the one on PATH, {path}")
    return path


def _own_copy(program: Program) -> Path:
    path = _own_folder(program) / program.name
    if not path.exists():
        raise AbsentError(f"{program.name}: no copy of our own yet")
    if why := program.unfit(path):
        raise WayError(f"{program.name}: our own copy, {path}, {why}")
    say(f"{program.name} {program.version}: using our own copy, {path}")
    return path


def _get(program: Program, way: Way) -> Path:
    say(f"{program.name} {program.version}: {way.doing} {way.how}")
    try:
        with working(program.name, way.doing):
            return _fill_and_keep(program, way)
    except (WayError, OSError, subprocess.SubprocessError) as problem:
        raise WayError(f"{program.name}: {way.doing} {way.how} failed: {_reason(problem)}") from problem


def _fill_and_keep(program: Program, way: Way) -> Path:
    cache = _cache()
    cache.mkdir(parents=True, exist_ok=True)
    # In the cache's own file system, so that what is finished is moved in one step and what is not is never seen.
    with tempfile.TemporaryDirectory(prefix=f"{program.name}-", dir=cache) as folder:
        way.fill(Path(folder))
        made = Path(folder) / "bin"
        if why := program.unfit(made / program.name):
            raise WayError(f"what came of it {why}")
        own = _own_folder(program)
        own.mkdir(parents=True, exist_ok=True)
        # The program last: where it stands, all that it needs stands beside it.
        for file in sorted(made.iterdir(), key=lambda file: file.name == program.name):
            file.replace(own / file.name)
    return own / program.name


def _cache() -> Path:
    return user_cache_path("consul-staging")


def _own_folder(program: Program) -> Path:
    return _cache() / f"{program.name}-{program.version}" / "bin"


def _reason(problem: Exception) -> str:
    """Return what went wrong: of a program that failed, the last lines that it printed."""
    if not isinstance(problem, subprocess.CalledProcessError):
        return str(problem)
    printed = os.fsdecode(problem.stderr or problem.stdout or b"").strip().splitlines()
    return "\n  ".join([f"{Path(problem.cmd[0]).name} exited with {problem.returncode}", *printed[-_LAST_LINES:]])
