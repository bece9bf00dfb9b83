"""The shared Consul client agent (guide, "After (Agent-Based Registration)")."""

from dataclasses import dataclass

import pulumi
import pulumi_docker as docker

from cluster.agent_configuration import AGENT_NODE, SERVER_NODE, agent_config
from components.child_options import child_options
from components.consul_container import ConsulContainerArgs, Publish, Secured, consul_container
from components.registration.draining import Draining

FILES_FOLDER = "/consul/config/services"
"""Where the agent finds its definition files (guide, "Issue: Services not registered")."""


@dataclass(frozen=True)
class ConsulAgentArgs:
    """What a `ConsulAgent` is.

    Attributes:
        image: Consul's, by exact tag.
        network: the Docker network of the server and of the services.
        publish: where its API is published; None: it is not.
        secured: what it starts with in a secured cluster; None: the cluster is open.
        parking: keeps the services in the catalog while the container is replaced; None: they leave with it.
    """

    image: str
    network: pulumi.Input[str]
    publish: Publish | None
    secured: Secured | None = None
    parking: Draining | None = None


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
        child = child_options(self, opts)
        files = docker.Volume(f"{name}-files", name=f"{AGENT_NODE}-files", opts=child)
        consul = ConsulContainerArgs(
            AGENT_NODE,
            args.image,
            args.network,
            agent_config(retry_join=SERVER_NODE),
            args.publish,
            args.secured,
            {FILES_FOLDER: files.name},
        )
        if args.parking:
            parked = args.parking.before(f"{name}-parking", consul, child)
            child = pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=[parked]))
        container = consul_container(name, consul, child)
        if args.parking:
            there = pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=[container]))
            args.parking.after(f"{name}-parked", consul, there)
        self.node, self.container, self.image, self.files = container.name, container.id, container.image, files.name
        self.register_outputs({"node": self.node})
