"""Consul: one on PATH from 1.17 on, or else the version that staging's containers run."""

import hashlib
import io
import platform
import re
import zipfile
from pathlib import Path

import urllib3

from toolchain import go_build
from toolchain.find_program import Program, ToolchainError, Way, WayError, version_of

VERSION = "1.17.2"
_OLDEST = (1, 17)
RELEASES = "https://releases.hashicorp.com/consul"

_MODULE = go_build.MODULES / "consul"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_OK = 200

# A host has several addresses, each of which may keep silent that long: together no more than some 10 s.
_TIMEOUT = urllib3.Timeout(connect=2, read=10)
_RETRIES = urllib3.Retry(2, connect=0, read=0)


def _unfit(executable: Path) -> str | None:
    found = version_of(executable)
    numbers = re.match(r"(\d+)\.(\d+)\.", found)
    if numbers and (int(numbers[1]), int(numbers[2])) >= _OLDEST:
        return None
    return f"is {found or 'of an unknown version'}, this needs {VERSION} or another one from 1.17 on"


def _release(folder: Path) -> None:
    machine = platform.machine()
    name = f"consul_{VERSION}_{platform.system().lower()}_{_ARCHITECTURES.get(machine, machine)}.zip"
    sums = _fetch(f"consul_{VERSION}_SHA256SUMS").decode(errors="replace")
    expected = re.search(rf"^([0-9a-f]{{64}})\s+{re.escape(name)}$", sums, re.MULTILINE)
    if not expected:
        raise WayError(f"the release has no {name}")
    archive = _fetch(name)
    actual = hashlib.sha256(archive).hexdigest()
    if actual != expected[1]:
        raise ToolchainError(
            f"{name} from {RELEASES} is not what its publisher made, and was not installed: its SHA256 is {actual}, "
            f"not {expected[1]}. Try again; if it stays so, something between here and there changes it."
        )
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        Path(files.extract("consul", folder / "bin")).chmod(0o755)


def _fetch(name: str) -> bytes:
    url = f"{RELEASES}/{VERSION}/{name}"
    try:
        answer = urllib3.request("GET", url, timeout=_TIMEOUT, retries=_RETRIES)
    except urllib3.exceptions.HTTPError as problem:
        cause = getattr(problem, "reason", problem)  # of the last try
        raise WayError(f"{url} cannot be reached ({type(cause).__name__})") from problem
    if answer.status != _OK:
        raise WayError(f"{url} answered {answer.status}")
    return answer.data


def _build(folder: Path) -> None:
    go_build.build(_MODULE, f"github.com/hashicorp/consul/version.GitDescribe=v{VERSION}", folder)


CONSUL = Program(
    name="consul",
    version=VERSION,
    unfit=_unfit,
    ways=(
        Way("downloading", "its official release", _release),
        Way("building", "from its Go module (3 to 5 minutes, once)", _build),
    ),
    advice=f"Put consul {VERSION} on PATH ({RELEASES}/{VERSION}/), or install {go_build.advice(_MODULE)}.",
)
