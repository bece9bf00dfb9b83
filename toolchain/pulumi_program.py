"""Pulumi's program, no older than the SDK in this environment."""

import http.client
import importlib.metadata
import os
import shutil
import socket
from pathlib import Path

from pulumi.automation import PulumiCommand

from toolchain import go_build
from toolchain.find_program import IncompleteError, Program, Way, WayError, version_of

VERSION = importlib.metadata.version("pulumi")

_MODULE = go_build.MODULES / "pulumi"
_SDK_MODULE = "github.com/pulumi/pulumi/sdk/v3"
_PROVIDER = "pulumi-resource-pulumi-python"
# A host has several addresses, each of which may keep silent that long: together no more than some 10 s.
_SILENCE_SECONDS = 2.0


def _unfit(executable: Path) -> str | None:
    found = version_of(executable)
    has, needs = _major_and_minor(found), _major_and_minor(VERSION)
    if has[:1] != needs[:1] or has < needs:
        return f"is {found or 'of an unknown version'}, this needs {VERSION} or a later {needs[0]}"
    # Where Pulumi itself looks: on PATH, and beside the program that a link leads to.
    places = os.pathsep.join([str(executable.resolve().parent), os.environ.get("PATH", os.defpath)])
    if not shutil.which(_PROVIDER, path=places):
        where = f"{executable.name} in {executable.parent}"
        raise IncompleteError(f"{where} is incomplete: put {_PROVIDER}, from the same archive, beside it")
    return None


def _major_and_minor(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part)


def _install(folder: Path) -> None:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE_SECONDS)  # the installer sets none: where nothing answers it waits for minutes
    try:
        # Without a version it is the SDK's own; whether it suits is asked of every program in the same way.
        PulumiCommand.install(root=str(folder), skip_version_check=True)
    except http.client.HTTPException as problem:
        raise WayError(f"{type(problem).__name__} {problem}") from problem
    finally:
        socket.setdefaulttimeout(before)


def _build(folder: Path) -> None:
    go_build.build(_MODULE, f"{_SDK_MODULE}/go/common/version.Version=v{VERSION}", folder)
    sdk = go_build.go(_MODULE, "list", "-m", "-f", "{{.Dir}}", _SDK_MODULE).strip()
    provider = folder / "bin" / _PROVIDER
    shutil.copyfile(Path(sdk, "python", "dist", _PROVIDER), provider)
    provider.chmod(0o755)


PULUMI = Program(
    name="pulumi",
    version=VERSION,
    unfit=_unfit,
    ways=(
        Way("installing", "with the SDK's own installer", _install),
        Way("building", "from its Go module (3 to 5 minutes, once)", _build),
    ),
    advice=f"Install pulumi (https://www.pulumi.com/docs/iac/download-install/), or {go_build.advice(_MODULE)}.",
)
