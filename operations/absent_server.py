"""Puts the stack's own server back where its container is gone, before a run that asks it.

Each run refreshes first, and the refresh of what the Consul provider deployed needs a server that answers. The engine
does that before it runs the program, which therefore can do nothing about it. docs/recovery.md has the command for
those who use `pulumi` itself.
"""

from urllib.parse import urlsplit

from operations.stack import Stack
from port_probe import does_anything_listen


def restore_server(stack: Stack) -> None:
    """Deploy the server's container alone, if the stack has deployed one and nothing listens in its place.

    Raises:
        operations.pulumi_engine.EngineError: the engine did not finish.
    """
    settings, engine = stack.settings, stack.engine
    api = urlsplit(settings.server_address)
    if not settings.docker or settings.server != "created" or does_anything_listen(api.hostname or "", api.port or 0):
        return
    if urns := [urn for urn in engine.urns() if urn.endswith("::server-container")]:
        engine.print_line(f"consul: {stack.names.server_container} is gone: it is deployed before all else")
        engine.up(refresh=True, target=urns, suppress_outputs=True)
