import json
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace

import docker
import pulumi
import pytest
from docker.errors import APIError, DockerException, ImageNotFound

from components.preflight import ExistingServer, Prerequisites, TokenRights, refuse_unfit_agent, report
from consul_cluster.client import Consul, Right
from docker_engine import DockerEngine
from docker_hosts import Publish
from tests.fake_consul import Answer, Request, serve
from tests.unit.pulumi_mocks import deploy

Objects = Sequence[object]

NETWORK = SimpleNamespace(
    name="staging_staging-network", attrs={"Driver": "bridge", "IPAM": {"Config": [{"Subnet": "172.20.0.0/16"}]}}
)


CONSUL, ESM = "hashicorp/consul:1.17.2", "hashicorp/consul-esm:0.9.0"


def container(name: str, status: str = "running", ip: str = "", port: int = 0) -> SimpleNamespace:
    ports = [{"IP": ip, "PublicPort": port}] if port else None
    return SimpleNamespace(status=status, attrs={"Id": name, "Names": [f"/{name}"], "Ports": ports})


class Images:
    """An engine has one of the two; the registry has it too, and nothing else."""

    def get(self, name: str) -> None:
        if name != CONSUL:
            raise ImageNotFound(name)

    def get_registry_data(self, name: str) -> None:
        if name != CONSUL:
            raise APIError(name, explanation="manifest unknown")


class Engine:
    """A Docker engine that answers as Docker's SDK tells it; keeps which address it was asked at."""

    def __init__(self, networks: Objects, containers: Objects) -> None:
        self.networks = SimpleNamespace(list=lambda names: [each for each in networks if names])
        self.containers = SimpleNamespace(list=lambda **how: containers if how["sparse"] else [])
        self.images = Images()
        networks_of_each = {"staging_staging-network": {"Aliases": ["consul.of-others"]}, "bridge": {"Aliases": None}}
        inspected = {"NetworkSettings": {"Networks": networks_of_each}}
        self.api = SimpleNamespace(inspect_container=lambda _: inspected)


def server_at(address: str, rights: Sequence[TokenRights] = ()) -> ExistingServer:
    return ExistingServer("staging-consul", Consul(address), "dc1", rights)


SILENT_SERVER = server_at("http://127.0.0.1:9")
SERVER_RUNS = container("staging-consul", "running")


class Reported:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, networks: Objects, containers: Objects) -> None:
        self.addresses: list[object] = []
        self.lines: list[tuple[str, str]] = []
        engine = Engine(networks, containers)

        def client(host: str | None = None, tls: bool = False, use_ssh_client: bool = False) -> Engine:
            assert (use_ssh_client, tls) == (True, False)  # as the provider reaches ssh://
            self.addresses.append(host)
            return engine

        monkeypatch.setattr(docker, "DockerClient", client)
        monkeypatch.setattr(docker, "from_env", client)
        monkeypatch.setattr(pulumi.log, "info", lambda line: self.lines.append(("info", line)))
        monkeypatch.setattr(pulumi.log, "warn", lambda line: self.lines.append(("warning", line)))

    def of(self, expected: Prerequisites, preview: bool = False, host: str | None = None) -> list[tuple[str, str]]:
        deploy(lambda: report([replace(expected, engine=DockerEngine(host))]), preview=preview)
        return self.lines


def test_a_network_that_exists_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Reported(monkeypatch, [NETWORK], []).of(Prerequisites(network="staging_staging-network")) == []


@pytest.mark.parametrize("networks", [[], [SimpleNamespace(name="staging_staging-network-2", attrs={})]])
def test_a_network_that_is_missing_stops_the_program(monkeypatch: pytest.MonkeyPatch, networks: Objects) -> None:
    # Docker finds networks by a part of their name.
    with pytest.raises(pulumi.RunError) as caught:
        Reported(monkeypatch, networks, []).of(Prerequisites(network="staging_staging-network"))
    assert str(caught.value) == (
        "nothing was changed:\nnetwork staging_staging-network: missing: "
        "`docker network create staging_staging-network`, or set network: created"
    )


def test_a_server_that_runs_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(lambda _: (200, b'["dc1"]', {})) as address:
        reported = Reported(monkeypatch, [], [SERVER_RUNS]).of(Prerequisites(server=server_at(address)))
    assert reported == [("info", "server staging-consul: running")]


