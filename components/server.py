"""The Consul server, where the platform has none yet."""

from dataclasses import dataclass

import pulumi

from components.container import ConsulContainerArgs, Publish, Secured, consul_container
from components.endpoint import Endpoint, until_led
from components.keys import Keys
from services.agent_config import SERVER_NODE, server_config
from services.security import Stage


@dataclass(frozen=True)
class ConsulServerArgs:
    """What a `ConsulServer` is.

    Attributes:
        image: Consul's, by exact tag.
        network: the Docker network that it joins.
        publish: where its API and UI are published.
        stage: how far the cluster is secured.
        keys: the cluster's; None: it is open.
        api: with the management token, where the cluster is secured: tokens are made there once it has a leader.
    """

    image: str
    network: pulumi.Input[str]
    publish: Publish
    stage: Stage = "off"
    keys: Keys | None = None
    api: Endpoint | None = None

    @property
    def secured(self) -> Secured | None:
        """What it starts with; it makes the management token itself, and keeps its own node with that."""
        if not self.keys:
            return None
        tokens = {"initial_management": self.keys.management, "agent": self.keys.management}
        return Secured(self.stage, self.keys, tokens)


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
            _until_led(args.api) if args.api else None,
        )
        self.node = container.name
        self.register_outputs({"node": self.node})


def _until_led(api: Endpoint) -> pulumi.ResourceHookBinding:
    async def wait(_args: pulumi.ResourceHookArgs) -> None:
        await until_led(await api.consul(), token=True)

    return pulumi.ResourceHookBinding(after_create=[pulumi.ResourceHook("await-leader", wait)])
