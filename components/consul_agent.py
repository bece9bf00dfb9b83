"""The shared Consul client agent, which runs the checks of all services."""

from dataclasses import dataclass

import pulumi
import pulumi_docker as docker

from components.child_options import after, child_options
from components.consul_container import ConsulContainerArgs, Secured, consul_container, prepare
from components.joined_cluster import JoinedCluster
from components.registration.draining import Draining
from components.resource_hooks import await_api
from consul_cluster.agent_configuration import agent_config, bind_address
from consul_cluster.cluster_names import STAGING_NAMES, ClusterNames
from docker_engine import OWN_ENGINE, DockerEngine
from docker_hosts import Publish

FILES_FOLDER = "/consul/config/services"
"""Where the agent reads its definition files."""


@dataclass(frozen=True)
class ConsulAgentArgs:
    """Arguments of a `ConsulAgent`.

    Attributes:
        image: Consul's, by exact tag.
        network: the Docker network of the server and of the services.
        publish: where its API is published; None: it is not.
        secured: its keys in a cluster that the stack or others secured; None: the cluster is open.
        draining: keeps the services in the catalog while the container is replaced; None: they are removed with it.
        hooks: of the container.
        names: of the cluster.
        engine: that the container runs in.
    """

    image: str
    network: pulumi.Input[str]
    publish: Publish | None
    secured: Secured | JoinedCluster | None = None
    draining: Draining | None = None
    hooks: pulumi.ResourceHookBinding | None = None
    names: ClusterNames = STAGING_NAMES
    engine: DockerEngine = OWN_ENGINE


class ConsulAgent(pulumi.ComponentResource):
    """The shared client agent, which joins the server and runs the checks of every service.

    Attributes:
        node: name of its container.
        container: id of its container. It changes when the container is replaced.
        image: id of its image.
        files: name of the volume whose files it reads again on reload.
    """

    node: pulumi.Output[str]
    container: pulumi.Output[str]
    image: pulumi.Output[str]
    files: pulumi.Output[str]

    def __init__(self, name: str, args: ConsulAgentArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the agent's container. Pulumi waits until the agent answers."""
        super().__init__("consul-staging:docker:ConsulAgent", name, None, opts)
        child = child_options(self, opts)
        names = args.names
        files = docker.Volume(f"{name}-files", name=f"{names.agent_container}-files", opts=child)
        consul = ConsulContainerArgs(
            names.agent_container,
            args.image,
            args.network,
            agent_config(names, names.retry_join, bind_address(names)),
            args.publish,
            args.secured,
            {FILES_FOLDER: files.name},
            engine=args.engine,
            waits_for_health=not args.draining,
        )
        prepared = prepare(name, consul, child)
        hooks = args.hooks
        if args.draining:
            hooks = pulumi.ResourceHookBinding.merge(hooks, await_api(args.draining.agent, names.agent_container))
            drained = args.draining.drain_before(name, consul, after(child, prepared.resources))
            child = after(child, [drained])
        container = consul_container(name, consul, prepared, child, hooks)
        if args.draining:
            args.draining.return_after(name, consul, after(child, [container]))
        self.node, self.container, self.image, self.files = container.name, container.id, container.image, files.name
        self.register_outputs({"node": self.node})
