"""The Docker network on which the platform's containers find each other by name."""

from dataclasses import dataclass

import pulumi
import pulumi_docker as docker


@dataclass(frozen=True)
class NetworkArgs:
    """What a `Network` is.

    Attributes:
        name: as `docker network ls` shows it.
        existing: it is there, and is looked up; it is never changed or destroyed.
    """

    name: str
    existing: bool


class Network(pulumi.ComponentResource):
    """A bridge network, created or looked up (guide, "Troubleshooting": `staging_staging-network`)."""

    name: pulumi.Output[str]

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the network, or find it.

        Raises:
            Exception: it is to exist, and Docker has none of that name.
        """
        super().__init__("consul-staging:docker:Network", name, None, opts)
        if args.existing:
            found = docker.get_network_output(name=args.name, opts=pulumi.InvokeOutputOptions(parent=self))
            self.name = found.name
        else:
            created = docker.Network(
                f"{name}-network", name=args.name, driver="bridge", opts=pulumi.ResourceOptions(parent=self)
            )
            self.name = created.name
        self.register_outputs({"name": self.name})
