"""A stack that names several Docker hosts: what it may say of them, and what is on each."""

import json
from pathlib import Path

import docker
import pytest

import stack_roster
from docker_engine import DockerEngine, docker_client
from docker_hosts import DockerHost, Publish
from operations.credentials import Credentials
from operations.stack import Stack
from services.roster import Roster
from settings import Settings, SettingsError, load
from stack_roster import UnfitServicesError
from tests.forty_services import forty_roster
from tests.unit.stacks import IDLE_ENGINE

H1 = {"engine": "ssh://deploy@h1", "address": "10.0.0.1", "server": True, "services": ["user"]}
H2 = {"engine": "unix:///run/h2.sock", "address": "10.0.0.2", "services": ["ai", "grpc"]}
STACK = {
    "agentAddress": "https://10.0.0.2:8501",
    "serverAddress": "https://10.0.0.1:8500",
    "server": "created",
}


def of(hosts: object, **config: str) -> Settings:
    return load({**STACK, "hosts": json.dumps(hosts), **config}, "Pulumi.test.yaml")


def refusal(hosts: object, **config: str) -> str:
    with pytest.raises(SettingsError) as caught:
        of(hosts, **config)
    return str(caught.value).removeprefix("Pulumi.test.yaml: ")


def on(host: str, settings: Settings) -> DockerHost:
    return next(each for each in settings.docker_hosts if each.name == host)


TWO = of({"h1": H1, "h2": H2})


# What is refused

ENGINE = "must be ssh://USER@HOST, tcp://HOST:PORT or unix:///PATH"
TCP_WITH_TLS = (
    "certificates: must be set with tcp://, and only there: an engine that answers TCP without TLS gives everybody the "
    "rights of root"
)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"engine": "h1"}, f"hosts: h1: engine: 'h1' {ENGINE}"),
        ({"engine": "http://h1"}, f"hosts: h1: engine: 'http://h1' {ENGINE}"),
        ({"engine": "tcp://h1:2376"}, f"hosts: h1: {TCP_WITH_TLS}"),
        (
            {"address": "h1.example"},
            "hosts: h1: address: 'h1.example' must be an IP address",
        ),
        ({"server": False}, "hosts: 0 of them have server: true: it must be 1, 3 or 5, so that a majority can be left"),
        ({"address": "10.0.0.2"}, "hosts: each must have an address of its own"),
        ({"servers": True}, "hosts: h1: servers"),
    ],
)
def test_a_host_that_cannot_be_is_refused(changed: dict[str, object], said: str) -> None:
    assert refusal({"h1": {**H1, **changed}, "h2": H2}).startswith(said)


def test_an_even_number_of_servers_is_refused() -> None:
    assert refusal({"h1": H1, "h2": {**H2, "server": True}}).startswith("hosts: 2 of them have server: true")


@pytest.mark.parametrize("name", ["H1", "h_1", "-h1", "a" * 21])
def test_a_name_that_cannot_be_part_of_a_containers_is_refused(name: str) -> None:
    assert f"{name!r} must be 1 to 20 of the characters a-z 0-9 -" in refusal({name: H1, "h2": H2})


def test_an_engine_over_tcp_needs_all_three_files(tmp_path: Path) -> None:
    host = {**H1, "engine": "tcp://h1:2376", "certificates": str(tmp_path)}
    (tmp_path / "ca.pem").touch()
    assert refusal({"h1": host, "h2": H2}).endswith(
        "must be a folder with ca.pem, cert.pem and key.pem: cert.pem is missing"
    )


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"server": "existing"}, "server: must be created with hosts, and docker true"),
        ({"registration": "catalog"}, "registration: must be agent or files with hosts"),
        (
            {"security": "off", "agentAddress": "http://10.0.0.2:8501", "serverAddress": "http://10.0.0.1:8500"},
            "security: must not be off with hosts",
        ),
        (
            {"agentAddress": "https://10.0.0.3:8501"},
            "agentAddress: 'https://10.0.0.3:8501' must have",
        ),
        (
            {"serverAddress": "https://10.0.0.2:8500"},
            "serverAddress: 'https://10.0.0.2:8500' must have",
        ),
    ],
)
def test_what_does_not_fit_to_several_hosts_is_refused(config: dict[str, str], said: str) -> None:
    assert refusal({"h1": H1, "h2": H2}, **config).startswith(said)


# What is on each


