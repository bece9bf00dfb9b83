"""The Consul server, where the platform has none yet."""

from dataclasses import dataclass

import pulumi

from components.container import ConsulContainerArgs, consul_container
from services.agent_config import SERVER_NODE, server_config


@dataclass(frozen=True)
class ConsulServerArgs:
    """What a `ConsulServer` is.

    Attributes:
        image: Consul's, by exact tag.
        network: the Docker network that it joins.
        publish: address and port on the Docker host of its API and UI.
    """

    image: str
    network: pulumi.Input[str]
    publish: tuple[str, int]


class ConsulServer(pulumi.ComponentResource):
    """One server with its UI, `staging-consul`."""

    node: pulumi.Output[str]

    def __init__(self, name: str, args: ConsulServerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the server's container; it is there once it answers."""
        super().__init__("consul-staging:docker:ConsulServer", name, None, opts)
        container = consul_container(
            name, ConsulContainerArgs(SERVER_NODE, args.image, args.network, server_config(), args.publish), self
        )
        self.node = container.name
        self.register_outputs({"node": self.node})
