"""consul-esm, which runs the checks of services on a node without an agent (`registration: catalog`)."""

import json
from dataclasses import dataclass, field

import pulumi
import pulumi_docker as docker

from services.agent_config import ESM_METRICS, ESM_NODE, esm_config

_CONFIG = "/etc/consul-esm/config.json"


@dataclass(frozen=True)
class ConsulEsmArgs:
    """What a `ConsulEsm` is.

    Attributes:
        image: consul-esm's, by exact tag.
        network: the Docker network of the agent and of the services.
        token: ACL token for it; kept as a secret.
    """

    image: str
    network: pulumi.Input[str]
    token: str | None = field(default=None, repr=False)


class ConsulEsm(pulumi.ComponentResource):
    """One external service monitor beside the shared agent, `consul-esm`.

    https://developer.hashicorp.com/consul/tutorials/connect-services/service-registration-external-services
    """

    def __init__(self, name: str, args: ConsulEsmArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare its image and its container."""
        super().__init__("consul-staging:docker:ConsulEsm", name, None, opts)
        child = pulumi.ResourceOptions(parent=self, delete_before_replace=True)
        image = docker.RemoteImage(f"{name}-image", name=args.image, keep_locally=True, opts=child)
        config = json.dumps(esm_config(args.token), indent=2) + "\n"
        docker.Container(
            f"{name}-container",
            name=ESM_NODE,
            image=image.image_id,
            hostname=ESM_NODE,
            command=["consul-esm", f"-config-file={_CONFIG}"],
            networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=args.network)],
            uploads=[
                docker.ContainerUploadArgs(file=_CONFIG, content=pulumi.Output.secret(config) if args.token else config)
            ],
            healthcheck=docker.ContainerHealthcheckArgs(
                tests=["CMD", "wget", "-q", "-O", "/dev/null", f"http://{ESM_METRICS}/metrics"],
                interval="5s",
                timeout="5s",
                start_period="10s",
                retries=6,
            ),
            wait=True,
            wait_timeout=60,
            restart="unless-stopped",
            destroy_grace_seconds=10,
            log_driver="json-file",
            log_opts={"max-size": "10m", "max-file": "3"},
            opts=child,
        )
        self.register_outputs({})
