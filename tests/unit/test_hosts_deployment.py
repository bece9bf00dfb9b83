"""A stack over three Docker hosts, as the program declares it."""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import cache

import pytest

from components.consul_connection import Connection
from components.registration.moving import HostAgent, Moving
from docker_hosts import Publish
from tests.deployed_states import plain
from tests.unit.pulumi_mocks import Deployed, Docker, on_docker, run_main
from tests.unit.pulumi_mocks import program as stack_program

AGENT, SERVICE = "consul-staging:docker:ConsulAgent", "pulumi-python:dynamic/consul:AgentService"
SERVICES = {"h1": ["ai", "grpc"], "h2": ["user"], "h3": ["billing_service"]}
HOSTS = ("h1", "h2", "h3")
STACK = {
    "agentAddress": "https://10.0.0.1:8501",
    "serverAddress": "https://10.0.0.1:8500",
    "server": "created",
    "network": "created",
    "standIns": "true",
}


def program(servers: tuple[str, ...] = HOSTS, registration: str = "agent") -> tuple[Deployed, Docker]:
    return program_on(SERVICES, servers, registration=registration)


def program_on(
    services: Mapping[str, list[str]], servers: Collection[str] = HOSTS, **config: str
) -> tuple[Deployed, Docker]:
    """Return the program of a stack on some hosts, by the services that each has."""
    return _program(json.dumps(hosts_of(services, servers)), frozenset(config.items()))


def hosts_of(services: Mapping[str, list[str]], servers: Collection[str]) -> dict[str, dict[str, object]]:
    """Return the setting `hosts`."""
    return {
        name: {
            "engine": f"unix:///run/{name}.sock",
            "address": f"10.0.0.{number}",
            "server": name in servers,
            "services": placed,
        }
        for number, (name, placed) in enumerate(services.items(), 1)
    }


@cache
def _program(hosts: str, config: frozenset[tuple[str, str]]) -> tuple[Deployed, Docker]:
    return on_docker(run_main, {**STACK, **dict(config), "hosts": hosts})


@pytest.fixture(name="deployed")
def _deployed() -> Deployed:
    return program()[0]


def differences(before: Deployed, after: Deployed) -> dict[str, set[str]]:
    """Return the inputs that change of the resources that are there before and after, by name."""
    return {
        name: changed
        for name in before.requests.keys() & after.requests.keys()
        if (changed := _changed(before, after, name))
    }


def _changed(before: Deployed, after: Deployed, name: str) -> set[str]:
    olds, news = before.sent(name), after.sent(name)
    changed = {key for key in olds.keys() | news.keys() if olds.get(key) != news.get(key)}
    providers = {each.requests[name].provider for each in (before, after)}
    return changed if len(providers) == 1 else {*changed, "provider"}


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


def test_no_resource_is_on_the_engine_of_this_machine(deployed: Deployed) -> None:
    providers = {name: each.provider for name, each in deployed.requests.items() if each.type.startswith("docker:")}
    assert [name for name, provider in providers.items() if "::docker-h" not in provider] == []
    assert "::docker-h1::" in providers["network-network"]


def test_each_engine_is_reached_by_a_provider_of_its_own(deployed: Deployed) -> None:
    found = {name: deployed.inputs(name) for name in deployed.of_type("pulumi:providers:docker")}
    assert found == {f"docker-{host}": {"host": f"unix:///run/{host}.sock"} for host in HOSTS}


def test_each_host_has_one_agent(deployed: Deployed) -> None:
    assert sorted(deployed.of_type(AGENT)) == [f"agent-{host}" for host in HOSTS]
    names = [deployed.inputs(f"agent-{host}-container")["name"] for host in HOSTS]
    assert names == ["consul-agent-h1", "consul-agent-h2", "consul-agent-h3"]


def test_a_host_without_a_server_has_an_agent_alone() -> None:
    found = program(("h1",))[0]
    assert sorted(found.of_type("consul-staging:docker:ConsulServer")) == ["server-h1"]
    assert sorted(found.of_type(AGENT)) == [f"agent-{host}" for host in HOSTS]


def test_the_apis_of_a_host_are_published_at_its_address_alone(deployed: Deployed) -> None:
    found = {node: deployed.inputs(f"{node}-container")["ports"] for node in ("server-h2", "agent-h2")}
    assert found == {
        "server-h2": [{"internal": 8501, "external": 8500, "ip": "10.0.0.2"}],
        "agent-h2": [{"internal": 8501, "external": 8501, "ip": "10.0.0.2"}],
    }


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


def test_no_service_is_registered_twice(deployed: Deployed) -> None:
    ids = [deployed.inputs(name)["service_id"] for name in deployed.of_type(SERVICE)]
    assert (len(ids), len(set(ids))) == (40, 40)


def test_a_service_may_move_to_its_host_from_another_and_from_where_else_the_stack_had_it(deployed: Deployed) -> None:
    bound = deployed.bound("registration-h3-billing_service")
    assert bound == {
        "before_create": ["move-to-agent-h3", "move-from-host-h3"],
        "before_update": ["move-to-agent-h3"],
    }