def test_services_that_all_run_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    running = [container(name, "running") for name in ("isa-billing", "isa-auth")]
    reported = Reported(monkeypatch, [], running).of(Prerequisites(services=["isa-billing", "isa-auth"]))
    assert reported == [("info", "services: 2 of 2 containers run")]


def test_services_that_do_not_run_are_named_with_their_state(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [container("isa-billing", "running"), container("isa-auth", "exited")]
    reported = Reported(monkeypatch, [], there).of(Prerequisites(services=["isa-billing", "isa-auth", "isa-order"]))
    expected = "services: 1 of 3 containers run; not isa-auth (exited), isa-order (missing)"
    assert reported == [("warning", expected)]


def test_of_more_than_five_services_that_do_not_run_five_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    reported = Reported(monkeypatch, [], []).of(Prerequisites(services=[f"isa-{letter}" for letter in "abcdefg"]))
    named = ", ".join(f"isa-{letter} (missing)" for letter in "abcde")
    assert reported == [("warning", f"services: 0 of 7 containers run; not {named}, and 2 more")]


def test_what_the_stack_creates_itself_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Reported(monkeypatch, [NETWORK], [container("isa-auth", "running")]).of(Prerequisites()) == []


def test_the_engine_is_the_docker_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    reported = Reported(monkeypatch, [], [])
    reported.of(Prerequisites(), host="ssh://deploy@staging")
    assert reported.addresses == ["ssh://deploy@staging"]


def test_without_an_address_it_is_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    reported = Reported(monkeypatch, [], [])
    reported.of(Prerequisites())
    assert reported.addresses == [None]


def test_an_engine_that_does_not_answer_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    reported = Reported(monkeypatch, [], [])

    def refuse(**_: bool) -> None:
        raise DockerException("Error while fetching server API version")

    monkeypatch.setattr(docker, "from_env", refuse)
    lines = reported.of(Prerequisites(server=SILENT_SERVER))
    said = (
        "Docker does not answer: Error while fetching server API version. Start it, or set DOCKER_HOST to where it is"
    )
    assert lines == [("warning", said)]


def test_a_preview_looks_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reported = Reported(monkeypatch, [], [])
    everything = Prerequisites(network="none", server=SILENT_SERVER, services=["none"], images=["none:1"])
    assert reported.of(everything, preview=True) == []
    assert reported.addresses == []


def problems(monkeypatch: pytest.MonkeyPatch, expected: Prerequisites, *containers: object) -> list[str]:
    """Return what stops the program, a line each."""
    try:
        Reported(monkeypatch, [], containers).of(expected)
    except pulumi.RunError as error:
        first, *lines = str(error).splitlines()
        assert first == "nothing was changed:"
        return lines
    return []


@pytest.mark.parametrize(
    ("datacenters", "found"),
    [
        (["dc1"], []),
        (["dc1", "dc2"], []),
        (["eu-1", "dc1"], ["is in datacenter 'eu-1', and the agent in 'dc1': set datacenter in Pulumi.test.yaml"]),
    ],
)
def test_a_server_in_another_datacenter_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, datacenters: list[str], found: list[str]
) -> None:
    with serve(lambda _: (200, json.dumps(datacenters).encode(), {})) as address:
        said = problems(monkeypatch, Prerequisites(server=server_at(address)), SERVER_RUNS)
        assert said == [f"server {address}: {each}" for each in found]


@pytest.mark.parametrize(
    ("state", "found"),
    [
        ("exited", "exited: docker start staging-consul"),
        ("paused", "paused: docker unpause staging-consul"),
    ],
)
def test_a_server_that_does_not_run_is_a_problem(monkeypatch: pytest.MonkeyPatch, state: str, found: str) -> None:
    with serve(lambda _: (200, b'["dc1"]', {})) as address:
        stopped = container("staging-consul", state)
        said = problems(monkeypatch, Prerequisites(server=server_at(address)), stopped)
    assert said == [f"server staging-consul: {found}"]


OVERLAY = SimpleNamespace(name="staging_staging-network", attrs={"Driver": "overlay"})


@pytest.mark.parametrize(
    ("name", "networks", "containers"),
    [
        ("consul.of-others", [NETWORK], [container("consul-1")]),  # an alias
        ("localhost", [NETWORK], []),  # a host name
        ("staging-consul", [OVERLAY], []),  # perhaps of another host
    ],
)
def test_a_server_that_may_be_found_by_another_way_than_its_containers_name_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, name: str, networks: Objects, containers: Objects
) -> None:
    with serve(lambda _: (200, b'["dc1"]', {})) as address:
        server = replace(server_at(address), container=name)
        expected = Prerequisites(server=server, network="staging_staging-network")
        reported = Reported(monkeypatch, networks, containers).of(expected)
    assert reported == [("warning", f"server {name}: missing")]


