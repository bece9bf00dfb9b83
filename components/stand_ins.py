"""Containers that stand in for the platform's services, so that the whole of staging can be tried on a laptop."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_docker as docker

from components.hardening import HARDENED
from services.roster import Roster

_CONTEXT = "components/standin"  # below the project, in which Pulumi runs: no clone's own path is in the state


def image_name() -> str:
    """Return the image's name, whose tag is of its content: an edited Dockerfile makes new containers too."""
    folder = Path(__file__).with_name("standin")
    content = b"".join(path.name.encode() + path.read_bytes() for path in sorted(folder.iterdir()))
    return f"consul-staging/standin:{hashlib.sha256(content).hexdigest()[:12]}"


@dataclass(frozen=True)
class StandInsArgs:
    """What is stood in for, and where.

    Attributes:
        roster: a container is made for each of its services.
        network: the Docker network that they join.
    """

    roster: Roster
    network: pulumi.Input[str]


class StandIns(pulumi.ComponentResource):
    """One small container for each service, under the service's own container name."""

    def __init__(self, name: str, args: StandInsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the image that they share, and the containers."""
        super().__init__("consul-staging:docker:StandIns", name, None, opts)
        image = docker.Image(
            f"{name}-image",
            image_name=image_name(),
            build=docker.DockerBuildArgs(context=_CONTEXT, dockerfile=f"{_CONTEXT}/Dockerfile"),
            skip_push=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        for service in args.roster.services:
            docker.Container(
                f"{name}-{service.container}",
                name=service.container,
                image=image.image_name,
                # A TCP check needs no more of it than that it accepts a connection.
                command=["httpd", "-f", "-p", str(service.port), "-h", "/www"],
                networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=args.network)],
                restart="unless-stopped",
                read_only=True,
                user="65534:65534",  # nobody
                opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
                **HARDENED,
            )
        self.register_outputs({})
