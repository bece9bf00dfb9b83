"""What the Consul server's container and the agent's have in common."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_docker as docker

# Leaving the cluster may take 15 s: a container that is killed before stays in the catalog as failed for 72 h.
# https://developer.hashicorp.com/consul/docs/agent/config/config-files#leave_drain_time
GRACE_SECONDS = 30

# Whether the agent answers, not whether it has a server: an agent without one goes on checking, and whoever restarts
# unhealthy containers must leave it alone. No token is needed for it.
_HEALTH = docker.ContainerHealthcheckArgs(
    tests=["CMD", "consul", "info"], interval="5s", timeout="5s", start_period="10s", retries=6
)


@dataclass(frozen=True)
class ConsulContainerArgs:
    """One Consul process in a container.

    Attributes:
        node: name of the container and of Consul's node.
        image: by exact tag, and a digest where there is one; not pulled where it is there.
        network: the Docker network that it joins.
        config: becomes `/consul/config/agent-config.json`; a change to it replaces the container.
        publish: address on the Docker host at which the API is published, and port; None: it is not.
        folders: volumes by the folder in which they are; Consul reads the files there too, and again on reload.
    """

    node: str
    image: str
    network: pulumi.Input[str]
    config: Mapping[str, Any]
    publish: tuple[str, int] | None
    folders: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)


def consul_container(name: str, args: ConsulContainerArgs, parent: pulumi.Resource) -> docker.Container:
    """Declare the image, the volume of `/consul/data` and the container, named from a component's name."""
    opts = pulumi.ResourceOptions(parent=parent)
    image = docker.RemoteImage(f"{name}-image", name=args.image, keep_locally=True, opts=opts)
    volume = docker.Volume(f"{name}-data", name=f"{args.node}-data", opts=opts)
    volumes = {"/consul/data": volume.name, **args.folders}
    ports = (
        [docker.ContainerPortArgs(internal=8500, ip=args.publish[0], external=args.publish[1])] if args.publish else []
    )
    return docker.Container(
        f"{name}-container",
        name=args.node,
        image=image.image_id,
        hostname=args.node,
        command=["agent", *(f"-config-dir={folder}" for folder in args.folders)],
        networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=args.network)],
        ports=ports,
        volumes=[docker.ContainerVolumeArgs(container_path=path, volume_name=name) for path, name in volumes.items()],
        uploads=[
            docker.ContainerUploadArgs(
                file="/consul/config/agent-config.json", content=json.dumps(dict(args.config), indent=2) + "\n"
            )
        ],
        healthcheck=_HEALTH,
        wait=True,
        wait_timeout=60,
        restart="unless-stopped",
        destroy_grace_seconds=GRACE_SECONDS,
        stop_timeout=GRACE_SECONDS,
        log_driver="json-file",
        log_opts={"max-size": "10m", "max-file": "3"},
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(delete_before_replace=True)),
    )
