"""A service whose line in services/ was edited since it was deployed: what stands in for it must not follow yet."""

from contextlib import suppress

from consul_cluster.client import ConsulError
from operations.stack import Stack, StackError
from operations.verify import advice
from services.field_types import host_and_port
from services.model import Service


def refuse_undeployed_address(stack: Stack, service: Service) -> None:
    """Refuse a service that is registered at another address than the roster's: Consul does not check it there.

    Raises:
        StackError: it is.
    """
    with suppress(ConsulError):  # that does not answer: nothing is known of it
        entry = stack.consul.in_catalog(stack.node_of(service), service.name, service.id)
        registered = entry and host_and_port(entry["Service"]["Address"], entry["Service"]["Port"])
        if registered and registered != service.address:
            raise StackError(
                f"{service.id} is registered at {registered}, and its line states {service.address}: "
                f"first {advice.deploy(stack)}, or undo the edit"
            )
