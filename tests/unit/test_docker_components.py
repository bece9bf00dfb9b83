import base64
import json
import re
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import pulumi
import pytest

from components import stand_in_containers as standins
from components.cluster_keys import ClusterKeys, ClusterKeysArgs
from components.consul_agent import ConsulAgent, ConsulAgentArgs
from components.consul_connection import Connection
from components.consul_container import Secured
from components.consul_server import ConsulServer, ConsulServerArgs
from components.network import Network, NetworkArgs
from components.stand_in_containers import StandIns, StandInsArgs, image_name
from consul_cluster.acl_rules import server_tokens
from consul_cluster.agent_configuration import agent_config, server_config
from consul_cluster.cluster_names import STAGING_NAMES
from consul_cluster.security_stages import Stage, stage_config
from docker_hosts import Publish
from services.roster import Roster
from tests.fake_consul import FakeConsul, running
from tests.forty_services import FORTY, Line, forty_roster
from tests.unit.pulumi_mocks import (
    BUILT_IMAGE,
    CONSUL,
    CONTAINER,
    DOCKER_NETWORK,
    HOUSE,
    NETWORK,
    REMOTE_IMAGE,
    VOLUME,
    Deployed,
    made_password,
    on_docker,
    secret,
)
from tests.unit.stacks import SECURED_HOST

CONSUL_ID = "sha256:5a5d1a1e8b6c"
STAND_IN = image_name()
COMPONENTS = {
    "network": "consul-staging:docker:Network",
    "server": "consul-staging:docker:ConsulServer",
    "agent": "consul-staging:docker:ConsulAgent",
    "standins": "consul-staging:docker:StandIns",
}

# Of every container: what it may do, and how much it may log.
HARDENED = {
    "capabilities": {"drops": ["ALL"]},
    "securityOpts": ["no-new-privileges=true"],
    "logDriver": "json-file",
    "logOpts": {"max-size": "10m", "max-file": "3"},
}

NODES = ("server", "agent")
every_node = pytest.mark.parametrize("node", NODES)


@cache
def made() -> Deployed:
    """Each component by itself, the network created."""

    def declare() -> None:
        network = Network("network", NetworkArgs(NETWORK, existing=False)).name
        ConsulServer("server", ConsulServerArgs(CONSUL, network, Publish("127.0.0.1", 8500)))
        ConsulAgent("agent", ConsulAgentArgs(CONSUL, network, Publish("127.0.0.1", 8501)))
        StandIns("standins", StandInsArgs(forty_roster(), network))

    return on_docker(declare)[0]


def urn(component: str) -> str:
    return f"urn:pulumi:test::consul-staging::pulumi:pulumi:Stack${COMPONENTS[component]}::{component}"


def children(component: str, of: Deployed | None = None) -> dict[str, str]:
    """Type by logical name."""
    return {name: each.type for name, each in (of or made()).requests.items() if each.parent == urn(component)}


# Every component


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


def existing() -> Deployed:
    return on_docker(lambda: Network("network", NetworkArgs(NETWORK, existing=True)))[0]


def test_a_network_that_is_created_is_one_resource() -> None:
    assert children("network") == {"network-network": DOCKER_NETWORK}


def test_a_network_that_is_created_is_exactly_this() -> None:
    assert made().inputs("network-network") == {"name": "staging_staging-network", "driver": "bridge"}


@pytest.mark.parametrize("existing", [True, False])
def test_a_network_asks_docker_nothing_so_that_a_preview_does_not(existing: bool) -> None:
    assert on_docker(lambda: Network("network", NetworkArgs(NETWORK, existing=existing)))[1].asked == []


def test_a_network_that_exists_is_no_resource() -> None:
    assert list(existing().requests) == ["network"]


def test_the_name_of_a_network_that_exists_is_its_output() -> None:
    assert existing().outputs[urn("network")] == {"name": "staging_staging-network"}


# The Consul server and the agent


def test_the_server_is_an_image_two_volumes_a_container_one_that_carries_its_config_and_its_stage() -> None:
    assert children("server") == {
        "server-stage": "pulumi:index:Stash",
        "server-image": REMOTE_IMAGE,
        "server-data": VOLUME,
        "server-config": VOLUME,
        "server-carry": CONTAINER,
        "server-container": CONTAINER,
    }


