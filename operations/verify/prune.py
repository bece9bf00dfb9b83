"""Removes what the stack itself left behind, and nothing else."""

from collections.abc import Callable

from operations.stack import Stack
from operations.verify.duplicates import Stray
from operations.verify.report import Report, report_once

# An agent tells the servers of a removal within milliseconds, or on its next try if it has just lost them.
_CATALOG_SECONDS = 8


def prune(stack: Stack, latest: Report, output: Callable[[str], object]) -> tuple[list[Stray], Report]:
    """Remove what the report lists as left behind, and print each; return those, and a report after that.

    Raises:
        consul_cluster.client.ConsulError: Consul refused one. Those before it are removed.
    """
    left_behind = [stray for stray in latest.strays if stray.removable]
    if not left_behind:
        return [], latest
    for stray in left_behind:
        _remove(stack, stray)
        output(f"removed {stray.name}: id {stray.place.id} on {stray.place.node}")
    places = {stray.place for stray in left_behind}
    return left_behind, report_once(
        stack, lambda found: places.isdisjoint(stray.place for stray in found.strays), _CATALOG_SECONDS
    )


def _remove(stack: Stack, stray: Stray) -> None:
    if stray.on_agent:
        stack.agents[stray.place.node].deregister(stray.place.id)
        return
    if server := stack.servers.get(stray.place.node):  # It is an agent too, and would put back what it holds itself.
        server.deregister(stray.place.id)
    stack.server.deregister_from_catalog(*stray.place)