def test_a_server_with_a_domain_may_be_known_to_a_docker_host_that_is_another_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serve(lambda _: (200, b'["dc1"]', {})) as address:
        server = replace(server_at(address), container="consul.staging.invalid")
        reported = Reported(monkeypatch, [], [])
        assert reported.of(Prerequisites(server=server), host="ssh://deploy@staging") == [
            ("warning", "server consul.staging.invalid: missing")
        ]


def test_a_server_that_nothing_is_called_like_is_a_problem_although_its_api_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serve(lambda _: (200, b'["dc1"]', {})) as address:
        typo = replace(server_at(address), container="staging-consl")
        said = problems(monkeypatch, Prerequisites(server=typo), SERVER_RUNS)
    known = "this Docker engine has no container of this name or alias, and it is no host name"
    assert said == [f"server staging-consl: missing: {known}: set serverContainer in Pulumi.test.yaml"]


@pytest.mark.usefixtures("_no_pauses")
def test_a_server_whose_api_no_step_needs_may_be_silent_here(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = replace(SILENT_SERVER, needed_here=False)
    assert problems(monkeypatch, Prerequisites(server=silent), SERVER_RUNS) == []


@pytest.mark.usefixtures("_no_pauses")
def test_a_server_that_does_not_answer_here_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    [said] = problems(monkeypatch, Prerequisites(server=SILENT_SERVER), SERVER_RUNS)
    assert said.startswith("server staging-consul: GET http://127.0.0.1:9/v1/catalog/datacenters: no answer: ")
    assert said.endswith(": set serverAddress to where its API is reached from here")


NODE = Right("node", "b", "write")


def server_with_acls(request: Request) -> Answer:
    """Know two tokens: one may do everything, one nothing with nodes; without one, nothing is allowed."""
    if request.path == "/v1/catalog/datacenters":
        return 200, b'["dc1"]', {}
    denied = {None: ("node", "service"), "all-rights": (), "no-nodes": ("node",)}
    asker = request.headers.get("X-Consul-Token")
    if asker not in denied:
        return 403, b"ACL not found", {}
    answers = [{**each, "Allow": each["Resource"] not in denied[asker]} for each in json.loads(request.body)]
    return 200, json.dumps(answers).encode(), {}


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("all-rights", []),
        ("no-nodes", ["agentToken: lacks node:write on b"]),
        ("unknown", ["agentToken: {} does not know this token"]),
        (
            None,
            ["agentToken: is not set, and without it Consul denies node:write on b, service:write on a"],
        ),
    ],
)
def test_rights_that_a_token_lacks_with_the_server_are_a_problem(
    monkeypatch: pytest.MonkeyPatch, token: str | None, said: list[str]
) -> None:
    with serve(server_with_acls) as address:
        needed = [NODE, Right("service", "a", "write")]
        rights = [TokenRights("agentToken", token is not None, Consul(address, token), needed)]
        expected = [each.format(address) for each in said]
        assert problems(monkeypatch, Prerequisites(server=server_at(address, rights)), SERVER_RUNS) == expected


def test_a_server_without_acls_denies_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(request: Request) -> Answer:
        return (200, b'["dc1"]', {}) if request.method == "GET" else (401, b"ACL support disabled", {})

    with serve(answer) as address:
        rights = [TokenRights("nodeToken", False, Consul(address), [NODE])]
        assert problems(monkeypatch, Prerequisites(server=server_at(address, rights)), SERVER_RUNS) == []


@pytest.fixture
def lacking() -> Iterator[TokenRights]:
    with serve(server_with_acls) as address:
        yield TokenRights("agentToken", True, Consul(address, "no-nodes"), [NODE])


def test_without_docker_rights_that_a_token_lacks_are_a_problem_too(lacking: TokenRights) -> None:
    with pytest.raises(pulumi.RunError, match=r"^nothing was changed:\nagentToken: lacks node:write on b$"):
        deploy(lambda: refuse_unfit_agent(lacking))


