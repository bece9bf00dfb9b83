"""The shared Consul client agent (guide, "After (Agent-Based Registration)")."""

from dataclasses import dataclass

import pulumi
import pulumi_docker as docker

from components.container import ConsulContainerArgs, consul_container
from services.agent_config import AGENT_NODE, SERVER_NODE, agent_config

FILES_FOLDER = "/consul/config/services"
"""Where the agent finds its definition files (guide, "Issue: Services not registered")."""


@dataclass(frozen=True)
class ConsulAgentArgs:
    """What a `ConsulAgent` is.

    Attributes:
        image: Consul's, by exact tag.
        network: the Docker network of the server and of the services.
        publish: address and port on the Docker host of its API; None: it is not published.
    """

    image: str
    network: pulumi.Input[str]
    publish: tuple[str, int] | None


class ConsulAgent(pulumi.ComponentResource):
    """One client agent that joins the server and runs every service's checks, `consul-agent-shared`.

    Attributes:
        node: name of its container and of its node.
        container: id of its container: another one where it was replaced.
        image: id of its image.
        files: the volume with what it reads again on reload.
    """

    node: pulumi.Output[str]
    container: pulumi.Output[str]
    image: pulumi.Output[str]
    files: pulumi.Output[str]

    def __init__(self, name: str, args: ConsulAgentArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the agent's container; it is there once it answers."""
        super().__init__("consul-staging:docker:ConsulAgent", name, None, opts)
        files = docker.Volume(f"{name}-files", name=f"{AGENT_NODE}-files", opts=pulumi.ResourceOptions(parent=self))
        config, folders = agent_config(retry_join=SERVER_NODE), {FILES_FOLDER: files.name}
        container = consul_container(
            name, ConsulContainerArgs(AGENT_NODE, args.image, args.network, config, args.publish, folders), self
        )
        self.node, self.container, self.image, self.files = container.name, container.id, container.image, files.name
        self.register_outputs({"node": self.node})
