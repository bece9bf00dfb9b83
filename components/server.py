"""The Consul server, where the platform has none yet."""

from dataclasses import dataclass

import pulumi

from components.container import ConsulContainerArgs, Publish, Secured, consul_container
from components.endpoint import Endpoint, until_led
from services.agent_config import SERVER_NODE, server_config


@dataclass(frozen=True)
class ConsulServerArgs:
    """What a `ConsulServer` is.

    Attributes:
        image: Consul's, by exact tag.
        network: the Docker network that it joins.
        publish: where its API and UI are published.
        secured: what it starts with in a secured cluster, where it is waited for until it has a leader, since tokens
            are made there; None: the cluster is open.
    """

    image: str
    network: pulumi.Input[str]
    publish: Publish
    secured: Secured | None = None


class ConsulServer(pulumi.ComponentResource):
    """One server with its UI, `staging-consul`."""

    node: pulumi.Output[str]

    def __init__(self, name: str, args: ConsulServerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the server's container; it is there once it answers."""
        super().__init__("consul-staging:docker:ConsulServer", name, None, opts)
        container = consul_container(
            name,
            ConsulContainerArgs(
                SERVER_NODE, args.image, args.network, server_config(), args.publish, secured=args.secured
            ),
            pulumi.ResourceOptions(parent=self),
            _until_led(args.secured.keys.servers) if args.secured else None,
        )
        self.node = container.name
        self.register_outputs({"node": self.node})


def _until_led(api: Endpoint) -> pulumi.ResourceHookBinding:
    async def wait(_args: pulumi.ResourceHookArgs) -> None:
        await until_led(await api.consul(), token=True)

    return pulumi.ResourceHookBinding(after_create=[pulumi.ResourceHook("await-leader", wait)])
