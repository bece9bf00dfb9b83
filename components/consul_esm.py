"""consul-esm, which runs the checks of services on a node without an agent (`registration: catalog`)."""

from dataclasses import dataclass, field

import pulumi
import pulumi_docker as docker

from components.config_volume import uploads
from components.container_arguments import http_check, kept_running
from components.interrupted_creation import container_options
from consul_cluster.agent_configuration import ESM_METRICS, ESM_NODE, esm_config
from consul_cluster.cluster_names import STAGING_NAMES, ClusterNames
from docker_engine import OWN_ENGINE, DockerEngine

_FOLDER = "/etc/consul-esm"
_CONFIG, _CA = f"{_FOLDER}/config.json", f"{_FOLDER}/ca.pem"


@dataclass(frozen=True)
class ConsulEsmArgs:
    """Arguments of a `ConsulEsm`.

    Attributes:
        image: consul-esm's, by exact tag.
        network: the Docker network of the agent and of the services.
        token: its ACL token; kept as a secret.
        ca: PEM text of the authority of a secured cluster; None: the cluster is open.
        names: of the cluster.
        engine: that it runs in.
    """

    image: str
    network: pulumi.Input[str]
    token: pulumi.Input[str] | None = field(default=None, repr=False)
    ca: pulumi.Input[str] | None = None
    names: ClusterNames = STAGING_NAMES
    engine: DockerEngine = OWN_ENGINE


class ConsulEsm(pulumi.ComponentResource):
    """One external service monitor beside the shared agent, `consul-esm`.

    https://developer.hashicorp.com/consul/tutorials/connect-services/service-registration-external-services
    """

    def __init__(self, name: str, args: ConsulEsmArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare its image and its container."""
        super().__init__("consul-staging:docker:ConsulEsm", name, None, opts)
        child = pulumi.ResourceOptions(parent=self, delete_before_replace=True)
        image = docker.RemoteImage(f"{name}-image", name=args.image, keep_locally=True, opts=child)
        token = pulumi.Output.secret(args.token) if args.token is not None else None
        config = esm_config(args.names, token, _CA if args.ca is not None else None)
        files = {_CONFIG: pulumi.Output.json_dumps(config, indent=2), **({_CA: args.ca} if args.ca is not None else {})}
        docker.Container(
            f"{name}-container",
            name=ESM_NODE,
            image=image.image_id,
            hostname=ESM_NODE,
            command=["consul-esm", f"-config-file={_CONFIG}"],
            networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=args.network)],
            uploads=uploads(files),
            opts=container_options(child, args.engine, ESM_NODE),
            **kept_running(http_check(f"http://{ESM_METRICS}/metrics")),
        )
        self.register_outputs({})
