"""What Prometheus is told to scrape, of each kind of stack."""

from typing import Any

import pytest

from monitoring.monitored_cluster import MonitoredCluster, monitored_cluster
from monitoring.scrape_configuration import scrape_configuration
from settings import Settings
from tests.unit.authorities import AUTHORITY_FILE

OPEN = {"agentAddress": "http://127.0.0.1:8501", "serverAddress": "http://127.0.0.1:8500"}
SECURED = {
    "agentAddress": "https://127.0.0.1:8501",
    "serverAddress": "https://127.0.0.1:8500",
    "server": "created",
    "security": "on",
}
SANDBOX = {
    "agentAddress": "http://127.0.0.2:8500",
    "serverAddress": "http://127.0.0.1:8500",
    "serviceHost": "127.0.0.3",
    "docker": False,
    "sandbox": True,
}
NODES = ("consul-agent-shared", "staging-consul")


def cluster(**config: object) -> MonitoredCluster:
    return monitored_cluster(Settings.model_validate(config))


def jobs(found: MonitoredCluster) -> dict[str, dict[str, Any]]:
    return {each["job_name"]: each for each in scrape_configuration(found)["scrape_configs"]}


@pytest.mark.parametrize(
    ("config", "api", "port", "exporter", "nodes"),
    [
        pytest.param(
            {**OPEN, "server": "created", "security": "off"},
            "staging-consul:8500",
            8500,
            "consul-exporter:9107",
            NODES,
            id="open",
        ),
        pytest.param(SECURED, "staging-consul:8501", 8501, "consul-exporter:9107", NODES, id="secured"),
        pytest.param(OPEN, "consul-agent-shared:8500", 8500, "consul-exporter:9107", NODES[:1], id="existing server"),
        pytest.param(SANDBOX, "127.0.0.1:8500", 8500, "127.0.0.1:9107", NODES, id="without Docker"),
    ],
)
def test_the_consul_of_a_stack_is_reached_here(
    config: dict[str, object], api: str, port: int, exporter: str, nodes: tuple[str, ...]
) -> None:
    found = cluster(**config)
    assert (found.api, found.port, found.exporter, found.nodes) == (api, port, exporter, nodes)


@pytest.mark.parametrize(
    ("config", "scraped"),
    [
        pytest.param({**SECURED, "monitoring": True}, True, id="monitoring"),
        pytest.param(SECURED, False, id="none"),
        pytest.param({**OPEN, "monitoring": True}, False, id="existing server"),
        pytest.param(SANDBOX, False, id="without Docker"),
    ],
)
def test_servers_are_scraped_where_the_stack_has_them_keep_metrics(config: dict[str, object], scraped: bool) -> None:
    assert ("consul-servers" in jobs(cluster(**config))) == scraped


def test_an_open_cluster_is_scraped_over_plain_http() -> None:
    agents = jobs(cluster(**OPEN))["consul-agents"]
    assert "tls_config" not in agents
    assert agents["consul_sd_configs"] == [
        {"server": "consul-agent-shared:8500", "datacenter": "dc1", "scheme": "http"}
    ]
    assert agents["relabel_configs"][0] == {
        "source_labels": ["__meta_consul_node"],
        "regex": r"consul\-agent\-shared",
        "action": "keep",
    }


@pytest.mark.parametrize(("job", "role"), [("consul-agents", "client"), ("consul-servers", "server")])
def test_a_secured_clusters_nodes_are_trusted_by_the_name_that_their_certificates_have(job: str, role: str) -> None:
    found = jobs(cluster(**SECURED, monitoring=True))[job]
    ca, token = "/etc/prometheus/consul-ca.pem", {"credentials_file": "/etc/prometheus/consul-token"}
    assert found["scheme"] == "https"
    assert found["tls_config"] == {"ca_file": ca, "server_name": f"{role}.dc1.consul"}
    assert found["authorization"] == token
    [discovery] = found["consul_sd_configs"]
    assert (discovery["server"], discovery["tls_config"], discovery["authorization"]) == (
        "staging-consul:8501",
        {"ca_file": ca},
        token,
    )


def test_a_given_token_is_sent() -> None:
    found = jobs(cluster(**OPEN, agentToken="5c1b2b5e"))["consul-agents"]
    assert found["authorization"] == {"credentials_file": "/etc/prometheus/consul-token"}


def test_an_agent_that_gets_its_certificate_from_the_servers_has_it_renewed() -> None:
    assert cluster(**OPEN, clusterCaFile=str(AUTHORITY_FILE)).certificates_renewed
    assert not cluster(**OPEN).certificates_renewed
