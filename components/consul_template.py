"""consul-template, which writes files of templates, and writes them again when the catalog changes."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_docker as docker

from components.child_options import child_options
from components.config_volume import Uploads, uploads
from components.container_arguments import kept_running
from components.interrupted_creation import container_options
from consul_cluster.agent_configuration import consul_template_config
from consul_cluster.cluster_names import STAGING_NAMES, ClusterNames
from consul_cluster.template_files import Template
from docker_engine import OWN_ENGINE, DockerEngine

CONTAINER = "consul-template"
VOLUME = f"{CONTAINER}-files"

# Docker gives a new volume the owner of the image's folder below it. This one is the home of the image's user, who is
# not root: https://github.com/hashicorp/consul-template/blob/v0.41.1/Dockerfile
_WRITTEN = "/home/consul-template"

_FOLDER = "/etc/consul-template"
_CONFIG, _CA = f"{_FOLDER}/config.json", f"{_FOLDER}/ca.pem"


@dataclass(frozen=True)
class ConsulTemplateArgs:
    """Arguments of a `ConsulTemplate`.

    Attributes:
        image: consul-template's, by exact tag.
        network: the Docker network of the agent.
        templates: of the files that it writes.
        token: its ACL token; kept as a secret.
        ca: PEM text of the authority of a secured cluster; None: the cluster is open.
        names: of the cluster.
        engine: that it runs in.
    """

    image: str
    network: pulumi.Input[str]
    templates: Sequence[Template]
    token: pulumi.Input[str] | None = field(default=None, repr=False)
    ca: pulumi.Input[str] | None = None
    names: ClusterNames = STAGING_NAMES
    engine: DockerEngine = OWN_ENGINE


class ConsulTemplate(pulumi.ComponentResource):
    """One consul-template beside the shared agent. Other containers mount its volume, and reload by themselves.

    https://github.com/hashicorp/consul-template
    """

    def __init__(self, name: str, args: ConsulTemplateArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare its image, the volume and its container."""
        super().__init__("consul-staging:docker:ConsulTemplate", name, None, opts)
        child = child_options(self, opts)
        image = docker.RemoteImage(f"{name}-image", name=args.image, keep_locally=True, opts=child)
        volume = docker.Volume(f"{name}-files", name=VOLUME, opts=child)
        written = [f"{_WRITTEN}/{template.destination}" for template in args.templates]
        docker.Container(
            f"{name}-container",
            name=CONTAINER,
            image=image.image_id,
            hostname=CONTAINER,
            command=["consul-template", f"-config={_CONFIG}"],
            networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=args.network)],
            volumes=[docker.ContainerVolumeArgs(container_path=_WRITTEN, volume_name=volume.name)],
            uploads=uploads(_files(args)),
            opts=container_options(child, args.engine, CONTAINER),
            # It is up when it has written all of its files once. It has no API that could be asked.
            **kept_running(["ls", *written]),
        )
        self.register_outputs({})


def _files(args: ConsulTemplateArgs) -> Uploads:
    """Return the configuration and the templates, by path. A change to one of them replaces the container."""
    sources = {f"{_FOLDER}/{template.source}": template for template in args.templates}
    token = pulumi.Output.secret(args.token) if args.token is not None else None
    config = consul_template_config(
        args.names,
        {source: f"{_WRITTEN}/{template.destination}" for source, template in sources.items()},
        token,
        _CA if args.ca is not None else None,
    )
    return {
        _CONFIG: pulumi.Output.json_dumps(config, indent=2),
        **{source: template.content for source, template in sources.items()},
        **({_CA: args.ca} if args.ca is not None else {}),
    }
