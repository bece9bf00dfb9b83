"""Kills the engine that a test started."""

from contextlib import suppress

import psutil


def kill_engine() -> None:
    """Kill the runs of `up` and `destroy` that this process started, with SIGKILL."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if child.name() == "pulumi" and {"up", "destroy"} & set(child.cmdline()):
                child.kill()