def test_a_service_also_moves_from_the_server_that_checks_it_while_its_old_agent_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: dict[str, str] = {}

    def moving(agents: Sequence[HostAgent], servers: Connection) -> Moving:
        found.update({each.node: each.api.address for each in agents})
        return Moving(agents, servers)

    monkeypatch.setattr("components.deployment_plan.Moving", moving)
    _program.__wrapped__(json.dumps(hosts_of(SERVICES, ("h1",))), frozenset())
    assert found == {
        "consul-agent-h1": "https://10.0.0.1:8501",
        "consul-agent-h2": "https://10.0.0.2:8501",
        "consul-agent-h3": "https://10.0.0.3:8501",
        "staging-consul-h1": "https://10.0.0.1:8500",
    }


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


def test_an_agent_waits_until_every_server_is_a_voter_again(deployed: Deployed) -> None:
    assert {f"server-{host}-rejoined" for host in HOSTS} <= deployed.waits_for("agent-h3-container")


def test_a_server_hands_over_before_its_container_is_replaced_and_after_all_else_that_can_fail(
    deployed: Deployed,
) -> None:
    assert "server-h2-handover" in deployed.waits_for("server-h2-container")
    prepared = {f"server-h2-{each}" for each in ("image", "data", "config", "carry")}
    assert prepared <= deployed.waits_for("server-h2-handover")
    assert "server-h2-container" in deployed.waits_for("server-h2-rejoined")


def test_the_only_server_hands_over_to_nobody_and_is_waited_for_all_the_same() -> None:
    # Three servers became one: it has to vote again before the other two are deleted.
    found = program(("h1",))[0]
    assert found.call("hand-over-server-h1", {"input": "a"}, input="b") == ""
    assert "server-h1-rejoined" in found.waits_for("agent-h2-container")


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


def test_a_network_that_exists_is_left_as_it_is() -> None:
    found = program_on(SERVICES, network="existing")[0]
    assert found.of_type("docker:index/network:Network") == {}
    assert found.inputs("agent-h3-container")["networksAdvanced"] == [{"name": "staging_staging-network"}]


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


def test_the_token_for_reloading_may_have_every_agent_reload(deployed: Deployed) -> None:
    rules = json.loads(deployed.inputs("acl-reload-policy")["rules"])
    assert rules == {"agent": {f"consul-agent-{host}": {"policy": "write"} for host in HOSTS}}


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


@pytest.mark.parametrize("host", HOSTS)
def test_with_another_registration_the_files_of_each_host_are_emptied(deployed: Deployed, host: str) -> None:
    uploads = plain(deployed.sent(f"files-{host}-reload"))["uploads"]
    files = {each["file"].rpartition("/")[2]: each["content"] for each in uploads}
    assert [json.loads(files[f"{kind}-services.json"]) for kind in ("user", "ai", "grpc")] == [{"services": []}] * 3


def test_each_host_is_expected_to_have_the_containers_of_its_own_services_and_no_others() -> None:
    on_h1, on_h2, on_h3 = program_on(SERVICES, network="existing", standIns="false")[1].expected
    assert [len(each.services) for each in (on_h1, on_h2, on_h3)] == [12, 27, 1]
    assert list(on_h3.services) == ["isa-billing"]
    assert set(on_h3.elsewhere) == {*on_h1.services, *on_h2.services}
    assert "isa-billing" in on_h2.elsewhere
    assert {each.network for each in (on_h1, on_h2, on_h3)} == {"staging_staging-network"}


def test_each_host_is_expected_to_have_its_own_ports_free() -> None:
    *_, on_h3 = program(("h1",))[1].expected
    assert (on_h3.own_server, on_h3.ports) == (None, {"consul-agent-h3": Publish("10.0.0.3", 8501, https=True)})


# What changes of what is there


def test_one_more_host_changes_nothing_but_whose_nodes_the_agents_may_write() -> None:
    before, after = program()[0], program_on({**SERVICES, "h4": ["auth_service"]}, HOSTS)[0]
    assert differences(before, after) == {"acl-agent-policy": {"rules"}, "acl-reload-policy": {"rules"}}


def test_a_service_that_is_stated_on_another_host_is_all_that_leaves_its_own() -> None:
    before, after = program()[0], program_on({**SERVICES, "h4": ["auth_service"]}, HOSTS)[0]
    assert before.requests.keys() - after.requests.keys() == {"registration-h2-auth_service", "standins-h2-isa-auth"}


def test_two_more_servers_change_how_many_the_first_expects_and_so_replace_it() -> None:
    assert differences(program(("h1",))[0], program()[0]) == {
        "server-h1-carry": {"uploads"},
        "server-h1-handover": {"input"},
        "server-h1-rejoined": {"input"},
    }


def test_a_stack_that_names_no_host_has_no_provider_of_its_own_and_the_names_that_it_always_had() -> None:
    found = stack_program("docker-local")[0]
    assert found.of_type("pulumi:providers:docker") == {}
    names = [found.inputs(f"{node}-container")["name"] for node in ("server", "agent")]
    assert names == ["staging-consul", "consul-agent-shared"]
    assert "registration-billing_service" in found.requests
    assert "server-handover" not in found.requests
