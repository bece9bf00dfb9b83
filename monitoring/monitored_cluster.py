"""How Prometheus and consul_exporter reach the Consul of a stack."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from consul_cluster.agent_configuration import HTTPS_PORT
from consul_cluster.cluster_names import ClusterNames
from settings import Settings

EXPORTER_PORT = 9107
"""https://github.com/prometheus/prometheus/wiki/Default-port-allocations"""

EXPORTER_CONTAINER, PROMETHEUS_CONTAINER = "consul-exporter", "consul-prometheus"

FOLDER = "/etc/prometheus"
"""Where Prometheus reads its files."""

CA_FILE, TOKEN_FILE = f"{FOLDER}/consul-ca.pem", f"{FOLDER}/consul-token"

_HTTP_PORT = 8500


@dataclass(frozen=True)
class MonitoredCluster:
    """The Consul of a stack, as Prometheus and consul_exporter reach it.

    Attributes:
        names: of the cluster.
        api: `host:port` of the API that is asked for nodes, services and checks.
        port: of the API of each node, at the address that the catalog has of the node.
        exporter: `host:port` of consul_exporter.
        https: the APIs are HTTPS, by the stack's own authority.
        token: the APIs want an access token.
        server_metrics: the servers keep metrics for Prometheus.
        nodes: the nodes of Consul that the stack states: those that it runs.
        certificates_renewed: Consul itself renews its nodes' certificates, days before they end.
    """

    names: ClusterNames
    api: str
    port: int
    exporter: str
    https: bool = False
    token: bool = False
    server_metrics: bool = False
    nodes: tuple[str, ...] = ()
    certificates_renewed: bool = False

    @property
    def scheme(self) -> str:
        """Of the APIs."""
        return "https" if self.https else "http"


def monitored_cluster(settings: Settings) -> MonitoredCluster:
    """Return how the Consul of a stack is reached: by the containers' names where it has some, else from this machine.

    A server that others deployed is asked through the stack's agent: which ports and which authority it has on the
    network is theirs.
    """
    names = settings.names
    if not settings.docker:
        port = urlsplit(settings.agent_address or settings.server_address).port or _HTTP_PORT
        server = urlsplit(settings.server_address)
        return MonitoredCluster(
            names,
            server.netloc,
            port,
            f"127.0.0.1:{EXPORTER_PORT}",
            https=server.scheme == "https",
            nodes=(names.agent_node, names.server_node),
        )
    created, secured = settings.server == "created", settings.stage != "off"
    port = HTTPS_PORT if secured else _HTTP_PORT
    return MonitoredCluster(
        names,
        f"{names.server_container if created else names.agent_container}:{port}",
        port,
        f"{EXPORTER_CONTAINER}:{EXPORTER_PORT}",
        https=secured,
        token=secured or settings.agent_token is not None,
        server_metrics=created and settings.monitoring,
        nodes=(names.agent_node, names.server_node) if created else (names.agent_node,),
        certificates_renewed=settings.cluster_ca_file is not None and settings.agent_certificate_file is None,
    )
