"""The Docker network of the platform, in which containers reach each other by name."""

from dataclasses import dataclass

import pulumi
import pulumi_docker as docker


@dataclass(frozen=True)
class NetworkArgs:
    """Arguments of a `Network`.

    Attributes:
        name: of the network, as in `docker network ls`.
        existing: look the network up, and never change or destroy it; otherwise the stack creates it.
    """

    name: str
    existing: bool


class Network(pulumi.ComponentResource):
    """A bridge network, created or looked up."""

    name: pulumi.Output[str]

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the network, or look it up.

        Raises:
            Exception: it has to exist, but Docker has no network of that name.
        """
        super().__init__("consul-staging:docker:Network", name, None, opts)
        if args.existing:
            network = docker.get_network_output(name=args.name, opts=pulumi.InvokeOutputOptions(parent=self))
            self.name = network.name
        else:
            created = docker.Network(
                f"{name}-network", name=args.name, driver="bridge", opts=pulumi.ResourceOptions(parent=self)
            )
            self.name = created.name
        self.register_outputs({"name": self.name})
