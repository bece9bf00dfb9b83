"""A stack that names several Docker hosts: what it may say of them, and what is on each."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import docker
import pytest
from docker.errors import DockerException
from requests.exceptions import ConnectTimeout

import stack_roster
from docker_engine import DockerEngine, docker_client, engine_answers, publishes
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


def files(folder: Path, but: str = "") -> str:
    """Return a folder with the certificates of an engine, but for one."""
    for name in {"ca.pem", "cert.pem", "key.pem"} - {but}:
        (folder / name).touch()
    return str(folder)


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
        ({"engine": "ssh://"}, f"hosts: h1: engine: 'ssh://' {ENGINE}"),
        ({"engine": "unix://run/h1.sock"}, f"hosts: h1: engine: 'unix://run/h1.sock' {ENGINE}"),
        ({"engine": "tcp://h1"}, f"hosts: h1: engine: 'tcp://h1' {ENGINE}"),
        ({"engine": "tcp://h1:2376"}, f"hosts: h1: {TCP_WITH_TLS}"),
        ({"engine": None}, "hosts: h1: engine: must be text: put it in quotes"),
        (
            {"address": "h1.example"},
            "hosts: h1: address: 'h1.example' must be an IP address of the Docker host, such as 127.0.0.1",
        ),
        ({"services": "user"}, "hosts: h1: services: 'user': must be a list"),
        ({"services": ["us er"]}, "hosts: h1: services: 0: 'us er' must be 1 to 63 of the characters A-Z a-z 0-9 - _"),
        ({"server": False}, "hosts: 0 of them have server: true: it must be 1, 3 or 5, so that a majority can be left"),
        ({"address": "10.0.0.2"}, "hosts: each must have an address of its own"),
        (
            {"servers": True},
            "hosts: h1: servers: is no key of a host: the keys are engine, certificates, address, server, services",
        ),
    ],
)
def test_a_host_that_cannot_be_is_refused(changed: dict[str, object], said: str) -> None:
    assert refusal({"h1": {**H1, **changed}, "h2": H2}) == said


@pytest.mark.parametrize("key", ["engine", "address"])
def test_what_a_host_does_not_say_is_missing(key: str) -> None:
    without = {each: value for each, value in H1.items() if each != key}
    assert refusal({"h1": without, "h2": H2}) == f"hosts: h1: {key}: is missing"


def test_a_host_of_which_nothing_is_said_is_refused() -> None:
    assert refusal({"h1": "ssh://deploy@h1", "h2": H2}) == "hosts: h1: 'ssh://deploy@h1': must be a map"


@pytest.mark.parametrize("hosts", [[H1, H2], 3])
def test_hosts_without_names_are_refused(hosts: object) -> None:
    assert refusal(hosts).endswith("must be a map")


@pytest.mark.parametrize("count", [2, 4])
def test_a_number_of_servers_of_which_no_more_can_be_away_than_of_one_less_is_refused(count: int) -> None:
    hosts = {f"h{number}": {**H1, "address": f"10.0.0.{number}"} for number in range(1, count + 1)}
    assert refusal(hosts) == (
        f"hosts: {count} of them have server: true: it must be 1, 3 or 5, so that a majority can be left"
    )


@pytest.mark.parametrize("count", [1, 3, 5])
def test_one_three_or_five_servers_are_accepted(count: int) -> None:
    hosts = {f"h{number}": {**H1, "address": f"10.0.0.{number}"} for number in range(1, count + 1)}
    assert len(of(hosts, agentAddress="https://10.0.0.1:8501").docker_hosts) == count


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {"serverNode": "consul-agent"},
            "agentNode: would be 'consul-agent-h1' on a host, and must be another name than a server's",
        ),
        (
            {"serverContainer": "Consul-Agent"},
            "agentContainer: would be 'consul-agent-h1' on a host, and must be another name than a server's",
        ),
        (
            {"serverContainer": "consul-agent-h2"},
            "agentContainer: would be 'consul-agent-h2' on a host, and must be another name than a server's",
        ),
        (
            {"agentNode": "a" * 61},
            f"hosts: '{'a' * 61}-h1' must have at most 63 characters: the name of a node on a host",
        ),
    ],
)
def test_names_that_do_not_fit_on_the_hosts_are_refused(config: dict[str, str], said: str) -> None:
    assert refusal({"h1": H1, "h2": H2}, **config) == said


@pytest.mark.parametrize("name", ["H1", "h_1", "-h1", "h1-", "", "a" * 21])
def test_a_name_that_cannot_be_part_of_a_containers_is_refused(name: str) -> None:
    assert refusal({name: H1, "h2": H2}) == (
        f"hosts: {name}: {name!r} must be 1 to 20 of the characters a-z 0-9 - and begin and end with none of -"
    )


def test_two_names_that_exclude_would_not_tell_apart_are_refused() -> None:
    assert refusal({"h1": H1, "h1-b": H2}) == (
        "hosts: 'h1-b' must not begin with h1-, which is another host: --exclude takes both"
    )


@pytest.mark.parametrize("missing", ["ca.pem", "cert.pem", "key.pem"])
def test_an_engine_over_tcp_needs_all_three_files(tmp_path: Path, missing: str) -> None:
    host = {**H1, "engine": "tcp://h1:2376", "certificates": files(tmp_path, but=missing)}
    assert refusal({"h1": host, "h2": H2}) == (
        f"hosts: h1: certificates: '{tmp_path}' must be a folder with ca.pem, cert.pem and key.pem: "
        f"{missing} is missing"
    )


def test_an_engine_over_tcp_has_its_certificates(tmp_path: Path) -> None:
    host = {**H1, "engine": "tcp://h1:2376", "certificates": files(tmp_path)}
    assert on("h1", of({"h1": host, "h2": H2})).engine == DockerEngine("tcp://h1:2376", str(tmp_path))


@pytest.mark.parametrize("engine", ["ssh://deploy@h1", "unix:///run/h1.sock"])
def test_another_engine_takes_no_certificates(tmp_path: Path, engine: str) -> None:
    host = {**H1, "engine": engine, "certificates": files(tmp_path)}
    assert refusal({"h1": host, "h2": H2}) == f"hosts: h1: {TCP_WITH_TLS}"


OF_A_HOST = "must have the address of one of the hosts that have it, such as 10.0.0.1"
CREATED = "server: must be created with hosts, and docker true"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"server": "existing"}, CREATED),
        ({"docker": "false"}, CREATED),
        ({"docker": "false", "sandbox": "true", "serviceHost": "127.0.0.3"}, CREATED),
        (
            {"registration": "catalog"},
            "registration: must be agent or files with hosts: each agent runs the checks of its own host's services",
        ),
        (
            {"security": "off", "agentAddress": "http://10.0.0.2:8501", "serverAddress": "http://10.0.0.1:8500"},
            "security: must not be off with hosts: their APIs and their gossip leave the machine",
        ),
        (
            {"templates": "templates"},
            "templates: must not be set with hosts: consul-template runs on the one Docker engine of a stack",
        ),
        (
            {"agentAddress": "https://10.0.0.3:8501"},
            f"agentAddress: 'https://10.0.0.3:8501' {OF_A_HOST}",
        ),
        (
            {"serverAddress": "https://10.0.0.3:8500"},
            f"serverAddress: 'https://10.0.0.3:8500' {OF_A_HOST}",
        ),
        (  # a host without a server
            {"serverAddress": "https://10.0.0.2:8500"},
            f"serverAddress: 'https://10.0.0.2:8500' {OF_A_HOST}",
        ),
        (
            {"publishOn": "10.0.0.1"},
            "publishOn: must be left out with hosts: each publishes at its own address",
        ),
    ],
)
def test_what_does_not_fit_to_several_hosts_is_refused(config: dict[str, str], said: str) -> None:
    assert refusal({"h1": H1, "h2": H2}, **config) == said


# What is on each


def test_each_host_has_an_agent_of_its_own_at_its_own_address() -> None:
    assert [(each.names.agent_node, each.agent_address) for each in TWO.docker_hosts] == [
        ("consul-agent-h1", "https://10.0.0.1:8501"),
        ("consul-agent-h2", "https://10.0.0.2:8501"),
    ]
    assert on("h2", TWO).agent_publish == Publish("10.0.0.2", 8501, https=True)


def test_a_host_with_a_server_publishes_it_and_drains_to_it() -> None:
    host = on("h1", TWO)
    assert host.names.server_container == "staging-consul-h1"
    assert (host.server_address, host.drains_to) == ("https://10.0.0.1:8500", "https://10.0.0.1:8500")
    assert host.server_publish == Publish("10.0.0.1", 8500, https=True)
    assert on("h2", TWO).server_publish is None


def test_the_apis_of_an_ipv6_host_have_its_address_in_brackets() -> None:
    stack = of(
        {"h1": {**H1, "address": "fd00::1"}, "h2": {**H2, "address": "fd00::2"}},
        agentAddress="https://[fd00::2]:8501",
        serverAddress="https://[fd00::1]:8500",
    )
    host = on("h2", stack)
    assert (host.agent_address, host.drains_to) == ("https://[fd00::2]:8501", "https://[fd00::1]:8500")
    assert host.agent_publish == Publish("fd00::2", 8501, https=True)
    assert host.reached_at == {"127.0.0.1", "fd00::2"}


def test_an_agents_api_that_is_not_published_is_so_on_no_host() -> None:
    stack = of({"h1": H1, "h2": H2}, agentAddress="", registration="files")
    assert [(host.agent_address, host.agent_publish) for host in stack.docker_hosts] == [(None, None)] * 2


def test_names_of_the_stacks_own_are_those_of_each_host_with_its_name() -> None:
    own = {"agentNode": "probe", "agentContainer": "probe-container", "serverNode": "brain", "serverContainer": "head"}
    names = on("h2", of({"h1": H1, "h2": H2}, **own)).names
    assert (names.agent_node, names.agent_container) == ("probe-h2", "probe-container-h2")
    assert (names.server_node, names.server_container, names.retry_join) == ("brain-h1", "head-h1", "head")


def test_the_hosts_are_in_the_order_of_their_names_wherever_they_stand() -> None:
    # Pulumi hands them to the program sorted, and the commands read the stack's file: both have the same first host.
    names = ("h10", "web", "h2", "db")
    hosts = {name: {**H2, "address": f"10.0.0.{at}", "server": name != "web"} for at, name in enumerate(names, 1)}
    stack = of(hosts, serverAddress="https://10.0.0.1:8500")
    assert [host.name for host in stack.docker_hosts] == ["db", "h2", "h10", "web"]
    assert on("web", stack).drains_to == "https://10.0.0.4:8500"


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


ONE_OF_THEM = "one of them must have its id, or its group, in its services"


@pytest.mark.parametrize(
    ("h1", "h2", "said"),
    [
        (
            ["user", "ai"],
            ["grpc", "billing", "ops"],
            [
                "hosts: h2: services: 'billing' is neither a group nor the id of a service of this stack",
                "hosts: h2: services: 'ops' is neither a group nor the id of a service of this stack",
            ],
        ),
        (
            ["user", "ai", "grpc", "billing_service"],
            ["billing_service"],
            [f"hosts: billing_service is on h1 and on h2: {ONE_OF_THEM}"],
        ),
        (
            ["user", "ai", "grpc"],
            ["ai"],
            [
                f"hosts: {name} is on h1 and on h2: {ONE_OF_THEM}"
                for name in ("mcp_service", "model_service", "agent_service")
            ],
        ),
        (["user", "grpc"], ["mcp_service", "model_service"], [f"hosts: agent_service is on none: {ONE_OF_THEM}"]),
    ],
    ids=["unknown", "id on two", "group on two", "none"],
)
def test_a_service_that_is_on_no_host_or_on_two_is_refused(h1: list[str], h2: list[str], said: list[str]) -> None:
    with pytest.raises(UnfitServicesError) as caught:
        placed(h1, h2)
    assert sorted(str(caught.value).splitlines()) == sorted(said)


def test_a_host_may_have_no_service() -> None:
    settings, roster = placed(["user", "ai", "grpc"], [])
    assert {host: len(on_it) for host, on_it in stack_roster.by_host(roster, settings).items()} == {"h1": 40, "h2": 0}


def test_a_stack_that_names_no_host_has_all_services_on_its_one() -> None:
    settings = load(STACK, "")
    assert {host: len(it) for host, it in stack_roster.by_host(forty_roster(), settings).items()} == {"": 40}


# The engines


@pytest.mark.parametrize("address", ["ssh://deploy@h1", "unix:///run/h2.sock"])
def test_an_engine_is_reached_at_its_address(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    asked: list[object] = []
    monkeypatch.setattr(docker, "DockerClient", lambda *at, **how: asked.append((at, how)))
    docker_client(DockerEngine(address))
    assert asked == [((address,), {"tls": False, "use_ssh_client": True})]


def test_an_engine_over_ssh_is_reached_by_the_program_ssh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ssh").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\nexit 1\n')
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(DockerException):
        docker_client(DockerEngine("ssh://deploy@h1"))
    assert (tmp_path / "asked").read_text() == "-l deploy -p 22 -- h1 docker system dial-stdio\n"


def test_an_engine_of_no_address_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(docker, "from_env", lambda **how: asked.append(how))
    docker_client(DockerEngine())
    assert asked == [{"use_ssh_client": True}]


@pytest.mark.parametrize("error", [DockerException("no route to host"), ConnectTimeout("timed out")])
def test_an_engine_that_does_not_answer_is_no_error(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(docker, "DockerClient", refuse)
    assert not engine_answers(DockerEngine("ssh://h3"))


def test_an_engine_that_answers_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "DockerClient", lambda *_, **__: SimpleNamespace(ping=lambda: True))
    assert engine_answers(DockerEngine("ssh://h3"))


def test_an_engine_over_tcp_is_reached_with_its_certificates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files(tmp_path)
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


@pytest.mark.parametrize(("port", "published"), [(8501, True), (8502, False)])
def test_a_container_between_two_restarts_publishes_its_ports(
    monkeypatch: pytest.MonkeyPatch, port: int, published: bool
) -> None:
    # Docker's filter `publish` does not find it: then, it has no ports, but those that it was created with.
    bindings = {"8500/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8501"}], "8600/udp": None}
    container = SimpleNamespace(attrs={"HostConfig": {"PortBindings": bindings}})

    def found(filters: dict[str, object]) -> list[SimpleNamespace]:
        return [container] if filters == {"status": ["running", "restarting"]} else []

    client = SimpleNamespace(containers=SimpleNamespace(list=found))
    monkeypatch.setattr(docker, "DockerClient", lambda *_, **__: client)
    assert publishes(DockerEngine("ssh://h3"), f"http://127.0.0.1:{port}") is published
