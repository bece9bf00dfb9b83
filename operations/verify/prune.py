"""Removes what the stack itself left behind, and nothing else."""

import time
from collections.abc import Callable

from cluster.agent_configuration import AGENT_NODE, SERVER_NODE
from operations.target import Target
from operations.verify.duplicates import Stray
from operations.verify.report import Report, report

# The agent hands what it removed to the servers within milliseconds, or after a retry when it has just lost them.
_PAUSES = (0, 0.05, 0.1, 0.2, 0.5, 1, 2, 4)


def fix(target: Target, found: Report, say: Callable[[str], object]) -> tuple[list[Stray], Report]:
    """Remove them one by one, telling of each; returns those, and what a look then says.

    Raises:
        ConsulError: Consul refused one: those before it are removed.
    """
    left = [stray for stray in found.strays if stray.removable]
    for stray in left:
        _remove(target, stray)
        say(f"removed {stray.name}: id {stray.place.id} on {stray.place.node}")
    places = {stray.place for stray in left}
    for pause in _PAUSES if left else ():
        time.sleep(pause)
        found = report(target)
        if not places & {stray.place for stray in found.strays}:
            break
    return left, found


def _remove(target: Target, stray: Stray) -> None:
    if target.agent and stray.held and stray.place.node == AGENT_NODE:
        target.agent.deregister(stray.place.id)
        return
    if stray.place.node == SERVER_NODE:  # an agent too, which would put back what it holds itself
        target.server.deregister(stray.place.id)
    target.server.deregister_from_catalog(*stray.place)
