"""The container of a Consul process: of the server, and of the shared agent."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_docker as docker

from components.config_volume import CONFIG_FOLDER, ConfigVolume, Uploads, config_volume
from components.container_arguments import http_check, kept_running, published
from components.interrupted_creation import container_options
from components.joined_cluster import JoinedCluster
from consul_cluster.agent_configuration import HTTPS_PORT
from consul_cluster.fingerprint import fingerprint
from consul_cluster.security_stages import CA_FILE, CERTIFICATE_FILE, KEY_FILE, Stage, stage_config
from docker_engine import OWN_ENGINE, DockerEngine
from docker_hosts import Publish

if TYPE_CHECKING:
    from components.cluster_keys import ClusterKeys

# An agent takes up to 15 s to leave the cluster. The catalog keeps a node that was killed before as failed for 72 h.
# https://developer.hashicorp.com/consul/docs/agent/config/config-files#leave_drain_time
GRACE_SECONDS = 30

# It has its user already, and no right to become another.
_ENVS = ["CONSUL_DISABLE_PERM_MGMT=true"]

# How each Consul process runs.
_RUN: Mapping[str, Any] = {
    "user": "consul",
    "read_only": True,
    "stop_timeout": GRACE_SECONDS,
    # The check asks whether the process answers, not whether it has a server: an agent without a server still checks
    # its services, and a tool that restarts unhealthy containers must not stop it. The request needs no token, and
    # inside the container plain HTTP always stays open.
    **kept_running(http_check("http://127.0.0.1:8500/v1/agent/version"), GRACE_SECONDS),
}


@dataclass(frozen=True)
class Secured:
    """The security configuration of a node in a cluster that the stack secures.

    Attributes:
        stage: the stage of the cluster.
        keys: the keys of the cluster.
        tokens: the node's own, by their use (`acl.tokens` in Consul's configuration).
    """

    stage: Stage
    keys: "ClusterKeys"
    tokens: Mapping[str, pulumi.Input[str]]

    @property
    def config(self) -> Mapping[str, Any]:
        """The part of a node's configuration that contains no secret."""
        return stage_config(self.stage)

    def files(self, container: str) -> Uploads:
        """Return the secret part of a node's configuration, and its certificate, by path."""
        own = self.keys.certificates[container]
        secrets = {"encrypt": self.keys.gossip, "acl": {"tokens": self.tokens}}
        return {
            f"{CONFIG_FOLDER}/secrets.json": pulumi.Output.json_dumps(secrets),
            CA_FILE: self.keys.ca,
            CERTIFICATE_FILE: own.certificate,
            KEY_FILE: own.key,
        }


@dataclass(frozen=True)
class ConsulContainerArgs:
    """Arguments of `consul_container`.

    Attributes:
        container: name of the container, and its host name.
        image: by exact tag, with a digest if it has one; pulled only if the engine does not have it.
        network: the Docker network that it joins.
        config: becomes `/consul/config/agent-config.json`; a change to it replaces the container.
        publish: where the API is published; None: it is not.
        secured: None: the cluster is open.
        folders: more volumes, by the folder where they are mounted; Consul reads their files too, and again on reload.
        envs: more environment variables, `NAME=value`. A container that was deployed without them keeps its own.
        alias: a second name on the network, which other containers may have too; None: it has its own alone.
        engine: that it runs in.
        waits_for_health: Pulumi waits for Docker's health check, which first runs 5 s after the start; False: a hook
            waits for the API. A container that was deployed otherwise keeps its own.
    """

    container: str
    image: str
    network: pulumi.Input[str]
    config: Mapping[str, Any]
    publish: Publish | None
    secured: Secured | JoinedCluster | None = None
    folders: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    envs: Sequence[str] = ()
    alias: str | None = None
    engine: DockerEngine = OWN_ENGINE
    waits_for_health: bool = True

    @property
    def files(self) -> Uploads:
        """The configuration files, by path."""
        config = {**self.config, **(self.secured.config if self.secured else {})}
        files: Uploads = {f"{CONFIG_FOLDER}/agent-config.json": json.dumps(config, indent=2) + "\n"}
        return {**files, **self.secured.files(self.container)} if self.secured else files

    @property
    def stated(self) -> Mapping[str, Any]:
        """What the program states of the container. Nothing replaces the container unless this changes."""
        return {
            "image": self.image,
            "network": self.network,
            "publish": asdict(self.publish) if self.publish else None,
            "files": self.files,
            "folders": list(self.folders),
            "run": {"envs": _ENVS, **_RUN},
        }

    @property
    def stated_fingerprint(self) -> pulumi.Output[str]:
        """What names all of that in a state, which has to contain no secret."""
        return pulumi.Output.json_dumps(self.stated, sort_keys=True).apply(fingerprint)


@dataclass(frozen=True)
class Prepared:
    """What a container needs, and what can fail before it is replaced.

    Attributes:
        image: its image.
        data: volume with its data.
        config: volume with its configuration.
    """

    image: docker.RemoteImage
    data: docker.Volume
    config: ConfigVolume

    @property
    def resources(self) -> list[pulumi.Resource]:
        """All of it."""
        return [self.image, self.data, self.config.volume, self.config.writer]


def prepare(name: str, args: ConsulContainerArgs, opts: pulumi.ResourceOptions) -> Prepared:
    """Declare the image and the volumes. Their names begin with the given name."""
    image = docker.RemoteImage(f"{name}-image", name=args.image, keep_locally=True, opts=opts)
    data = docker.Volume(f"{name}-data", name=f"{args.container}-data", opts=opts)
    config = config_volume(name, args.container, image.image_id, args.files, opts, engine=args.engine)
    return Prepared(image, data, config)


def consul_container(
    name: str,
    args: ConsulContainerArgs,
    prepared: Prepared,
    opts: pulumi.ResourceOptions,
    hooks: pulumi.ResourceHookBinding | None = None,
) -> docker.Container:
    """Declare the container. Its name begins with the given name."""
    config = prepared.config
    volumes = {"/consul/data": prepared.data.name, CONFIG_FOLDER: config.volume.name, **args.folders}
    return docker.Container(
        f"{name}-container",
        name=args.container,
        image=prepared.image.image_id,
        hostname=args.container,
        envs=[*_ENVS, *args.envs],
        command=["agent", *(f"-config-dir={folder}" for folder in args.folders)],
        labels=[docker.ContainerLabelArgs(label="config", value=config.writer.id)],  # other files replace the container
        networks_advanced=[
            docker.ContainerNetworksAdvancedArgs(name=args.network, aliases=[args.alias] if args.alias else None)
        ],
        ports=published(args.publish, HTTPS_PORT if args.publish and args.publish.https else 8500),
        volumes=[docker.ContainerVolumeArgs(container_path=path, volume_name=name) for path, name in volumes.items()],
        opts=pulumi.ResourceOptions.merge(
            container_options(opts, args.engine, args.container),
            pulumi.ResourceOptions(ignore_changes=["envs", "wait"], hooks=hooks),
        ),
        **{**_RUN, "wait": args.waits_for_health},
    )
