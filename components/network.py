"""The Docker network of the platform, in which containers reach each other by name."""

from dataclasses import dataclass

import pulumi
import pulumi_docker as docker

from components.interrupted_creation import remove_network
from docker_engine import OWN_ENGINE, DockerEngine


@dataclass(frozen=True)
class NetworkArgs:
    """Arguments of a `Network`.

    Attributes:
        name: of the network, as in `docker network ls`.
        existing: expect the network, and never change or destroy it; otherwise the stack creates it.
        overlay: it spans the hosts of a swarm, and any container may join it. Otherwise, it is a bridge on one host.
            https://docs.docker.com/engine/network/drivers/overlay/
        engine: that creates it.
    """

    name: str
    existing: bool
    overlay: bool = False
    engine: DockerEngine = OWN_ENGINE


class Network(pulumi.ComponentResource):
    """A network, created or expected: the preflight looks for it, so that a preview does not have to."""

    name: pulumi.Output[str]

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the network, unless it has to exist."""
        super().__init__("consul-staging:docker:Network", name, None, opts)
        if args.existing:
            self.name = pulumi.Output.from_input(args.name)
        else:
            created = docker.Network(
                f"{name}-network",
                name=args.name,
                driver="overlay" if args.overlay else "bridge",
                attachable=True if args.overlay else None,
                opts=pulumi.ResourceOptions(
                    parent=self, hooks=pulumi.ResourceHookBinding(before_create=[remove_network(args.engine)])
                ),
            )
            self.name = created.name
        self.register_outputs({"name": self.name})
