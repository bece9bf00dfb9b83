"""Registrations from definition files in the agent's container: the agent reads them on reload.

They need only Docker, so they work also if the machine that runs Pulumi cannot reach the agent's API.
"""

import json
from contextlib import suppress
from dataclasses import dataclass, field

import pulumi
import pulumi_docker as docker
from docker.errors import DockerException
from requests.exceptions import RequestException

from components.child_options import child_options
from components.config_volume import Uploads, uploads
from components.consul_agent import FILES_FOLDER, ConsulAgent
from components.container_arguments import HARDENED
from components.interrupted_creation import container_options, is_half_made
from components.registration.switching import stack_owner_prefix
from consul_cluster.agent_configuration import HTTPS_PORT, reloadable_config
from consul_cluster.cluster_names import STAGING_NAMES, ClusterNames
from consul_cluster.ownership import DEFINITION_FILES, roster_with_owner
from docker_engine import OWN_ENGINE, DockerEngine, docker_client
from services.consul_definition import definition_files
from services.roster import Roster

_TOKEN, _CA = "/reload/token", "/reload/ca.pem"


@dataclass(frozen=True)
class FilesRegistrationArgs:
    """Arguments of a `FilesRegistration`.

    Attributes:
        roster: the services in the files; none if the stack registers its services otherwise.
        agent: reads the files.
        network: the Docker network of the agent.
        token: ACL token with `agent:write`, where the cluster asks for one; kept as a secret.
        ca: PEM text of the cluster's authority; None: the agent answers plain HTTP on the network.
        hooks: of the container: they move the services from another registration of the stack.
        names: of the cluster.
        engine: that the container runs in.
    """

    roster: Roster
    agent: ConsulAgent
    network: pulumi.Input[str]
    token: pulumi.Input[str] | None = field(default=None, repr=False)
    ca: pulumi.Input[str] | None = None
    hooks: pulumi.ResourceHookBinding | None = None
    names: ClusterNames = STAGING_NAMES
    engine: DockerEngine = OWN_ENGINE


class FilesRegistration(pulumi.ComponentResource):
    """The files that the agent reads again on reload: the three definition files, and a part of its configuration.

    One short-lived container writes the files into the agent's volume and makes the agent reload. A change to a file
    replaces that container, not the agent's. It always writes all the files: an old one would stay in the volume.
    """

    def __init__(self, name: str, args: FilesRegistrationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the container. Pulumi waits until the agent has reloaded, and fails if it rejected the files."""
        super().__init__("consul-staging:registration:FilesRegistration", name, None, opts)
        definitions = definition_files(roster_with_owner(args.roster, stack_owner_prefix() + DEFINITION_FILES))
        files: Uploads = {
            f"{FILES_FOLDER}/{file}": json.dumps(content, indent=2) + "\n"
            for file, content in {"agent-reloaded.json": reloadable_config(), **definitions}.items()
        }
        agent = args.names.agent_container
        api, options = f"http://{agent}:8500", list[str]()
        if args.token is not None:
            options = [f"-token-file={_TOKEN}"]
            files = {**files, _TOKEN: pulumi.Output.secret(args.token)}
        if args.ca is not None:
            api, options = f"https://{agent}:{HTTPS_PORT}", [*options, f"-ca-file={_CA}"]
            files = {**files, _CA: args.ca}
        reload = pulumi.ResourceHookBinding(after_create=[_refuse_failed_reload(name, agent, args.engine)])
        hooks = pulumi.ResourceHookBinding.merge(args.hooks, reload)
        docker.Container(
            f"{name}-reload",
            name=args.agent.node.apply(lambda node: f"{node}-reload"),
            image=args.agent.image,
            user="consul",
            entrypoints=["consul"],
            command=["reload", f"-http-addr={api}", *options],
            labels=[
                # Another agent's container replaces this one, so that the new agent reloads too.
                docker.ContainerLabelArgs(label="agent", value=args.agent.container),
                docker.ContainerLabelArgs(label="purpose", value=f"makes {agent} read its files again, then ends"),
            ],
            networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=args.network)],
            volumes=[docker.ContainerVolumeArgs(container_path=FILES_FOLDER, volume_name=args.agent.files)],
            uploads=uploads(files),
            attach=True,
            logs=True,
            must_run=is_half_made(f"{agent}-reload", args.engine),
            opts=pulumi.ResourceOptions.merge(
                container_options(child_options(self, opts), args.engine, f"{agent}-reload"),
                pulumi.ResourceOptions(hooks=hooks),
            ),
            **HARDENED,
        )
        self.register_outputs({})


def _refuse_failed_reload(name: str, agent: str, engine: DockerEngine) -> pulumi.ResourceHook:
    """Return the hook that fails if the agent did not reload. It removes the container, so that the next run tries."""

    def refuse(args: pulumi.ResourceHookArgs) -> None:
        outputs = args.new_outputs or {}
        if not outputs.get("exitCode"):
            return
        with suppress(DockerException, RequestException):
            docker_client(engine).containers.get(outputs["name"]).remove(v=True)
        raise pulumi.RunError(
            f"the agent did not reload its files: {outputs['containerLogs'].strip()}. Its own log says why: "
            f"docker logs {agent}"
        )

    return pulumi.ResourceHook(f"{name}-refuse-failed-reload", refuse)
