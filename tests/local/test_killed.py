"""An `up` that is killed in the middle: the next run completes it; nothing is there twice, nothing is lost."""

from dataclasses import replace

import psutil
import pytest

from operations.pulumi_engine import EngineError
from operations.up import prune
from tests.local.run_up import engine_of, start_up
from tests.local.stacks import OWNER, RESOURCES, EditableStack


def killed_up(stack: EditableStack, registered: int) -> int:
    """Run an `up` and kill its engine with SIGKILL once so many services stand; returns how many stood then."""
    run = start_up(stack)
    engine = engine_of(run)
    while len(stack.consul.all_services()) < registered:
        assert engine.status() != psutil.STATUS_ZOMBIE
    engine.kill()
    assert run.wait(30) != 0
    return len(stack.consul.all_services())


# At every step, on fewer services: tests.local.fault_injection.
@pytest.mark.parametrize(
    ("registered", "checkpoints"),
    [(1, False), (15, True), (30, False)],
    ids=["state written once, early", "state written once a resource", "state written once, late"],
)
def test_the_run_after_a_killed_one_completes_it(
    stack_of_forty: EditableStack, registered: int, checkpoints: bool
) -> None:
    stack = stack_of_forty
    stack.engine = replace(stack.engine, checkpoints=checkpoints)
    stood = killed_up(stack, registered)
    assert registered <= stood < 40
    assert stack.engine.unlock()
    stack.up()
    assert len(stack.consul.all_services()) == 40
    assert stack.up(refresh=True) == {"same": 42}


def test_a_run_that_was_killed_while_it_wrote_its_state_hinders_no_other(stack: EditableStack) -> None:
    # The file backend creates what goes with a file, its `.attrs`, empty, and then writes it.
    stack.up()
    attributes = list((stack.engine.folder / "state").rglob("*.attrs"))
    assert "local.json.attrs" in [file.name for file in attributes]
    for file in attributes:
        file.write_text("")
    stack.engine.unlock()
    assert stack.up() == {"same": RESOURCES}


def test_after_a_state_was_cut_off_by_a_full_disk_the_next_run_completes_what_is_there(stack: EditableStack) -> None:
    stack.up()
    stack.change("billing_service", tags=("edited",))
    stack.up()
    [state] = (stack.engine.folder / "state").glob(".pulumi/stacks/*/local.json")
    state.write_bytes(state.read_bytes()[:-100])
    stack.engine.unlock()
    stack.up(refresh=True)
    assert stack.consul.all_services()["billing_service"]["Tags"] == ["edited"]
    assert stack.up(refresh=True) == {"same": RESOURCES}


def test_a_run_that_was_killed_while_it_wrote_its_lock_hinders_no_other(stack: EditableStack) -> None:
    # The file backend writes a lock beside its place, and takes what is there for a lock too.
    stack.up()
    (locks,) = (stack.engine.folder / "state" / ".pulumi" / "locks").glob("*/*/local")
    (locks / "d6a26f5c.json.187b3de2a9c51000.tmp").write_text("")
    stack.engine.unlock()
    assert stack.up() == {"same": RESOURCES}


def test_what_a_killed_run_registered_and_the_roster_then_dropped_is_swept(stack_of_forty: EditableStack) -> None:
    stack = stack_of_forty
    stack.consul.register({"ID": "own", "Name": "own", "Port": 1234})
    killed_up(stack, 20)
    stack.engine.unlock()
    dropped = next(iter(stack.consul.all_services().keys() - {"own"}))
    stack.remove(dropped)
    stack.up()
    kept = {service.id for service in stack.roster.services}
    assert prune(stack.consul, OWNER, kept) == [dropped]
    assert stack.consul.all_services().keys() == kept | {"own"}


def test_the_lock_of_a_run_that_lives_is_respected(stack: EditableStack) -> None:
    run = start_up(stack)
    engine = engine_of(run)
    try:
        while not stack.consul.all_services():
            assert engine.status() != psutil.STATUS_ZOMBIE
        engine.suspend()
        with pytest.raises(EngineError, match=f"another run is at work on this stack \\(process {engine.pid}\\)"):
            stack.engine.unlock()
        with pytest.raises(EngineError):
            stack.up()
        assert "currently locked" in stack.said
    finally:
        engine.resume()
        assert run.wait(30) == 0
