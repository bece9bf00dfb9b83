"""The Consul server, for a platform that has none yet."""

from dataclasses import dataclass

import pulumi

from components.child_options import after, child_options
from components.consul_connection import Connection
from components.consul_container import ConsulContainerArgs, Secured, consul_container, prepare
from components.resource_hooks import stepwise_stash, wait_for_leader
from components.server_replacement import ServerReplacement
from consul_cluster.agent_configuration import bind_address, server_config
from consul_cluster.cluster_names import STAGING_NAMES, ClusterNames
from consul_cluster.security_stages import why_change_is_refused
from docker_engine import OWN_ENGINE, DockerEngine
from docker_hosts import Publish


@dataclass(frozen=True)
class ConsulServerArgs:
    """Arguments of a `ConsulServer`.

    Attributes:
        image: Consul's, by exact tag.
        network: the Docker network that it joins.
        publish: where its API and UI are published.
        secured: its keys in a secured cluster; None: the cluster is open.
        names: of the cluster.
        servers: how many the cluster has.
        engine: that the container runs in.
        replacement: has several servers replaced one at a time; None: it is the only one.
        awaits_leader: of a secured cluster, Pulumi waits for a leader, since tokens are created there. Of several
            servers, the last one that is created does: before, there may be none.
        telemetry: it keeps metrics for Prometheus.
    """

    image: str
    network: pulumi.Input[str]
    publish: Publish
    secured: Secured | None = None
    names: ClusterNames = STAGING_NAMES
    servers: int = 1
    engine: DockerEngine = OWN_ENGINE
    replacement: ServerReplacement | None = None
    awaits_leader: bool = True
    telemetry: bool = False


class ConsulServer(pulumi.ComponentResource):
    """A server, with its UI."""

    node: pulumi.Output[str]

    def __init__(self, name: str, args: ConsulServerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the server's container. Pulumi waits until the server answers."""
        super().__init__("consul-staging:docker:ConsulServer", name, None, opts)
        stage = stepwise_stash(
            f"{name}-stage",
            args.secured.stage if args.secured else "off",
            "security",
            why_change_is_refused,
            pulumi.ResourceOptions(parent=self),
        )
        consul = ConsulContainerArgs(
            args.names.server_container,
            args.image,
            args.network,
            server_config(args.names, bind_address(args.names), servers=args.servers, telemetry=args.telemetry),
            args.publish,
            secured=args.secured,
            envs=["TMPDIR=/consul/data"],  # where it writes a snapshot that is asked for: all else is read-only
            alias=args.names.servers,
            engine=args.engine,
        )
        child = after(child_options(self, opts), [stage])
        prepared = prepare(name, consul, child)
        replacement = args.replacement
        if replacement:
            handed_over = replacement.hand_over_before(name, consul, after(child, prepared.resources))
            child = after(child, [handed_over])
        hooks = _await_leader(args.secured.keys.servers) if args.secured and args.awaits_leader else None
        container = consul_container(name, consul, prepared, child, hooks)
        if replacement:
            replacement.rejoined_after(name, consul, after(child, [container]))
        self.node = container.name
        self.register_outputs({"node": self.node})


def _await_leader(api: Connection) -> pulumi.ResourceHookBinding:
    async def wait(_args: pulumi.ResourceHookArgs) -> None:
        await wait_for_leader(await api.consul(), token=True)

    return pulumi.ResourceHookBinding(after_create=[pulumi.ResourceHook("await-leader", wait)])
