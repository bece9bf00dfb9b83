"""Tells whether the servers can be asked as the state has them.

By default the engine refreshes all resources before it runs the program, with the providers as the state has them. A
run that was killed while it replaced the server of a stack, its port or its authority leaves providers that get no
answer. Each later run would fail, unless each resource is refreshed when the program states it (`--run-program`).
"""

from contextlib import suppress

from consul_cluster.client import Consul, ConsulError
from operations.pulumi_engine import EngineError
from operations.stack import Stack


def has_lost_its_server(stack: Stack) -> bool:
    """Return whether a provider in the state of a stack that creates its server reaches no server."""
    if not stack.settings.docker or stack.settings.server != "created":
        return False
    with suppress(EngineError):  # nothing was ever deployed
        return not all(_answers(*server) for server in stack.engine.deployed_state().servers)
    return False


def _answers(address: str, ca: str | None) -> bool:
    with suppress(ConsulError):
        return bool(Consul(address, ca=ca).datacenters())
    return False
