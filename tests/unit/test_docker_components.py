import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pulumi
import pytest

from components import standins
from components.agent import ConsulAgent, ConsulAgentArgs
from components.network import Network, NetworkArgs
from components.server import ConsulServer, ConsulServerArgs
from components.standins import StandIns, StandInsArgs, image_name
from services.agent_config import agent_config, server_config
from services.roster import roster
from services.rules import Roster
from tests.unit.guide import GUIDE, Line
from tests.unit.mocked import (
    BUILT_IMAGE,
    CONSUL,
    CONTAINER,
    DOCKER_NETWORK,
    HOUSE,
    NETWORK,
    REMOTE_IMAGE,
    ROOT,
    VOLUME,
    Deployed,
    Docker,
    on_docker,
)

CONSUL_ID = "sha256:5a5d1a1e8b6c"
STAND_IN = image_name()
LOOK_UP = "docker:index/getNetwork:getNetwork"
COMPONENTS = {
    "network": "consul-staging:docker:Network",
    "server": "consul-staging:docker:ConsulServer",
    "agent": "consul-staging:docker:ConsulAgent",
    "standins": "consul-staging:docker:StandIns",
}

every_line = pytest.mark.parametrize("line", GUIDE, ids=lambda line: line.name)
every_component = pytest.mark.parametrize("component", COMPONENTS)
NODES = ("server", "agent")
every_node = pytest.mark.parametrize("node", NODES)


@cache
def made() -> Deployed:
    """Each component by itself, the network created."""

    def declare() -> None:
        network = Network("network", NetworkArgs(NETWORK, existing=False)).name
        ConsulServer("server", ConsulServerArgs(CONSUL, network, ("127.0.0.1", 8500)))
        ConsulAgent("agent", ConsulAgentArgs(CONSUL, network, ("127.0.0.1", 8501)))
        StandIns("standins", StandInsArgs(roster(), network))

    return on_docker(declare)[0]


def urn(component: str) -> str:
    return f"urn:pulumi:test::consul-staging::pulumi:pulumi:Stack${COMPONENTS[component]}::{component}"


def children(component: str, of: Deployed | None = None) -> dict[str, str]:
    """Type by logical name."""
    return {name: each.type for name, each in (of or made()).requests.items() if each.parent == urn(component)}


# Every component


@every_component
def test_a_component_has_its_type(component: str) -> None:
    assert made().requests[component].type == COMPONENTS[component]


@every_component
def test_a_component_is_the_stacks_child_and_no_resource_of_a_provider(component: str) -> None:
    assert (made().requests[component].parent, made().requests[component].custom) == (ROOT, False)


@pytest.mark.parametrize(
    ("component", "outputs"),
    [
        ("network", {"name": "staging_staging-network"}),
        ("server", {"node": "staging-consul"}),
        ("agent", {"node": "consul-agent-shared"}),
        ("standins", {}),
    ],
)
def test_a_component_registers_its_outputs(component: str, outputs: dict[str, str]) -> None:
    assert made().outputs[urn(component)] == outputs


# The network


def looked_up(name: str = NETWORK, provider: str | None = None) -> tuple[Deployed, Docker]:
    def declare() -> None:
        mine = [pulumi.ProviderResource("docker", provider, {})] if provider else []
        Network("network", NetworkArgs(name, existing=True), pulumi.ResourceOptions(providers=mine))

    return on_docker(declare)


def test_a_network_that_is_created_is_one_resource() -> None:
    assert children("network") == {"network-network": DOCKER_NETWORK}


def test_a_network_that_is_created_is_exactly_this() -> None:
    assert made().inputs("network-network") == {"name": "staging_staging-network", "driver": "bridge"}


def test_a_network_that_is_created_is_not_looked_up() -> None:
    assert on_docker(lambda: Network("network", NetworkArgs(NETWORK, existing=False)))[1].asked == []


def test_a_network_that_exists_is_looked_up_by_its_name_once() -> None:
    assert looked_up()[1].asked == [(LOOK_UP, {"name": "staging_staging-network"})]


def test_a_network_that_exists_is_no_resource() -> None:
    assert list(looked_up()[0].requests) == ["network"]


def test_a_network_that_exists_tells_its_name() -> None:
    assert looked_up()[0].outputs[urn("network")] == {"name": "staging_staging-network"}


def test_a_network_is_looked_up_with_the_components_provider() -> None:
    assert [call.provider.split("::")[-2] for call in looked_up(provider="remote")[1].calls] == ["remote"]


def test_a_network_that_should_exist_and_does_not_is_an_error() -> None:
    with pytest.raises(Exception, match="Could not find docker network"):
        looked_up("another-network")


# The Consul server and the agent


