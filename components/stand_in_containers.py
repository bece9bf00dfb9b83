"""Stand-ins: containers that replace the platform's services, to try the whole of staging on a laptop."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_docker as docker

from components.container_arguments import HARDENED
from components.interrupted_creation import container_options
from docker_engine import OWN_ENGINE, DockerEngine
from services.roster import Roster

_CONTEXT = "components/stand_in_image"  # relative, so that the state does not contain the path of a clone


def image_name() -> str:
    """Return the image's name. Its tag is a hash of the files: an edited Dockerfile replaces the containers too."""
    folder = Path(__file__).with_name("stand_in_image")
    content = b"".join(path.name.encode() + path.read_bytes() for path in sorted(folder.iterdir()))
    return f"consul-staging/standin:{hashlib.sha256(content).hexdigest()[:12]}"


@dataclass(frozen=True)
class StandInsArgs:
    """Arguments of `StandIns`.

    Attributes:
        roster: each of its services gets a container.
        network: the Docker network that they join.
        engine: that they run in.
    """

    roster: Roster
    network: pulumi.Input[str]
    engine: DockerEngine = OWN_ENGINE


class StandIns(pulumi.ComponentResource):
    """One small container for each service, or for all that share one, under the service's own container name."""

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
        for service in {service.container: service for service in args.roster.services}.values():
            docker.Container(
                f"{name}-{service.container}",
                name=service.container,
                image=image.image_name,
                # It passes TCP checks too, which only need a connection.
                command=["httpd", "-f", "-p", str(service.port), "-h", "/www"],
                networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=args.network)],
                restart="unless-stopped",
                read_only=True,
                user="65534:65534",  # nobody
                opts=container_options(pulumi.ResourceOptions(parent=self), args.engine, service.container),
                **HARDENED,
            )
        self.register_outputs({})
