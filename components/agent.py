"""The shared Consul client agent (guide, "After (Agent-Based Registration)")."""

from dataclasses import dataclass

import pulumi

from components.container import ConsulContainerArgs, consul_container
from services.agent_config import AGENT_NODE, SERVER_NODE, agent_config


@dataclass(frozen=True)
class ConsulAgentArgs:
    """What a `ConsulAgent` is.

    Attributes:
        image: Consul's, by exact tag.
        network: the Docker network of the server and of the services.
        publish: address and port on the Docker host of its API.
    """

    image: str
    network: pulumi.Input[str]
    publish: tuple[str, int]


class ConsulAgent(pulumi.ComponentResource):
    """One client agent that joins the server and runs every service's checks, `consul-agent-shared`."""

    node: pulumi.Output[str]

    def __init__(self, name: str, args: ConsulAgentArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the agent's container; it is there once it answers."""
        super().__init__("consul-staging:docker:ConsulAgent", name, None, opts)
        config = agent_config(retry_join=SERVER_NODE)
        container = consul_container(
            name, ConsulContainerArgs(AGENT_NODE, args.image, args.network, config, args.publish), self
        )
        self.node = container.name
        self.register_outputs({"node": self.node})