def test_the_server_is_an_image_a_volume_and_a_container() -> None:
    assert children("server") == {"server-image": REMOTE_IMAGE, "server-data": VOLUME, "server-container": CONTAINER}


def test_the_agent_is_an_image_two_volumes_and_a_container() -> None:
    assert children("agent") == {
        "agent-image": REMOTE_IMAGE,
        "agent-data": VOLUME,
        "agent-files": VOLUME,
        "agent-container": CONTAINER,
    }


@every_node
def test_a_consul_nodes_image_has_its_tag_and_is_kept_when_the_stack_is_destroyed(node: str) -> None:
    assert made().inputs(f"{node}-image") == {"name": "hashicorp/consul:1.17.2", "keepLocally": True}


@pytest.mark.parametrize(("node", "volume"), [("server", "staging-consul-data"), ("agent", "consul-agent-shared-data")])
def test_a_consul_nodes_volume_is_exactly_this(node: str, volume: str) -> None:
    assert made().inputs(f"{node}-data") == {"name": volume}


def test_the_volume_of_the_agents_definition_files_is_exactly_this() -> None:
    assert made().inputs("agent-files") == {"name": "consul-agent-shared-files"}


@pytest.mark.parametrize(
    ("node", "container", "port", "command", "volumes"),
    [
        ("server", "staging-consul", 8500, ["agent"], {"/consul/data": "staging-consul-data"}),
        (
            "agent",
            "consul-agent-shared",
            8501,
            ["agent", "-config-dir=/consul/config/services"],
            {
                "/consul/data": "consul-agent-shared-data",
                "/consul/config/services": "consul-agent-shared-files",
            },
        ),
    ],
    ids=NODES,
)
def test_a_consul_nodes_container_is_exactly_this(
    node: str, container: str, port: int, command: list[str], volumes: dict[str, str]
) -> None:
    inputs = made().inputs(f"{node}-container")
    inputs.pop("uploads")  # have tests of their own
    assert inputs == {
        "name": container,
        "image": CONSUL_ID,
        "hostname": container,
        "command": command,
        "networksAdvanced": [{"name": "staging_staging-network"}],
        "ports": [{"internal": 8500, "external": port, "ip": "127.0.0.1"}],
        "volumes": [{"containerPath": path, "volumeName": volume} for path, volume in volumes.items()],
        "healthcheck": {
            "tests": ["CMD", "consul", "info"],
            "interval": "5s",
            "timeout": "5s",
            "startPeriod": "10s",
            "retries": 6,
        },
        "wait": True,
        "waitTimeout": 60,
        "restart": "unless-stopped",
        "destroyGraceSeconds": 30,
        "stopTimeout": 30,
        "logDriver": "json-file",
        "logOpts": {"max-size": "10m", "max-file": "3"},
    }


@pytest.mark.parametrize(
    ("node", "config"), [("server", server_config()), ("agent", agent_config(retry_join="staging-consul"))]
)
def test_a_consul_node_is_given_one_file_with_exactly_its_config(node: str, config: dict[str, Any]) -> None:
    assert made().inputs(f"{node}-container")["uploads"] == [
        {"file": "/consul/config/agent-config.json", "content": json.dumps(config, indent=2) + "\n"}
    ]


@every_node
def test_a_consul_nodes_container_bears_the_name_that_consul_gives_the_node(node: str) -> None:
    inputs = made().inputs(f"{node}-container")
    assert json.loads(inputs["uploads"][0]["content"])["node_name"] == inputs["name"]


def test_the_agent_joins_the_servers_container() -> None:
    config = json.loads(made().inputs("agent-container")["uploads"][0]["content"])
    assert config["retry_join"] == [made().inputs("server-container")["name"]]


@pytest.mark.parametrize(("node", "volumes"), [("server", {"server-data"}), ("agent", {"agent-data", "agent-files"})])
def test_a_consul_nodes_container_waits_for_its_image_its_volumes_and_the_network(node: str, volumes: set[str]) -> None:
    assert made().waits_for(f"{node}-container") == {f"{node}-image", *volumes, "network-network"}


@every_node
def test_a_consul_nodes_container_alone_is_deleted_before_it_is_replaced(node: str) -> None:
    # Two containers cannot have one name; a volume that is replaced would lose its data.
    first = {name for name in children(node) if made().requests[name].deleteBeforeReplace}
    assert first == {f"{node}-container"}


def agent_alone(image: str = CONSUL, publish: tuple[str, int] | None = None) -> Deployed:
    return on_docker(lambda: ConsulAgent("agent", ConsulAgentArgs(image, NETWORK, publish)))[0]


