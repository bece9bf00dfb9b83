"""A stack over three Docker hosts, as the program declares it."""

import json
from collections import Counter
from functools import cache

import pytest

from tests.deployed_states import plain
from tests.unit.pulumi_mocks import Deployed, Docker, on_docker, run_main

SERVER, AGENT = "docker:index/container:Container", "consul-staging:docker:ConsulAgent"
SERVICES = {"h1": ["ai", "grpc"], "h2": ["user"], "h3": ["billing_service"]}
HOSTS = ("h1", "h2", "h3")


@cache
def program(servers: tuple[str, ...] = HOSTS, registration: str = "agent") -> tuple[Deployed, Docker]:
    hosts = {
        name: {
            "engine": f"unix:///run/{name}.sock",
            "address": f"10.0.0.{number}",
            "server": name in servers,
            "services": SERVICES[name],
        }
        for number, name in enumerate(HOSTS, 1)
    }
    config = {
        "agentAddress": "https://10.0.0.1:8501",
        "serverAddress": "https://10.0.0.1:8500",
        "server": "created",
        "network": "created",
        "standIns": "true",
        "registration": registration,
        "hosts": json.dumps(hosts),
    }
    return on_docker(run_main, config)


@pytest.fixture(name="deployed")
def _deployed() -> Deployed:
    return program()[0]


def config_of(deployed: Deployed, container: str) -> dict[str, object]:
    files = {each["file"]: each["content"] for each in plain(deployed.sent(f"{container}-carry"))["uploads"]}
    return dict(json.loads(files["/consul/config/agent-config.json"]))


def test_each_resource_of_a_host_is_on_the_engine_of_that_host(deployed: Deployed) -> None:
    found = Counter[str]()
    for name, request in deployed.requests.items():
        if request.type.startswith("docker:") and (host := next((each for each in HOSTS if f"-{each}" in name), None)):
            assert f"::docker-{host}::" in request.provider, name
            found[host] += 1
    assert min(found[host] for host in HOSTS) > 10


def test_each_service_is_registered_once_with_the_agent_of_its_host(deployed: Deployed) -> None:
    agents = {
        each["service_id"]: each["agent"]
        for name in deployed.requests
        if name.startswith("registration-") and "service_id" in (each := deployed.inputs(name))
    }
    assert Counter(agents.values()) == {
        "https://10.0.0.1:8501": 12,
        "https://10.0.0.2:8501": 27,
        "https://10.0.0.3:8501": 1,
    }
    assert agents["billing_service"] == "https://10.0.0.3:8501"


def test_a_service_is_forgotten_only_where_the_engine_of_its_host_answers(deployed: Deployed) -> None:
    engine = deployed.inputs("registration-h3-billing_service")["engine"]
    assert engine == {"host": "unix:///run/h3.sock"}


def test_of_three_servers_the_first_hosts_is_the_last_to_be_replaced(deployed: Deployed) -> None:
    assert "server-h3-rejoined" in deployed.waits_for("server-h2-container")
    assert "server-h2-rejoined" in deployed.waits_for("server-h1-container")
    assert not any(each.startswith("server-h1") for each in deployed.waits_for("server-h3-container"))


def test_the_last_server_alone_is_waited_for_until_there_is_a_leader(deployed: Deployed) -> None:
    bound = {host: deployed.bound(f"server-{host}-container").get("after_create") for host in HOSTS}
    assert bound == {"h1": ["await-leader"], "h2": None, "h3": None}


@pytest.mark.parametrize(("servers", "count"), [(HOSTS, 3), (("h1",), 1)])
def test_the_servers_expect_one_another_and_leave_when_they_stop(servers: tuple[str, ...], count: int) -> None:
    found = config_of(program(servers)[0], "server-h1")
    assert (found["bootstrap_expect"], found["retry_join"], found["leave_on_terminate"]) == (
        count,
        ["staging-consul"],
        True,
    )


def test_all_servers_share_a_name_on_the_network_by_which_every_node_joins(deployed: Deployed) -> None:
    aliases = [deployed.inputs(f"server-{host}-container")["networksAdvanced"][0]["aliases"] for host in HOSTS]
    assert aliases == [["staging-consul"]] * 3
    assert [config_of(deployed, f"agent-{host}")["retry_join"] for host in HOSTS] == [["staging-consul"]] * 3


@pytest.mark.parametrize("node", ["server-h1", "agent-h2"])
def test_the_clusters_own_traffic_is_on_the_overlay_network(deployed: Deployed, node: str) -> None:
    assert config_of(deployed, node)["bind_addr"] == '{{ GetInterfaceIP "eth0" }}'


def test_the_network_spans_the_hosts_and_takes_any_container(deployed: Deployed) -> None:
    network = deployed.inputs("network-network")
    assert (network["driver"], network["attachable"]) == ("overlay", True)


def test_a_certificate_names_the_address_of_its_own_host(deployed: Deployed) -> None:
    addresses = {
        node: deployed.inputs(f"keys-{node}-request")["ipAddresses"]
        for node in ("staging-consul-h1", "consul-agent-h3")
    }
    assert addresses == {
        "staging-consul-h1": ["10.0.0.1", "127.0.0.1"],
        "consul-agent-h3": ["10.0.0.3", "127.0.0.1"],
    }


def test_the_agents_token_may_write_the_node_of_every_agent(deployed: Deployed) -> None:
    rules = json.loads(deployed.inputs("acl-agent-policy")["rules"])
    assert set(rules["node"]) == {f"consul-agent-{host}" for host in HOSTS}


def test_the_files_of_a_host_have_its_services_alone() -> None:
    uploads = plain(program(registration="files")[0].sent("files-h3-reload"))["uploads"]
    files = {each["file"].rpartition("/")[2]: each["content"] for each in uploads}
    assert [each["id"] for each in json.loads(files["user-services.json"])["services"]] == ["billing_service"]
    assert json.loads(files["ai-services.json"])["services"] == []


def test_before_anything_is_changed_each_host_is_looked_at() -> None:
    expected = program()[1].expected
    assert [(each.host, each.engine.host, each.own_server) for each in expected] == [
        (host, f"unix:///run/{host}.sock", f"staging-consul-{host}") for host in HOSTS
    ]