@pytest.mark.usefixtures("_no_pauses")
def test_without_docker_an_agent_that_does_not_answer_is_a_problem() -> None:
    silent = TokenRights("agentToken", False, SILENT_SERVER.api, [NODE])
    with pytest.raises(pulumi.RunError, match=r"^nothing was changed:\nagentAddress: GET http://127.0.0.1:9/v1/"):
        deploy(lambda: refuse_unfit_agent(silent))


def test_a_preview_asks_for_no_rights(lacking: TokenRights) -> None:
    deploy(lambda: refuse_unfit_agent(lacking), preview=True)


def test_an_image_that_neither_the_engine_nor_its_registry_has_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    assert problems(monkeypatch, Prerequisites(images=[CONSUL, ESM])) == [
        f"image {ESM}: this Docker engine does not have it, and cannot pull it: manifest unknown"
    ]


PUBLISHED = Prerequisites(ports={"consul-agent-shared": Publish("127.0.0.1", 8501)})


@pytest.mark.parametrize("ip", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - others may publish everywhere
def test_a_port_that_another_container_publishes_is_a_problem(monkeypatch: pytest.MonkeyPatch, ip: str) -> None:
    assert problems(monkeypatch, PUBLISHED, container("isa-billing", ip=ip, port=8501)) == [
        "port 127.0.0.1:8501: is taken by container isa-billing: give consul-agent-shared another one"
    ]


def test_a_port_that_the_stacks_own_container_publishes_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    own = container("consul-agent-shared", ip="127.0.0.1", port=8501)
    assert problems(monkeypatch, PUBLISHED, own, container("isa-billing", ip="127.0.0.1", port=8502)) == []


def test_the_stacks_own_container_may_publish_at_all_addresses_what_it_did_at_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        own.listen()
        port = own.getsockname()[1]
        everywhere = Prerequisites(ports={"consul-agent-shared": Publish("0.0.0.0", port)})  # noqa: S104 - is stated
        assert problems(monkeypatch, everywhere, container("consul-agent-shared", ip="127.0.0.1", port=port)) == []


@pytest.mark.parametrize(
    ("host", "environment", "local"),
    [
        (None, None, True),
        (None, "unix:///run/user/1000/docker.sock", True),
        (None, "ssh://deploy@staging.example", False),
        ("ssh://deploy@staging.example", None, False),
        ("unix:///tmp/forwarded.sock", None, False),
    ],
)
def test_ports_are_looked_at_here_only_where_the_engine_is_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, host: str | None, environment: str | None, local: bool
) -> None:
    # A tunnel to an engine elsewhere takes the very ports that it publishes.
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    if environment:
        monkeypatch.setenv("DOCKER_HOST", environment)
    assert DockerEngine(host).is_local is local


def test_a_port_that_another_process_has_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert problems(monkeypatch, Prerequisites(ports={"consul-agent-shared": Publish("127.0.0.1", port)})) == [
            f"port 127.0.0.1:{port}: is taken by another process: give consul-agent-shared another one"
        ]


def test_what_was_found_before_docker_fails_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise DockerException("timed out")

    monkeypatch.setattr("components.preflight._missing_image", fails)
    [found] = problems(monkeypatch, Prerequisites(network="none", images=["none:1"]))
    assert found.startswith("network none: missing")


def test_all_problems_are_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(problems(monkeypatch, Prerequisites(network="none", images=["none:1", "none:2"]))) == 3


# Versions: https://developer.hashicorp.com/consul/docs/upgrading


def of_version(version: str) -> SimpleNamespace:
    """Return a running server's container, which says its version as Consul's command does."""

    def run(command: list[str]) -> SimpleNamespace:
        assert command == ["consul", "version"]
        return SimpleNamespace(output=f"Consul v{version}\nRevision 1c5d3c4a\n".encode())

    return SimpleNamespace(**vars(container("staging-consul")), exec_run=run)


@pytest.mark.parametrize(
    ("running", "said"),
    [
        ("1.17.2", []),
        ("1.9.10", []),
        (
            "1.20.6",
            [
                (
                    f"image {CONSUL}: is older than Consul 1.20.6, which staging-consul runs: servers cannot go "
                    "back: set consulImage to 1.20.6 or a later one"
                )
            ],
        ),
    ],
)
def test_an_image_that_is_older_than_the_stacks_running_server_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, running: str, said: list[str]
) -> None:
    expected = Prerequisites(consul_image=CONSUL, own_server="staging-consul")
    assert problems(monkeypatch, expected, of_version(running)) == said