def test_the_agent_is_an_image_three_volumes_a_container_and_one_that_carries_its_config() -> None:
    assert children("agent") == {
        "agent-image": REMOTE_IMAGE,
        "agent-data": VOLUME,
        "agent-config": VOLUME,
        "agent-files": VOLUME,
        "agent-carry": CONTAINER,
        "agent-container": CONTAINER,
    }


@every_node
def test_a_consul_nodes_image_has_its_tag_and_is_kept_when_the_stack_is_destroyed(node: str) -> None:
    assert made().inputs(f"{node}-image") == {"name": "hashicorp/consul:1.17.2", "keepLocally": True}


@pytest.mark.parametrize("kind", ["data", "config"])
@pytest.mark.parametrize(("node", "container"), [("server", "staging-consul"), ("agent", "consul-agent-shared")])
def test_a_consul_nodes_volume_is_exactly_this(node: str, container: str, kind: str) -> None:
    assert made().inputs(f"{node}-{kind}") == {"name": f"{container}-{kind}"}


def test_the_volume_of_the_agents_definition_files_is_exactly_this() -> None:
    assert made().inputs("agent-files") == {"name": "consul-agent-shared-files"}


@pytest.mark.parametrize(
    ("node", "container", "port", "command", "volumes"),
    [
        (
            "server",
            "staging-consul",
            8500,
            ["agent"],
            {"/consul/data": "staging-consul-data", "/consul/config": "staging-consul-config"},
        ),
        (
            "agent",
            "consul-agent-shared",
            8501,
            ["agent", "-config-dir=/consul/config/services"],
            {
                "/consul/data": "consul-agent-shared-data",
                "/consul/config": "consul-agent-shared-config",
                "/consul/config/services": "consul-agent-shared-files",
            },
        ),
    ],
    ids=NODES,
)
def test_a_consul_nodes_container_is_exactly_this(
    node: str, container: str, port: int, command: list[str], volumes: dict[str, str]
) -> None:
    assert made().inputs(f"{node}-container") == {
        "name": container,
        "image": CONSUL_ID,
        "hostname": container,
        "user": "consul",
        "envs": ["CONSUL_DISABLE_PERM_MGMT=true", *(["TMPDIR=/consul/data"] if node == "server" else [])],
        "command": command,
        "labels": [{"label": "config", "value": f"{node}-carry-id"}],
        "networksAdvanced": [{"name": "staging_staging-network"}],
        "ports": [{"internal": 8500, "external": port, "ip": "127.0.0.1"}],
        "volumes": [{"containerPath": path, "volumeName": volume} for path, volume in volumes.items()],
        "readOnly": True,
        "healthcheck": {
            "tests": ["CMD", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8500/v1/agent/version"],
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
        **HARDENED,
    }


@pytest.mark.parametrize(("node", "container"), [("server", "staging-consul"), ("agent", "consul-agent-shared")])
def test_the_container_that_carries_a_consul_nodes_config_is_exactly_this(node: str, container: str) -> None:
    inputs = made().inputs(f"{node}-carry")
    inputs.pop("uploads")  # have tests of their own
    assert inputs == {
        "name": f"{container}-carry",
        "image": CONSUL_ID,
        "entrypoints": ["consul"],
        "command": ["version"],
        "networkMode": "none",
        "volumes": [{"containerPath": "/consul/config", "volumeName": f"{container}-config"}],
        "mustRun": False,
        "labels": [{"label": "purpose", "value": f"writes the configuration of {container}, then ends"}],
        **HARDENED,
    }


@every_node
def test_the_label_of_the_container_with_a_consul_nodes_config_replaces_none_that_has_no_label(node: str) -> None:
    assert list(made().requests[f"{node}-carry"].ignoreChanges) == ["labels"]


@every_node
def test_another_config_starts_another_container_of_its_consul_node(node: str) -> None:
    # The id of the one that carries it is a label.
    dependencies = made().requests[f"{node}-container"].propertyDependencies["labels"].urns
    assert [urn.rpartition("::")[2] for urn in dependencies] == [f"{node}-carry"]


@pytest.mark.parametrize(
    ("node", "config"),
    [("server", server_config(STAGING_NAMES)), ("agent", agent_config(STAGING_NAMES, retry_join="staging-consul"))],
)
def test_a_consul_node_is_given_one_file_with_exactly_its_config(node: str, config: dict[str, Any]) -> None:
    assert made().inputs(f"{node}-carry")["uploads"] == [
        {"file": "/consul/config/agent-config.json", "content": json.dumps(config, indent=2) + "\n"}
    ]


@pytest.mark.parametrize(
    ("node", "more"),
    [
        ("server", {"server-stage", "server-data", "server-config"}),
        ("agent", {"agent-data", "agent-config", "agent-files"}),
    ],
)
def test_a_consul_nodes_container_waits_for_its_image_its_volumes_its_config_and_the_network(
    node: str, more: set[str]
) -> None:
    waits = {f"{node}-image", f"{node}-carry", *more, "network-network"}
    assert made().waits_for(f"{node}-container") == waits


@every_node
def test_the_container_that_carries_a_config_waits_for_its_image_and_its_volume(node: str) -> None:
    assert made().waits_for(f"{node}-carry") - {"server-stage"} == {f"{node}-image", f"{node}-config"}


def test_nothing_of_the_server_is_changed_before_its_stage() -> None:
    others = children("server").keys() - {"server-stage"}
    assert {name for name in others if "server-stage" not in made().waits_for(name)} == set()


@every_node
def test_a_consul_nodes_containers_alone_are_deleted_before_they_are_replaced(node: str) -> None:
    # Two containers cannot have one name; a volume that is replaced would lose its data.
    first = {name for name in children(node) if made().requests[name].deleteBeforeReplace}
    assert first == {f"{node}-carry", f"{node}-container"}


@every_node
def test_a_consul_nodes_container_has_no_hook_by_default(node: str) -> None:
    assert made().bound(f"{node}-container") == {}


@every_node
@pytest.mark.parametrize(("https", "internal"), [(False, 8500), (True, 8501)])
def test_an_api_that_is_published_as_https_is_consuls_encrypted_port(node: str, https: bool, internal: int) -> None:
    def declare() -> None:
        publish = Publish("10.0.0.5", 9501, https)
        if node == "server":
            ConsulServer("server", ConsulServerArgs(CONSUL, NETWORK, publish))
        else:
            ConsulAgent("agent", ConsulAgentArgs(CONSUL, NETWORK, publish))

    ports = on_docker(declare)[0].inputs(f"{node}-container")["ports"]
    assert ports == [{"internal": internal, "external": 9501, "ip": "10.0.0.5"}]


def agent_alone(image: str = CONSUL, publish: Publish | None = None) -> Deployed:
    return on_docker(lambda: ConsulAgent("agent", ConsulAgentArgs(image, NETWORK, publish)))[0]


def test_a_consul_node_has_the_image_and_address_that_it_is_given() -> None:
    found = agent_alone("hashicorp/consul:1.18.0", Publish("10.0.0.5", 9501))
    assert found.inputs("agent-image")["name"] == "hashicorp/consul:1.18.0"
    assert found.inputs("agent-container")["ports"] == [{"internal": 8500, "external": 9501, "ip": "10.0.0.5"}]


def test_an_agent_that_is_not_published_has_no_port() -> None:
    assert agent_alone().inputs("agent-container")["ports"] == []


def test_the_agents_outputs_are_its_node_its_container_its_image_and_its_files() -> None:
    outputs: list[tuple[str, ...]] = []

    def declare() -> None:
        made = ConsulAgent("agent", ConsulAgentArgs(CONSUL, NETWORK, None))
        all_four = pulumi.Output.all(made.node, made.container, made.image, made.files)
        pulumi.export("outputs", all_four.apply(lambda values: outputs.append((*values,))))

    on_docker(declare)
    assert outputs == [("consul-agent-shared", "agent-container-id", CONSUL_ID, "consul-agent-shared-files")]


# The Consul server and the agent of a secured cluster

GOSSIP = base64.b64encode(made_password("keys-gossip").encode()).decode()
MANAGEMENT = str(UUID(made_password("keys-management")))
AGENTS_TOKENS = {"agent": "token-of-the-agent", "config_file_service_registration": "token-of-its-files"}

every_stage = pytest.mark.parametrize("stage", ["accepted", "sent", "on"])


def server_secured(keys: ClusterKeys, stage: Stage = "on") -> Secured:
    return Secured(stage, keys, server_tokens(keys.management))


@cache
def secured(stage: Stage) -> Deployed:
    """Both with keys, published as HTTPS."""

    def declare() -> None:
        network = Network("network", NetworkArgs(NETWORK, existing=False)).name
        keys = ClusterKeys("keys", ClusterKeysArgs("https://127.0.0.1:8500", [SECURED_HOST]))
        server = Publish("127.0.0.1", 8500, https=True)
        ConsulServer("server", ConsulServerArgs(CONSUL, network, server, server_secured(keys, stage)))
        tokens = {key: pulumi.Output.secret(token) for key, token in AGENTS_TOKENS.items()}
        agent = Publish("127.0.0.1", 8501, https=True)
        ConsulAgent("agent", ConsulAgentArgs(CONSUL, network, agent, Secured(stage, keys, tokens)))

    return on_docker(declare)[0]


@every_stage
@pytest.mark.parametrize(
    ("node", "name", "config", "tokens"),
    [
        (
            "server",
            "staging-consul",
            server_config(STAGING_NAMES),
            {"initial_management": MANAGEMENT, "agent": MANAGEMENT},
        ),
        ("agent", "consul-agent-shared", agent_config(STAGING_NAMES, retry_join="staging-consul"), AGENTS_TOKENS),
    ],
    ids=NODES,
)
def test_a_secured_consul_node_is_given_exactly_these_files_and_what_is_secret_as_a_secret(
    stage: Stage, node: str, name: str, config: dict[str, Any], tokens: dict[str, str]
) -> None:
    secrets = {"encrypt": GOSSIP, "acl": {"tokens": tokens}}
    assert secured(stage).sent(f"{node}-carry")["uploads"] == [
        {
            "file": "/consul/config/agent-config.json",
            "content": json.dumps({**config, **stage_config(stage)}, indent=2) + "\n",
        },
        {"file": "/consul/config/secrets.json", "content": secret(json.dumps(secrets))},
        {"file": "/consul/config/tls/ca.pem", "content": "certificate keys-authority"},
        {"file": "/consul/config/tls/certificate.pem", "content": f"certificate keys-{name}-certificate"},
        {"file": "/consul/config/tls/key.pem", "content": secret(f"private keys-{name}-key")},
    ]


@every_stage
@every_node
def test_a_secured_consul_node_finds_its_certificate_where_its_config_has_it(stage: Stage, node: str) -> None:
    config, _, *files = secured(stage).sent(f"{node}-carry")["uploads"]
    named = json.loads(config["content"])["tls"]["defaults"]
    assert [named[key] for key in ("ca_file", "cert_file", "key_file")] == [each["file"] for each in files]


@every_stage
@pytest.mark.parametrize(("node", "port"), [("server", 8500), ("agent", 8501)])
def test_a_secured_consul_nodes_container_differs_from_an_open_ones_in_the_published_port_alone(
    stage: Stage, node: str, port: int
) -> None:
    found, open_ = secured(stage).inputs(f"{node}-container"), made().inputs(f"{node}-container")
    assert found.pop("ports") == [{"internal": 8501, "external": port, "ip": "127.0.0.1"}]
    open_.pop("ports")
    assert found == open_


@every_stage
@every_node
def test_what_carries_a_secured_consul_nodes_config_differs_from_an_open_ones_in_its_files_alone(
    stage: Stage, node: str
) -> None:
    found, open_ = secured(stage).inputs(f"{node}-carry"), made().inputs(f"{node}-carry")
    assert {**found, "uploads": None} == {**open_, "uploads": None}


@every_node
def test_a_secured_consul_node_is_healthy_where_its_config_still_has_plain_http(node: str) -> None:
    config = json.loads(secured("on").sent(f"{node}-carry")["uploads"][0]["content"])
    assert (
        secured("on")
        .inputs(f"{node}-container")["healthcheck"]["tests"][-1]
        .startswith(f"http://{config['addresses']['http']}:8500/")
    )


def test_a_secured_servers_secrets_are_in_no_repr() -> None:
    outputs: list[str] = []

    def declare() -> None:
        keys = ClusterKeys("keys", ClusterKeysArgs("https://127.0.0.1:8500", [SECURED_HOST]))
        outputs.append(repr(ConsulServerArgs(CONSUL, NETWORK, Publish("127.0.0.1", 8500), server_secured(keys))))

    on_docker(declare)
    assert [each for each in (GOSSIP, MANAGEMENT) if each in outputs[0]] == []


def led(api: Connection | None) -> Deployed:
    """A server by itself; secured, where its API is given."""

    def declare() -> None:
        secured = None
        if api:
            keys = ClusterKeys("keys", ClusterKeysArgs(api.address, [SECURED_HOST]))
            keys.servers = api  # whose authority is no made up one
            secured = server_secured(keys)
        ConsulServer("server", ConsulServerArgs(CONSUL, NETWORK, Publish("127.0.0.1", 8500), secured))

    return on_docker(declare)[0]


def test_a_secured_server_is_waited_for_until_it_has_a_leader() -> None:
    bound = {
        name: led(Connection("http://127.0.0.1:8500")).bound(name) for name in ("server-carry", "server-container")
    }
    assert bound == {"server-carry": {}, "server-container": {"after_create": ["await-leader"]}}


def test_an_open_server_is_waited_for_until_it_is_healthy_alone() -> None:
    found = led(None)
    assert (found.bound("server-container"), found.named_hooks) == ({}, {"refuse-server-stage"})


def test_a_server_is_waited_for_with_the_token_that_it_is_to_know() -> None:
    with running(FakeConsul()) as consul:
        assert led(Connection(consul.address, MANAGEMENT)).call("await-leader", name="staging-consul") == ""
    assert (consul.tokens, consul.wrote) == ({MANAGEMENT}, [])


# How far the cluster is secured


@pytest.mark.parametrize("stage", ["accepted", "sent", "on"])
def test_the_stage_of_a_secured_server_is_kept_in_the_state(stage: Stage) -> None:
    assert secured(stage).sent("server-stage") == {"input": stage}


def test_the_stage_of_an_open_server_is_kept_in_the_state_as_off() -> None:
    assert made().sent("server-stage") == {"input": "off"}


def test_a_stage_that_is_too_far_is_refused_before_anything_is_changed_and_in_a_preview() -> None:
    found = made()
    assert (found.bound("server-stage"), found.previewed) == (
        {"before_update": ["refuse-server-stage"]},
        {"refuse-server-stage"},
    )
    assert found.call("refuse-server-stage", {"input": "on"}, input="off") == (
        "Pulumi.stack.yaml: security: a cluster that was secured cannot go back to off: "
        "a Consul without ACLs removes no tokens. Set it to accepted, which asks for nothing"
    )


def test_the_next_stage_is_not_refused() -> None:
    assert made().call("refuse-server-stage", {"input": "sent"}, input="on") == ""


# The stand-ins


def test_the_stand_ins_are_one_image_and_a_container_for_each_of_the_40_services() -> None:
    containers = {f"standins-{line.container}": CONTAINER for line in FORTY}
    assert children("standins") == {"standins-image": BUILT_IMAGE, **containers}
    assert len(containers) == 40


def test_a_smaller_roster_has_fewer_stand_ins() -> None:
    one = Roster(services=forty_roster().services[:1])
    found = on_docker(lambda: StandIns("standins", StandInsArgs(one, NETWORK)))[0]
    assert list(found.of_type(CONTAINER)) == [f"standins-{one.services[0].container}"]


def test_the_stand_ins_image_is_built_from_the_projects_folder_and_pushed_nowhere() -> None:
    assert made().inputs("standins-image") == {
        "imageName": STAND_IN,
        "build": {"context": "components/stand_in_image", "dockerfile": "components/stand_in_image/Dockerfile"},
        "skipPush": True,
        "buildOnPreview": False,
    }


def test_the_stand_ins_image_has_a_tag_of_12_hexadecimal_digits() -> None:
    assert re.fullmatch(r"consul-staging/standin:[0-9a-f]{12}", STAND_IN)


def folder_of_stand_ins(folder: Path, **files: str) -> str:
    """The image's name where these are its files."""
    (folder / "stand_in_image").mkdir(parents=True)
    for name, content in files.items():
        (folder / "stand_in_image" / name).write_text(content)
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


def test_the_inputs_of_every_stand_in_are_exactly_these() -> None:
    inputs = {line.container: made().inputs(f"standins-{line.container}") for line in FORTY}
    assert inputs == {line.container: inputs_of(line) for line in FORTY}


def inputs_of(line: Line) -> dict[str, Any]:
    return {
        "name": line.container,
        "image": STAND_IN,
        "command": ["httpd", "-f", "-p", str(line.port), "-h", "/www"],
        "networksAdvanced": [{"name": "staging_staging-network"}],
        "restart": "unless-stopped",
        "readOnly": True,
        "user": "65534:65534",
        **HARDENED,
    }


def test_every_stand_in_waits_for_the_image_and_the_network() -> None:
    waits = [made().waits_for(f"standins-{line.container}") for line in FORTY]
    assert waits == [{"standins-image", "network-network"}] * 40


def test_a_stand_in_is_deleted_before_it_is_replaced() -> None:
    requests = [made().requests[f"standins-{line.container}"] for line in FORTY]
    assert [request.name for request in requests if not request.deleteBeforeReplace] == []
