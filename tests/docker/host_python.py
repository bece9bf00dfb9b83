"""Containers in which this machine's Python runs a program, where no image with a Python is to be had."""

import sys
from pathlib import Path

from operations.paths import ROOT
from tests.docker.conftest import NETWORK, docker


def run_python(container: str, *command: str) -> None:
    """Run Python with some arguments in a container on the network, in the place of the one of that name.

    The engine has to be on this machine, which is a Linux: it mounts this machine's folders.
    """
    folders = [folder for folder in ("/usr", "/lib", "/lib64", sys.base_prefix, str(ROOT)) if Path(folder).exists()]
    mounts = [f"--volume={folder}:{folder}:ro" for folder in dict.fromkeys(folders)]
    docker("rm", "--force", container)
    where = ("--name", container, "--network", NETWORK, *mounts, "busybox:1.37.0")
    docker("run", "--detach", *where, sys.executable, *command)
