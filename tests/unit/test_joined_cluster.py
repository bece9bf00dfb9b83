import json
from typing import Any

import pytest

from components.consul_agent import ConsulAgent, ConsulAgentArgs
from components.joined_cluster import JoinedCluster
from consul_cluster.client import Right
from consul_cluster.cluster_names import STAGING_NAMES
from consul_cluster.joining import node_rights, registration_rights
from docker_hosts import Publish
from tests.forty_services import forty_roster
from tests.unit.pulumi_mocks import NETWORK, Deployed, on_docker, secret

CA, CERTIFICATE, KEY = "the authority", "the certificate", "the private key"
GOSSIP_KEY = "b25lLWdvc3NpcC1rZXktb2YtMzItYnl0ZXMtaW4tYWw="
TOKENS = {"agent": "the-nodes-token", "registration": "the-services-token"}


def agent(joined: JoinedCluster) -> Deployed:
    args = ConsulAgentArgs("hashicorp/consul:1.17.2", NETWORK, Publish("127.0.0.1", 8501), joined)
    return on_docker(lambda: ConsulAgent("agent", args))[0]


def files(joined: JoinedCluster) -> dict[str, Any]:
    uploads = agent(joined).inputs("agent-carry")["uploads"]
    listed = uploads["value"] if is_secret(uploads) else uploads
    return {each["file"].removeprefix("/consul/config/"): each["content"] for each in listed}


def is_secret(uploads: object) -> bool:
    return isinstance(uploads, dict) and uploads == secret(uploads["value"])


def config(joined: JoinedCluster) -> dict[str, Any]:
    return dict(json.loads(files(joined)["agent-config.json"]))


def test_an_agent_with_an_authority_gets_its_certificate_from_the_server() -> None:
    found = config(JoinedCluster(ca=CA))
    assert found["auto_encrypt"] == {"tls": True}
    assert found["tls"] == {
        "defaults": {"ca_file": "/consul/config/tls/ca.pem", "verify_outgoing": True},
        "internal_rpc": {"verify_server_hostname": True},
    }
    assert files(JoinedCluster(ca=CA))["tls/ca.pem"] == CA


def test_an_agent_with_a_certificate_of_its_own_uses_that_and_has_an_https_port() -> None:
    joined = JoinedCluster(ca=CA, certificate=CERTIFICATE, certificate_key=KEY)
    found = config(joined)
    assert "auto_encrypt" not in found
    assert found["ports"] == {"https": 8501}
    assert found["tls"]["defaults"] == {
        "ca_file": "/consul/config/tls/ca.pem",
        "cert_file": "/consul/config/tls/certificate.pem",
        "key_file": "/consul/config/tls/key.pem",
        "verify_outgoing": True,
    }
    assert files(joined)["tls/certificate.pem"] == CERTIFICATE
    assert files(joined)["tls/key.pem"] == KEY


def test_the_gossip_key_and_the_tokens_are_secret() -> None:
    joined = JoinedCluster(gossip_key=GOSSIP_KEY, tokens=TOKENS)
    tokens = {"agent": "the-nodes-token", "config_file_service_registration": "the-services-token"}
    assert json.loads(files(joined)["secrets.json"]) == {"encrypt": GOSSIP_KEY, "acl": {"tokens": tokens}}
    assert is_secret(agent(joined).inputs("agent-carry")["uploads"])


def test_the_private_key_is_secret() -> None:
    joined = JoinedCluster(ca=CA, certificate=CERTIFICATE, certificate_key=KEY)
    assert is_secret(agent(joined).inputs("agent-carry")["uploads"])


def test_an_agent_with_a_token_asks_for_tokens() -> None:
    found = config(JoinedCluster(tokens={"agent": "the-nodes-token"}))
    assert (found["acl"]["enabled"], found["acl"]["default_policy"]) == (True, "deny")


@pytest.mark.parametrize("joined", [JoinedCluster(gossip_key=GOSSIP_KEY), JoinedCluster(ca=CA)], ids=["gossip", "tls"])
def test_a_cluster_that_is_secured_in_part_is_joined_with_that_part_alone(joined: JoinedCluster) -> None:
    assert "acl" not in config(joined)
    assert set(files(joined)) == {"agent-config.json", "tls/ca.pem" if joined.ca else "secrets.json"}


def test_the_agents_token_keeps_the_node_and_reads_services() -> None:
    assert node_rights(STAGING_NAMES) == [
        Right("node", "consul-agent-shared", "write"),
        Right("agent", "consul-agent-shared", "write"),
        Right("service", "", "read"),
    ]


@pytest.mark.parametrize(
    ("registration", "more"),
    [
        ("agent", {Right("node", "consul-agent-shared", "read")}),
        ("files", set()),
        (
            "catalog",
            {
                Right("node", "consul-agent-shared", "read"),
                Right("node", "staging-external", "write"),
                Right("agent", "consul-agent-shared", "read"),
                Right("service", "consul-esm", "write"),
                Right("session", "consul-agent-shared", "write"),
                Right("key", "consul-esm/", "write"),
            },
        ),
    ],
)
def test_the_token_of_the_registrations_writes_each_service_and_has_no_right_more_than_its_registration_needs(
    registration: str, more: set[Right]
) -> None:
    services = {Right("service", service.name, "write") for service in forty_roster().services}
    found = registration_rights(registration, forty_roster(), STAGING_NAMES, "staging-external")
    assert set(found) == services | more