@pytest.mark.parametrize(
    ("running", "said"),
    [
        ("1.17.2", ""),
        ("1.20.6", ""),
        ("1.16.5", "upgrade the servers first, or set consulImage to that"),
    ],
)
def test_an_agent_that_is_newer_than_the_existing_server_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, running: str, said: str
) -> None:
    answers = {"/v1/catalog/datacenters": ["dc1"], "/v1/agent/version": {"HumanVersion": running}}
    with serve(lambda request: (200, json.dumps(answers[request.path]).encode(), {})) as address:
        found = problems(monkeypatch, Prerequisites(consul_image=CONSUL, server=server_at(address)), SERVER_RUNS)
    assert [each.rpartition(": ")[2] for each in found] == ([said] if said else [])


# Several hosts


def test_each_line_names_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    running = [container("isa-billing", "running")]
    assert Reported(monkeypatch, [], running).of(Prerequisites(host="h2", services=["isa-billing"])) == [
        ("info", "host h2: services: 1 of 1 containers run")
    ]


def test_of_a_host_that_is_away_the_warning_says_how_the_others_are_deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    reported = Reported(monkeypatch, [], [])

    def refuse(**_: object) -> None:
        raise DockerException("no route to host")

    monkeypatch.setattr(docker, "from_env", refuse)
    assert reported.of(Prerequisites(host="h3")) == [
        (
            "warning",
            (
                "host h3: Docker does not answer: no route to host. Deploy the others with "
                "pulumi up --exclude '**-h3' --exclude '**-h3-*'"
            ),
        )
    ]


def test_a_container_whose_service_is_stated_on_another_host_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Reported(monkeypatch, [], [container("isa-billing")]).of(
        Prerequisites(host="h2", elsewhere=["isa-auth", "isa-billing"])
    )
    assert found == [
        ("warning", "host h2: container isa-billing: is here, and its service is stated on another host: see hosts")
    ]


OF_HOST = Prerequisites(host="h2", network="staging_staging-network")


def in_swarm(monkeypatch: pytest.MonkeyPatch, *, manager: bool, networks: Objects = ()) -> Reported:
    """Return a Docker engine that manages a swarm, or is one of its workers."""
    monkeypatch.setattr(Engine, "info", lambda _: {"Swarm": {"ControlAvailable": manager}}, raising=False)
    return Reported(monkeypatch, networks, [])


def test_an_overlay_network_that_a_manager_of_the_swarm_does_not_have_is_a_problem_of_its_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(pulumi.RunError) as caught:
        in_swarm(monkeypatch, manager=True).of(OF_HOST)
    assert str(caught.value) == (
        "nothing was changed:\nhost h2: network staging_staging-network: missing: `docker network create --driver "
        "overlay --attachable staging_staging-network` on a swarm's manager, or set network: created"
    )


@pytest.mark.parametrize(("manager", "networks"), [(True, [NETWORK]), (False, [])], ids=["manager", "worker"])
def test_a_swarms_worker_need_not_show_the_overlay_network_yet(
    monkeypatch: pytest.MonkeyPatch, manager: bool, networks: Objects
) -> None:
    assert in_swarm(monkeypatch, manager=manager, networks=networks).of(OF_HOST) == []


def test_a_container_that_is_on_no_other_host_is_not_spoken_of(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Reported(monkeypatch, [], []).of(Prerequisites(host="h2", elsewhere=["isa-billing"])) == []


def test_a_host_that_is_away_keeps_no_problem_of_another_back(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Reported(monkeypatch, [], [])
    answers = docker.DockerClient

    def client(host: str, *, tls: bool, use_ssh_client: bool) -> docker.DockerClient:
        if host == "ssh://h3":
            raise DockerException("no route to host")
        return answers(host, tls=tls, use_ssh_client=use_ssh_client)

    monkeypatch.setattr(docker, "DockerClient", client)
    hosts = [
        Prerequisites(DockerEngine("ssh://h3"), "h3"),
        Prerequisites(DockerEngine("ssh://h2"), "h2", images=["none:1"]),
    ]
    with pytest.raises(pulumi.RunError) as caught:
        deploy(lambda: report(hosts))
    assert str(caught.value).splitlines()[1:] == [
        "host h2: image none:1: this Docker engine does not have it, and cannot pull it: manifest unknown"
    ]
    assert [line.partition(":")[0] for _, line in there.lines] == ["host h3"]
