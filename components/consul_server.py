"""The Consul server, for a platform that has none yet."""

from dataclasses import dataclass

import pulumi

from components.consul_connection import Connection
from components.consul_container import ConsulContainerArgs, Publish, Secured, consul_container, prepare
from components.resource_hooks import wait_for_leader
from consul_cluster.agent_configuration import server_config
from consul_cluster.cluster_names import STAGING_NAMES, ClusterNames
from consul_cluster.security_stages import Stage, why_change_is_refused


@dataclass(frozen=True)
class ConsulServerArgs:
    """Arguments of a `ConsulServer`.

    Attributes:
        image: Consul's, by exact tag.
        network: the Docker network that it joins.
        publish: where its API and UI are published.
        secured: its keys in a secured cluster, where Pulumi waits for a leader, since tokens are created there; None:
            the cluster is open.
        names: of the cluster.
    """

    image: str
    network: pulumi.Input[str]
    publish: Publish
    secured: Secured | None = None
    names: ClusterNames = STAGING_NAMES


class ConsulServer(pulumi.ComponentResource):
    """The one server, with its UI."""

    node: pulumi.Output[str]

    def __init__(self, name: str, args: ConsulServerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the server's container. Pulumi waits until the server answers."""
        super().__init__("consul-staging:docker:ConsulServer", name, None, opts)
        stage = _stage(
            f"{name}-stage", args.secured.stage if args.secured else "off", pulumi.ResourceOptions(parent=self)
        )
        consul = ConsulContainerArgs(
            args.names.server_container,
            args.image,
            args.network,
            server_config(args.names),
            args.publish,
            secured=args.secured,
            envs=["TMPDIR=/consul/data"],  # where it writes a snapshot that is asked for: all else is read-only
        )
        child = pulumi.ResourceOptions(parent=self, depends_on=[stage])
        hooks = _await_leader(args.secured.keys.servers) if args.secured else None
        container = consul_container(name, consul, prepare(name, consul, child), child, hooks)
        self.node = container.name
        self.register_outputs({"node": self.node})


def _stage(name: str, stage: Stage, opts: pulumi.ResourceOptions) -> pulumi.Stash:
    """Keep the stage in the state, and refuse a change that skips a stage, in a preview too."""

    def refuse(args: pulumi.ResourceHookArgs) -> None:
        before, after = [(inputs or {})["input"] for inputs in (args.old_inputs, args.new_inputs)]
        if why := why_change_is_refused(before, after):
            raise pulumi.RunError(f"Pulumi.{pulumi.get_stack()}.yaml: security: {why}")

    hook = pulumi.ResourceHook("refuse-stage", refuse, pulumi.ResourceHookOptions(on_dry_run=True))
    hooks = pulumi.ResourceOptions(hooks=pulumi.ResourceHookBinding(before_update=[hook]))
    return pulumi.Stash(name, input=stage, opts=pulumi.ResourceOptions.merge(opts, hooks))


def _await_leader(api: Connection) -> pulumi.ResourceHookBinding:
    async def wait(_args: pulumi.ResourceHookArgs) -> None:
        await wait_for_leader(await api.consul(), token=True)

    return pulumi.ResourceHookBinding(after_create=[pulumi.ResourceHook("await-leader", wait)])