def test_a_consul_node_has_the_image_and_address_that_it_is_given() -> None:
    found = agent_alone("hashicorp/consul:1.18.0", ("10.0.0.5", 9501))
    assert found.inputs("agent-image")["name"] == "hashicorp/consul:1.18.0"
    assert found.inputs("agent-container")["ports"] == [{"internal": 8500, "external": 9501, "ip": "10.0.0.5"}]


def test_an_agent_that_is_not_published_has_no_port() -> None:
    assert agent_alone().inputs("agent-container")["ports"] == []


def test_the_agent_tells_its_node_its_container_its_image_and_its_files() -> None:
    told: list[tuple[str, ...]] = []

    def declare() -> None:
        made = ConsulAgent("agent", ConsulAgentArgs(CONSUL, NETWORK, None))
        all_four = pulumi.Output.all(made.node, made.container, made.image, made.files)
        pulumi.export("told", all_four.apply(lambda values: told.append((*values,))))

    on_docker(declare)
    assert told == [("consul-agent-shared", "agent-container-id", CONSUL_ID, "consul-agent-shared-files")]


# The stand-ins


def test_the_stand_ins_are_one_image_and_a_container_for_each_of_the_40_services() -> None:
    containers = {f"standins-{line.container}": CONTAINER for line in GUIDE}
    assert children("standins") == {"standins-image": BUILT_IMAGE, **containers}
    assert len(containers) == 40


def test_a_smaller_roster_has_fewer_stand_ins() -> None:
    one = Roster(services=roster().services[:1])
    found = on_docker(lambda: StandIns("standins", StandInsArgs(one, NETWORK)))[0]
    assert list(found.of_type(CONTAINER)) == [f"standins-{one.services[0].container}"]


def test_the_stand_ins_image_is_built_from_the_projects_folder_and_pushed_nowhere() -> None:
    assert made().inputs("standins-image") == {
        "imageName": STAND_IN,
        "build": {"context": "components/standin", "dockerfile": "components/standin/Dockerfile"},
        "skipPush": True,
        "buildOnPreview": False,
    }


def test_the_stand_ins_image_bears_a_tag_of_12_hexadecimal_digits() -> None:
    assert re.fullmatch(r"consul-staging/standin:[0-9a-f]{12}", STAND_IN)


def folder_of_stand_ins(folder: Path, **files: str) -> str:
    """The image's name where these are its files."""
    (folder / "standin").mkdir(parents=True)
    for name, content in files.items():
        (folder / "standin" / name).write_text(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(standins, "__file__", str(folder / "standins.py"))
        return image_name()


@pytest.mark.parametrize(
    "files",
    [
        {"Dockerfile": "FROM busybox:1.38", "health": "ok"},
        {"Dockerfile": "FROM busybox:1.37", "health": "well"},
        {"Dockerfile": "FROM busybox:1.37", "ready": "ok"},
        {"Dockerfile": "FROM busybox:1.37", "health": "ok", "ready": "ok"},
    ],
    ids=["Dockerfile", "content", "name", "one more"],
)
def test_another_file_of_the_stand_ins_is_another_tag(tmp_path: Path, files: dict[str, str]) -> None:
    # With the same, no container would be made of the new image.
    before = folder_of_stand_ins(tmp_path / "before", Dockerfile="FROM busybox:1.37", health="ok")
    assert folder_of_stand_ins(tmp_path / "after", **files) != before


def test_the_same_files_of_the_stand_ins_are_the_same_tag_wherever_they_are(tmp_path: Path) -> None:
    first = folder_of_stand_ins(tmp_path / "a", Dockerfile="FROM busybox:1.37", health="ok")
    assert folder_of_stand_ins(tmp_path / "b", health="ok", Dockerfile="FROM busybox:1.37") == first


def test_the_stand_ins_image_can_be_built_there() -> None:
    build = made().inputs("standins-image")["build"]
    assert (HOUSE / build["dockerfile"]).parent == HOUSE / build["context"]
    assert (HOUSE / build["dockerfile"]).is_file()


@every_line
def test_a_stand_in_is_exactly_this(line: Line) -> None:
    assert made().inputs(f"standins-{line.container}") == {
        "name": line.container,
        "image": STAND_IN,
        "command": ["httpd", "-f", "-p", str(line.port), "-h", "/www"],
        "networksAdvanced": [{"name": "staging_staging-network"}],
        "restart": "unless-stopped",
        "logDriver": "json-file",
        "logOpts": {"max-size": "10m", "max-file": "3"},
    }


@every_line
def test_a_stand_in_waits_for_the_image_and_the_network(line: Line) -> None:
    assert made().waits_for(f"standins-{line.container}") == {"standins-image", "network-network"}


@every_line
def test_a_stand_in_is_deleted_before_it_is_replaced(line: Line) -> None:
    assert made().requests[f"standins-{line.container}"].deleteBeforeReplace
