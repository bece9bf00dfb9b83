from collections import Counter

import pytest

from tests.unit.guide import GUIDE, Line
from tests.unit.mocked import Deployed, program
from tests.unit.test_docker_components import LOOK_UP

REGISTRATIONS = {
    "consul-staging:registration:AgentRegistration": 1,
    "pulumi-python:dynamic/consul:AgentService": 40,
}
DECLARED = {
    "local": REGISTRATIONS,
    "docker-local": {
        **REGISTRATIONS,
        "consul-staging:docker:Network": 1,
        "consul-staging:docker:ConsulServer": 1,
        "consul-staging:docker:ConsulAgent": 1,
        "consul-staging:docker:StandIns": 1,
        "docker:index/network:Network": 1,
        "docker:index/remoteImage:RemoteImage": 2,
        "docker:index/image:Image": 1,
        "docker:index/volume:Volume": 2,
        "docker:index/container:Container": 42,
    },
    "staging": {
        **REGISTRATIONS,
        "consul-staging:docker:Network": 1,
        "consul-staging:docker:ConsulAgent": 1,
        "docker:index/remoteImage:RemoteImage": 1,
        "docker:index/volume:Volume": 1,
        "docker:index/container:Container": 1,
    },
}

every_stack = pytest.mark.parametrize("stack", DECLARED)
every_docker_stack = pytest.mark.parametrize("stack", ["docker-local", "staging"])
every_line = pytest.mark.parametrize("line", GUIDE, ids=lambda line: line.name)


def made(stack: str) -> Deployed:
    return program(stack)[0]


def named(stack: str, type_: str) -> list[str]:
    return list(made(stack).of_type(type_))


# What each stack declares


@every_stack
def test_a_stack_declares_exactly_these_resources(stack: str) -> None:
    assert Counter(request.type for request in made(stack).requests.values()) == DECLARED[stack]


def test_local_declares_nothing_on_docker() -> None:
    assert [request.type for request in made("local").requests.values() if "docker" in request.type] == []


def test_local_asks_docker_nothing() -> None:
    assert program("local")[1].asked == []


def test_docker_local_creates_the_network_and_looks_nothing_up() -> None:
    network = made("docker-local").inputs("network-network")
    assert (network, program("docker-local")[1].asked) == (
        {"name": "staging_staging-network", "driver": "bridge"},
        [],
    )


@pytest.mark.parametrize("component", ["Network", "ConsulServer", "ConsulAgent", "StandIns"])
def test_docker_local_names_each_component_once(component: str) -> None:
    names = {"Network": "network", "ConsulServer": "server", "ConsulAgent": "agent", "StandIns": "standins"}
    assert named("docker-local", f"consul-staging:docker:{component}") == [names[component]]


def test_staging_creates_no_network_no_server_and_no_stand_in() -> None:
    assert named("staging", "docker:index/network:Network") == []
    assert named("staging", "consul-staging:docker:ConsulServer") == []
    assert named("staging", "consul-staging:docker:StandIns") == []


def test_staging_looks_the_platforms_network_up() -> None:
    assert program("staging")[1].asked == [(LOOK_UP, {"name": "staging_staging-network"})]


def test_stagings_only_container_is_the_agent() -> None:
    assert named("staging", "docker:index/container:Container") == ["agent-container"]


def test_stagings_agent_joins_the_network_that_was_looked_up() -> None:
    assert made("staging").inputs("agent-container")["networksAdvanced"] == [{"name": "staging_staging-network"}]


@pytest.mark.parametrize(
    ("stack", "node", "port"),
    [("docker-local", "agent", 8501), ("docker-local", "server", 8500), ("staging", "agent", 8501)],
)
def test_a_node_is_published_at_the_port_of_its_address_on_loopback(stack: str, node: str, port: int) -> None:
    ports = made(stack).inputs(f"{node}-container")["ports"]
    assert ports == [{"internal": 8500, "external": port, "ip": "127.0.0.1"}]


@pytest.mark.parametrize("image", ["agent-image", "server-image"])
def test_docker_local_runs_the_guides_consul(image: str) -> None:
    assert made("docker-local").inputs(image)["name"] == "hashicorp/consul:1.17.2"


@pytest.mark.parametrize(
    ("stack", "agent"),
    [
        ("local", "http://127.0.0.2:8500"),
        ("docker-local", "http://127.0.0.1:8501"),
        ("staging", "http://127.0.0.1:8501"),
    ],
)
def test_a_stack_tells_where_its_agent_and_server_are(stack: str, agent: str) -> None:
    told = {key: value for key, value in made(stack).exports.items() if key != "services"}
    assert told == {"agent": agent, "server": "http://127.0.0.1:8500", "ui": "http://127.0.0.1:8500/ui"}


@pytest.mark.parametrize("stack", ["docker-local", "staging"])
@every_line
def test_on_docker_a_service_is_registered_at_its_containers_name(stack: str, line: Line) -> None:
    inputs = made(stack).inputs(f"registration-{line.name}")
    assert (inputs["agent"], inputs["address"], inputs["port"]) == ("http://127.0.0.1:8501", line.container, line.port)


@every_line
def test_a_stand_in_answers_where_docker_local_registers_its_service(line: Line) -> None:
    registered = made("docker-local").inputs(f"registration-{line.name}")
    stand_in = made("docker-local").inputs(f"standins-{line.container}")
    assert (stand_in["name"], stand_in["command"][3]) == (registered["address"], str(int(registered["port"])))


def test_all_of_staging_registers_what_staging_itself_does() -> None:
    def registrations(stack: str) -> dict[str, object]:
        return {name: made(stack).inputs(name) for name in named(stack, "pulumi-python:dynamic/consul:AgentService")}

    assert registrations("docker-local") == registrations("staging")


@pytest.mark.parametrize(("stack", "owned"), [("local", False), ("docker-local", True), ("staging", True)])
def test_a_service_knows_whether_its_stack_deploys_the_agent(stack: str, owned: bool) -> None:
    services = named(stack, "pulumi-python:dynamic/consul:AgentService")
    assert {made(stack).inputs(name)["owned"] for name in services} == {owned}


# What waits for what


def test_without_docker_the_registrations_wait_for_nothing() -> None:
    assert made("local").waits_for("registration") == set()


@every_docker_stack
def test_on_docker_the_registrations_wait_for_the_agents_container(stack: str) -> None:
    # The services wait for the component: they are its children.
    assert "agent-container" in made(stack).waits_for("registration")


@every_docker_stack
@every_line
def test_on_docker_every_service_waits_for_the_agents_container(stack: str, line: Line) -> None:
    assert "agent-container" in made(stack).waits_for(f"registration-{line.name}")


def test_in_docker_local_the_agent_waits_for_the_server() -> None:
    assert "server-container" in made("docker-local").waits_for("agent")


def test_in_docker_local_the_registrations_wait_for_the_server_too() -> None:
    # When all is destroyed, they leave the catalog while it is still there.
    assert "server-container" in made("docker-local").waits_for("registration")


def test_in_docker_local_no_registration_waits_for_a_stand_in() -> None:
    # A service that is down is registered all the same.
    assert [each for each in made("docker-local").waits_for("registration") if each.startswith("standins")] == []


def test_in_staging_the_agent_waits_for_no_other_resource_of_ours() -> None:
    assert made("staging").waits_for("agent") == set()
