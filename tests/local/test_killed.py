"""An `up` that is killed in the middle: the next run completes it; nothing is there twice, nothing is lost."""

import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace

import psutil
import pytest

from operations.engine import EngineError
from operations.local import sweep
from operations.paths import ROOT
from tests.local import run_up
from tests.local.conftest import Stack

OWNER = "pulumi/consul-staging/local/"


def start_up(stack: Stack) -> subprocess.Popen[bytes]:
    """Start an `up` in a process of its own."""
    engine = stack.engine
    host = stack.roster.services[0].host
    arguments = (engine.project, engine.folder, stack.endpoint.address, host, engine.checkpoints)
    command = (sys.executable, "-m", run_up.__name__, *map(str, arguments))
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def engine_of(run: subprocess.Popen[bytes]) -> psutil.Process:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        for child in psutil.Process(run.pid).children(recursive=True):
            with suppress(psutil.Error):
                if child.name() == "pulumi" and "up" in child.cmdline():
                    return child
    raise AssertionError("no engine")


def killed_up(stack: Stack, registered: int) -> int:
    """Run an `up` and kill its engine with SIGKILL once so many services stand; returns how many stood then."""
    run = start_up(stack)
    engine = engine_of(run)
    while len(stack.consul.all_services()) < registered:
        assert engine.is_running()
    engine.kill()
    assert run.wait(30) != 0
    return len(stack.consul.all_services())


@pytest.mark.parametrize("checkpoints", [False, True], ids=["state written once", "state written once a resource"])
@pytest.mark.parametrize("registered", [1, 15, 30])
def test_the_run_after_a_killed_one_completes_it(stack: Stack, registered: int, checkpoints: bool) -> None:
    stack.engine = replace(stack.engine, checkpoints=checkpoints)
    stood = killed_up(stack, registered)
    assert registered <= stood < 40
    assert stack.engine.unlock()
    stack.up()
    assert len(stack.consul.all_services()) == 40
    assert stack.up(refresh=True) == {"same": 42}


def test_a_run_that_was_killed_while_it_wrote_its_state_hinders_no_other(stack: Stack) -> None:
    # The file backend creates what goes with a file, its `.attrs`, empty, and then writes it.
    stack.up()
    attributes = list((stack.engine.folder / "state").rglob("*.attrs"))
    assert "local.json.attrs" in [file.name for file in attributes]
    for file in attributes:
        file.write_text("")
    stack.engine.unlock()
    assert stack.up() == {"same": 42}


def test_a_run_that_was_killed_while_it_wrote_its_lock_hinders_no_other(stack: Stack) -> None:
    # The file backend writes a lock beside its place, and takes what is there for a lock too.
    stack.up()
    (locks,) = (stack.engine.folder / "state" / ".pulumi" / "locks").glob("*/*/local")
    (locks / "d6a26f5c.json.187b3de2a9c51000.tmp").write_text("")
    stack.engine.unlock()
    assert stack.up() == {"same": 42}


def test_what_a_killed_run_registered_and_the_roster_then_dropped_is_swept(stack: Stack) -> None:
    stack.consul.register({"ID": "own", "Name": "own", "Port": 1234})
    killed_up(stack, 20)
    stack.engine.unlock()
    dropped = next(iter(stack.consul.all_services().keys() - {"own"}))
    stack.remove(dropped)
    stack.up()
    kept = {service.id for service in stack.roster.services}
    assert sweep(stack.consul, OWNER, kept) == [dropped]
    assert stack.consul.all_services().keys() == kept | {"own"}


def test_the_lock_of_a_run_that_lives_is_respected(stack: Stack) -> None:
    run = start_up(stack)
    engine = engine_of(run)
    try:
        while not stack.consul.all_services():
            assert engine.is_running()
        engine.suspend()
        with pytest.raises(EngineError, match=f"another run is at work on this stack \\(process {engine.pid}\\)"):
            stack.engine.unlock()
        with pytest.raises(EngineError):
            stack.up()
        assert "currently locked" in stack.said
    finally:
        engine.resume()
        assert run.wait(30) == 0
