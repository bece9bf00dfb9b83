"""What the Consul server's container and the agent's have in common."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pulumi
import pulumi_docker as docker

from cluster.agent_configuration import HTTPS_PORT
from cluster.security_stages import CA_FILE, TLS_FOLDER, Stage, stage_config
from components.cluster_keys import ClusterKeys

# Leaving the cluster may take 15 s: a container that is killed before stays in the catalog as failed for 72 h.
# https://developer.hashicorp.com/consul/docs/agent/config/config-files#leave_drain_time
GRACE_SECONDS = 30

CONFIG_FOLDER = "/consul/config"

# What every container here may do: no more than its program needs, which is no right of root's at all.
HARDENED: Mapping[str, Any] = {
    "capabilities": {"drops": ["ALL"]},
    "security_opts": ["no-new-privileges=true"],
    "log_driver": "json-file",
    "log_opts": {"max-size": "10m", "max-file": "3"},
}

# How each Consul process runs.
_RUN: Mapping[str, Any] = {
    "user": "consul",
    "envs": ["CONSUL_DISABLE_PERM_MGMT=true"],  # it is that user already, and may not become another
    "read_only": True,
    # Whether the agent answers, not whether it has a server: an agent without one goes on checking, and whoever
    # restarts unhealthy containers must leave it alone. It needs no token, and within the container plain HTTP is
    # never closed.
    "healthcheck": {
        "tests": ["CMD", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8500/v1/agent/version"],
        "interval": "5s",
        "timeout": "5s",
        "start_period": "10s",
        "retries": 6,
    },
    "wait": True,
    "wait_timeout": 60,
    "restart": "unless-stopped",
    "destroy_grace_seconds": GRACE_SECONDS,
    "stop_timeout": GRACE_SECONDS,
    **HARDENED,
}

Uploads = Mapping[str, pulumi.Input[str]]


@dataclass(frozen=True)
class Secured:
    """What a node of a secured cluster starts with.

    Attributes:
        stage: how far the cluster is secured.
        keys: the cluster's.
        tokens: the node's own, by what Consul does with each (`acl.tokens` in its configuration).
    """

    stage: Stage
    keys: ClusterKeys
    tokens: Mapping[str, pulumi.Input[str]]

    def files(self, node: str) -> Uploads:
        """Return what is secret of a node's configuration, and its certificate, by path."""
        own = self.keys.certificates[node]
        secrets = {"encrypt": self.keys.gossip, "acl": {"tokens": self.tokens}}
        return {
            f"{CONFIG_FOLDER}/secrets.json": pulumi.Output.json_dumps(secrets),
            CA_FILE: self.keys.ca,
            f"{TLS_FOLDER}/certificate.pem": own.certificate,
            f"{TLS_FOLDER}/key.pem": own.key,
        }


@dataclass(frozen=True)
class Publish:
    """Where an API is published.

    Attributes:
        ip: address of the Docker host.
        port: on it.
        https: the API's encrypted port, and not the plain one.
    """

    ip: str
    port: int
    https: bool = False


@dataclass(frozen=True)
class ConsulContainerArgs:
    """One Consul process in a container.

    Attributes:
        node: name of the container and of Consul's node.
        image: by exact tag, and a digest where there is one; not pulled where it is there.
        network: the Docker network that it joins.
        config: becomes `/consul/config/agent-config.json`; a change to it replaces the container.
        publish: where the API is published; None: it is not.
        secured: None: the cluster is open.
        folders: volumes by the folder in which they are; Consul reads the files there too, and again on reload.
    """

    node: str
    image: str
    network: pulumi.Input[str]
    config: Mapping[str, Any]
    publish: Publish | None
    secured: Secured | None = None
    folders: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)

    @property
    def files(self) -> Uploads:
        """Its configuration, by path."""
        config = {**self.config, **(stage_config(self.secured.stage) if self.secured else {})}
        files: Uploads = {f"{CONFIG_FOLDER}/agent-config.json": json.dumps(config, indent=2) + "\n"}
        return {**files, **self.secured.files(self.node)} if self.secured else files

    @property
    def stated(self) -> Mapping[str, Any]:
        """What the container is made of: another one may come in its place where this changes, and nowhere else."""
        return {
            "image": self.image,
            "network": self.network,
            "publish": asdict(self.publish) if self.publish else None,
            "files": self.files,
            "folders": list(self.folders),
            "run": _RUN,
        }


def uploads(files: Uploads) -> list[docker.ContainerUploadArgs]:
    """Return files by path as what a container is given before it starts."""
    return [docker.ContainerUploadArgs(file=file, content=content) for file, content in files.items()]


def consul_container(
    name: str,
    args: ConsulContainerArgs,
    opts: pulumi.ResourceOptions,
    hooks: pulumi.ResourceHookBinding | None = None,
) -> docker.Container:
    """Declare the image, the volumes and the container, named from a component's name.

    A container with a read-only file system takes no uploads: its configuration is carried into a volume by another
    one, which ends at once.
    """
    one_at_a_time = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(delete_before_replace=True))
    image = docker.RemoteImage(f"{name}-image", name=args.image, keep_locally=True, opts=opts)
    data, config = (
        docker.Volume(f"{name}-{kind}", name=f"{args.node}-{kind}", opts=opts) for kind in ("data", "config")
    )
    carried = docker.Container(
        f"{name}-carry",
        name=f"{args.node}-carry",
        image=image.image_id,
        entrypoints=["consul"],
        command=["version"],
        network_mode="none",
        volumes=[docker.ContainerVolumeArgs(container_path=CONFIG_FOLDER, volume_name=config.name)],
        uploads=uploads(args.files),
        must_run=False,
        opts=one_at_a_time,
        **HARDENED,
    )
    volumes = {"/consul/data": data.name, CONFIG_FOLDER: config.name, **args.folders}
    return docker.Container(
        f"{name}-container",
        name=args.node,
        image=image.image_id,
        hostname=args.node,
        command=["agent", *(f"-config-dir={folder}" for folder in args.folders)],
        labels=[docker.ContainerLabelArgs(label="config", value=carried.id)],  # another one starts with it
        networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=args.network)],
        ports=_ports(args.publish),
        volumes=[docker.ContainerVolumeArgs(container_path=path, volume_name=name) for path, name in volumes.items()],
        opts=pulumi.ResourceOptions.merge(one_at_a_time, pulumi.ResourceOptions(hooks=hooks)),
        **_RUN,
    )


def _ports(publish: Publish | None) -> list[docker.ContainerPortArgs]:
    if not publish:
        return []
    internal = HTTPS_PORT if publish.https else 8500
    return [docker.ContainerPortArgs(internal=internal, ip=publish.ip, external=publish.port)]