def test_each_host_has_an_agent_of_its_own_at_its_own_address() -> None:
    assert [(each.names.agent_node, each.agent_address) for each in TWO.docker_hosts] == [
        ("consul-agent-h1", "https://10.0.0.1:8501"),
        ("consul-agent-h2", "https://10.0.0.2:8501"),
    ]
    assert on("h2", TWO).agent_publish == Publish("10.0.0.2", 8501, https=True)


def test_a_host_without_a_server_drains_to_the_first_one() -> None:
    host = on("h2", TWO)
    assert (host.server_address, host.drains_to) == (None, "https://10.0.0.1:8500")
    assert host.names.server_node == "staging-consul-h1"


def test_all_nodes_join_by_the_name_that_the_servers_share() -> None:
    assert {host.names.retry_join for host in TWO.docker_hosts} == {"staging-consul"}


def test_a_stack_that_names_no_host_has_one_with_the_names_that_it_always_had() -> None:
    [host] = load(STACK, "").docker_hosts
    assert (host.name, host.of("agent"), host.names.agent_node) == ("", "agent", "consul-agent-shared")


def test_a_certificate_names_its_own_host_alone() -> None:
    assert on("h2", TWO).reached_at == {"127.0.0.1", "10.0.0.2"}


# Which services


def placed(h1: list[str], h2: list[str]) -> tuple[Settings, Roster]:
    settings = of({"h1": {**H1, "services": h1}, "h2": {**H2, "services": h2}})
    return settings, stack_roster.load(settings)


@pytest.fixture(autouse=True)
def _forty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.roster.load_roster", lambda _: forty_roster())


def test_a_service_is_on_the_host_that_has_its_group() -> None:
    settings, roster = placed(["user"], ["ai", "grpc"])
    found = stack_roster.by_host(roster, settings)
    assert {host: {each.kind for each in on_it.services} for host, on_it in found.items()} == {
        "h1": {"user"},
        "h2": {"ai", "grpc"},
    }
    assert sum(len(on_it) for on_it in found.values()) == 40


def test_a_service_that_a_host_has_by_its_id_is_there_alone() -> None:
    settings, roster = placed(["user", "ai", "grpc"], ["billing_service"])
    found = stack_roster.by_host(roster, settings)
    assert [each.id for each in found["h2"].services] == ["billing_service"]
    assert len(found["h1"]) == 39


@pytest.mark.parametrize(
    ("h1", "h2", "said"),
    [
        (["user", "ai"], ["grpc", "billing"], ["hosts: h2: services: 'billing' is neither a group nor the id of a"]),
        (["user", "ai", "grpc"], ["ai"], ["hosts: mcp_service is on h1 and on h2: one of them must have its id"] * 1),
        (["user", "grpc"], ["mcp_service", "model_service"], ["hosts: agent_service is on none: one of them must"]),
    ],
)
def test_a_service_that_is_on_no_host_or_on_two_is_refused(h1: list[str], h2: list[str], said: list[str]) -> None:
    with pytest.raises(UnfitServicesError) as caught:
        placed(h1, h2)
    first, *_ = str(caught.value).splitlines()
    assert first.startswith(said[0])


# The engines


@pytest.mark.parametrize("address", ["ssh://deploy@h1", "unix:///run/h2.sock"])
def test_an_engine_is_reached_at_its_address(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    asked: list[object] = []
    monkeypatch.setattr(docker, "DockerClient", lambda *at, **how: asked.append((at, how)))
    docker_client(DockerEngine(address))
    assert asked == [((address,), {"tls": False, "use_ssh_client": True})]


def test_an_engine_over_tcp_is_reached_with_its_certificates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / name).touch()
    asked: list[docker.tls.TLSConfig] = []
    monkeypatch.setattr(docker, "DockerClient", lambda _, tls, **__: asked.append(tls))
    docker_client(DockerEngine("tcp://h1:2376", str(tmp_path)))
    [tls] = asked
    assert (tls.cert, tls.ca_cert, tls.verify) == (
        (str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")),
        str(tmp_path / "ca.pem"),
        True,
    )


def test_the_commands_ask_the_servers_that_the_hosts_have(monkeypatch: pytest.MonkeyPatch) -> None:
    # A host without one has the name of the server that it drains to.
    monkeypatch.setattr(Stack, "credentials", Credentials(None, None))
    stack = Stack("staging", "consul-staging", TWO, forty_roster(), IDLE_ENGINE)
    assert {node: api.address for node, api in stack.servers.items()} == {"staging-consul-h1": "https://10.0.0.1:8500"}
