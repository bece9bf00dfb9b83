"""What holds for all that a stack on Docker ever declares, however it registers: each rule names who breaks it."""

import base64
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from typing import Any, TypeVar
from uuid import UUID

import pytest

from components.stand_in_containers import image_name
from services.consul_definition import definition
from tests.forty_services import FORTY, forty_roster
from tests.unit.pulumi_mocks import (
    BUILT_IMAGE,
    CONSUL,
    CONTAINER,
    HOUSE,
    IDS,
    NETWORK,
    OTHER_ID,
    REMOTE_IMAGE,
    SECURED,
    VOLUME,
    Deployed,
    made_password,
    program,
    program_with,
    secret,
    stack_config,
)

SECRET = secret("")
AGENT_SERVICE = "pulumi-python:dynamic/consul:AgentService"
CATALOG_SERVICE = "consul:index/service:Service"
Fact = TypeVar("Fact")
TOKEN = "5c1b2b5e-consul-acl-token"  # noqa: S105 - no real one

STACKS = ("docker-local", "staging", SECURED)
PROGRAMS = [(stack, registration) for stack in STACKS for registration in ("agent", "catalog", "files")]

TWO = ("billing_service", "minio_grpc_service")  # where what a program makes of each service is not the question

Inputs = dict[str, Any]


def of_type(type_: str, made: Deployed) -> dict[str, Inputs]:
    return {name: made.inputs(name) for name in made.of_type(type_)}


def everywhere(of_program: Callable[[str, str], Mapping[str, Fact]]) -> dict[str, Fact]:
    """Return what a function gives for each program, each name after its stack and registration."""
    return {
        f"{stack} {registration} {name}": each
        for stack, registration in PROGRAMS
        for name, each in of_program(stack, registration).items()
    }


@cache
def containers_of(stack: str, registration: str) -> dict[str, Inputs]:
    return of_type(CONTAINER, program(stack, registration)[0])


@cache
def containers() -> dict[str, Inputs]:
    """The containers of all programs."""
    return everywhere(containers_of)


def running() -> dict[str, Inputs]:
    """The containers that are to go on running: each of the others says itself that it may end."""
    return {name: each for name, each in containers().items() if each.get("mustRun", True)}


def ending() -> dict[str, Inputs]:
    return {name: each for name, each in containers().items() if not each.get("mustRun", True)}


def of_image(*images: str) -> dict[str, Inputs]:
    """The containers that are to go on running, of these images."""
    ids = {IDS[image] for image in images}
    return {name: each for name, each in running().items() if each["image"] in ids}


def carriers() -> set[str]:
    """The containers that carry a Consul node's configuration into its volume, and end at once."""
    return {name for name in containers() if name.endswith("-carry")}


def consul_esms() -> set[str]:
    return {name for name in containers() if name.endswith(" esm-container")}


def nodes_of(stack: str) -> set[str]:
    """The Consul nodes that a stack deploys, by their component's name."""
    return {"agent"} if stack == "staging" else {"agent", "server"}


# So that what follows is about something.


@pytest.mark.parametrize(("stack", "registration"), PROGRAMS)
def test_a_program_has_exactly_these_containers(stack: str, registration: str) -> None:
    of_consul = {f"{node}-{kind}" for node in nodes_of(stack) for kind in ("container", "carry")}
    esm = {"esm-container"} if registration == "catalog" else set()
    stand_ins = set() if stack == "staging" else {f"standins-{line.container}" for line in FORTY}
    assert containers_of(stack, registration).keys() == of_consul | esm | stand_ins | {"files-reload"}


def test_the_containers_that_may_end_are_those_that_carry_a_config_and_have_the_agent_reload() -> None:
    assert ending().keys() == carriers() | {name for name in containers() if name.endswith(" files-reload")}


def test_the_containers_of_the_images_of_consul_and_consul_esm_are_those_components() -> None:
    nodes = {name for name in containers() if name.endswith((" agent-container", " server-container"))}
    assert of_image(CONSUL).keys() == nodes
    assert of_image(*IDS).keys() == nodes | consul_esms()


# Images

# A version, and perhaps a digest.
EXACT = re.compile(r".+:v?[0-9][A-Za-z0-9._-]*(@sha256:[0-9a-f]{64})?")


def pulled(stack: str, registration: str) -> dict[str, str]:
    """The name of each image, by its resource's."""
    return {name: each["name"] for name, each in of_type(REMOTE_IMAGE, program(stack, registration)[0]).items()}


def built(stack: str, registration: str) -> dict[str, str]:
    return {name: each["imageName"] for name, each in of_type(BUILT_IMAGE, program(stack, registration)[0]).items()}


def test_every_image_that_is_pulled_has_an_exact_tag() -> None:
    assert {name: image for name, image in everywhere(pulled).items() if not EXACT.fullmatch(image)} == {}


def test_every_image_that_is_built_has_a_tag_of_its_content() -> None:
    assert {name: image for name, image in everywhere(built).items() if image != image_name()} == {}


def test_every_image_that_one_is_built_from_has_an_exact_tag() -> None:
    bases = re.findall(r"(?m)^FROM (\S+)", (HOUSE / "components" / "stand_in_image" / "Dockerfile").read_text())
    assert ([image for image in bases if not EXACT.fullmatch(image)], len(bases)) == ([], 1)


def test_every_container_runs_an_image_that_its_stack_declares() -> None:
    def undeclared(stack: str, registration: str) -> dict[str, str]:
        known = {IDS.get(image, OTHER_ID) for image in pulled(stack, registration).values()}
        known |= set(built(stack, registration).values())
        images = {name: each["image"] for name, each in containers_of(stack, registration).items()}
        return {name: image for name, image in images.items() if image not in known}

    assert everywhere(undeclared) == {}


# The network


def published(found: Mapping[str, Inputs]) -> dict[str, str | None]:
    """The Docker host's address of each port that is published, by container and port."""
    return {
        f"{name} {port['internal']:g}": port.get("ip") for name, each in found.items() for port in each.get("ports", [])
    }


def test_every_published_port_is_on_loopback() -> None:
    # Without an address, Docker publishes on all interfaces, and past the host's firewall.
    ports = published(containers())
    assert {port: ip for port, ip in ports.items() if not ip or not ip_address(ip).is_loopback} == {}


@pytest.mark.parametrize("stack", STACKS)
def test_every_published_port_is_at_another_address_where_the_stack_sets_one(stack: str) -> None:
    made = program_with({**stack_config(stack), "publishOn": "10.0.0.5"}, names=TWO)[0]
    assert list(published(of_type(CONTAINER, made)).values()) == ["10.0.0.5"] * len(nodes_of(stack))


def test_nothing_but_consuls_api_is_published() -> None:
    # Of a secured stack, over HTTPS alone.
    def api(name: str) -> int:
        return 8501 if name.startswith(SECURED) else 8500

    nodes = of_image(CONSUL)
    offenders = [
        name
        for name, each in containers().items()
        if any(name not in nodes or port["internal"] != api(name) for port in each.get("ports", []))
        or each.get("publishAllPorts")
    ]
    assert offenders == []


def test_every_container_is_on_the_platforms_network_alone_and_one_that_carries_a_config_on_none() -> None:
    networks = {
        name: (each.get("networkMode"), each.get("networksAdvanced"), "ports" in each)
        for name, each in containers().items()
    }
    without = dict.fromkeys(carriers(), ("none", None, False))
    assert {name: networks[name] for name in without} == without
    offenders = [name for name, each in networks.items() if each[:2] != (None, [{"name": NETWORK}])]
    assert set(offenders) == without.keys()


def test_no_two_containers_of_a_program_have_one_name() -> None:
    def names(stack: str, registration: str) -> Counter[str]:
        return Counter(each["name"] for each in containers_of(stack, registration).values())

    assert [name for name, times in everywhere(names).items() if times > 1] == []


# How they run


def test_every_container_that_is_to_run_restarts_until_it_is_stopped() -> None:
    policies = {name: each.get("restart") for name, each in running().items()}
    assert {name: policy for name, policy in policies.items() if policy != "unless-stopped"} == {}


def test_no_container_that_may_end_restarts() -> None:
    assert [name for name, each in ending().items() if "restart" in each] == []


def test_every_container_that_may_end_is_waited_for_until_it_has_unless_its_work_is_done_before_it_starts() -> None:
    # What is uploaded is in the volume then.
    assert {name for name, each in ending().items() if not each.get("attach")} == carriers()


def test_every_container_of_consul_or_consul_esm_has_a_health_check() -> None:
    checks = {name: each.get("healthcheck") or {} for name, each in of_image(*IDS).items()}
    assert {name: each for name, each in checks.items() if each.get("tests", [])[:1] != ["CMD"]} == {}


def test_every_container_of_consul_or_consul_esm_is_waited_for_until_it_is_healthy_or_its_api_answers() -> None:
    awaited = everywhere(
        lambda stack, registration: {
            name: made.bound(name).get("after_create", [])
            for made in [program(stack, registration)[0]]
            for name in made.of_type(CONTAINER)
        }
    )
    by_api = {name for name, each in of_image(*IDS).items() if each.get("wait") is not True}
    assert by_api == {f"{stack} agent agent-container" for stack in STACKS}
    assert [name for name in by_api if awaited[name] != ["await-consul-agent-shared"]] == []


def test_every_containers_log_is_limited() -> None:
    logs = {name: (each.get("logDriver"), each.get("logOpts")) for name, each in containers().items()}
    limited = ("json-file", {"max-size": "10m", "max-file": "3"})
    assert {name: log for name, log in logs.items() if log != limited} == {}


@pytest.mark.parametrize("by", ["destroyGraceSeconds", "stopTimeout"])  # Pulumi, and Docker itself
def test_every_consul_node_has_20_seconds_or_more_to_leave_the_cluster(by: str) -> None:
    grace = {name: each.get(by, 0) for name, each in of_image(CONSUL).items()}
    assert {name: seconds for name, seconds in grace.items() if seconds < 20} == {}


# What they may


def test_no_container_is_privileged() -> None:
    assert [name for name, each in containers().items() if each.get("privileged")] == []


def test_no_container_has_more_of_the_host_than_others() -> None:
    more = {"devices", "gpus", "pidMode", "ipcMode", "usernsMode", "groupAdds", "hosts", "sysctls"}
    assert {name: each.keys() & more for name, each in containers().items() if each.keys() & more} == {}


def test_every_container_drops_all_capabilities_and_adds_none() -> None:
    capabilities = {name: each.get("capabilities") for name, each in containers().items()}
    assert {name: each for name, each in capabilities.items() if each != {"drops": ["ALL"]}} == {}


def test_no_container_can_gain_privileges() -> None:
    options = {name: each.get("securityOpts") for name, each in containers().items()}
    assert {name: each for name, each in options.items() if each != ["no-new-privileges=true"]} == {}


def test_every_container_that_is_to_run_but_consul_esm_has_a_read_only_file_system() -> None:
    # consul-esm's configuration is uploaded into it.
    assert {name for name, each in running().items() if each.get("readOnly") is not True} == consul_esms()


def test_no_container_with_a_read_only_file_system_is_given_files() -> None:
    # Docker refuses them.
    assert [name for name, each in containers().items() if each.get("readOnly") and each.get("uploads")] == []


def test_every_container_runs_as_another_user_than_root_but_consul_esm_and_those_that_carry_a_config() -> None:
    # consul-esm's image has a user of its own; what carries a config ends at once, and writes nothing itself.
    users = {name: each.get("user") for name, each in containers().items()}
    consul = {*of_image(CONSUL), *(name for name in containers() if name.endswith(" files-reload"))}
    unset = carriers() | consul_esms()
    assert {name for name, user in users.items() if user is None} == unset
    assert {name for name, user in users.items() if user == "consul"} == consul
    assert {user for name, user in users.items() if name not in unset | consul} == {"65534:65534"}


def test_no_container_mounts_anything_but_its_stacks_own_volumes() -> None:
    def others(stack: str, registration: str) -> dict[str, Inputs]:
        own = {each["name"] for each in of_type(VOLUME, program(stack, registration)[0]).values()}
        return {
            name: volume
            for name, each in containers_of(stack, registration).items()
            for volume in (*each.get("volumes", []), *each.get("mounts", []))
            if volume.get("volumeName") not in own or volume.keys() != {"containerPath", "volumeName"}
        }

    assert everywhere(others) == {}


def test_no_container_refers_to_dockers_socket() -> None:
    inputs = {name: repr(each) for name, each in containers().items()}
    assert [name for name, text in inputs.items() if re.search("docker.sock|DOCKER_HOST", text)] == []


# The secrets


def guarded(stack: str, registration: str) -> Deployed:
    """A program whose servers ask for a token: one that the stack is given, or those that it makes."""
    if stack == SECURED:
        return program(stack, registration)[0]
    config = {**stack_config(stack), "registration": registration, "agentToken": TOKEN}
    return program_with(config, ["agentToken"], TWO)[0]


SENT_SECRETS = frozenset(
    {
        TOKEN,
        made_password("keys-gossip"),
        base64.b64encode(made_password("keys-gossip").encode()).decode(),
        made_password("keys-management"),
        str(UUID(made_password("keys-management"))),
        *(f"private keys-{name}-key" for name in ("authority", "staging-consul", "consul-agent-shared")),
        *(
            f"secret-of-acl-{token}-token-id"
            for token in ("agent", "registration", "verify", "removal", "reload", "esm")
        ),
    }
)
"""What nobody may see of a program: tokens, private keys and the key of the cluster's traffic, as they are sent."""


def secrets_in(what: object) -> list[str]:
    text = repr(what)
    return sorted(each for each in SENT_SECRETS if each in text)


def sent(stack: str, registration: str) -> dict[str, Inputs]:
    """The containers as they are sent, where a secret within one stands at its own place."""
    made = guarded(stack, registration)
    return {name: made.sent(name) for name in made.of_type(CONTAINER)}


def in_plain_text(sent: Any) -> Any:  # noqa: ANN401 - JSON
    """What of something that is sent is no secret to the engine."""
    if isinstance(sent, dict):
        return None if sent.keys() == SECRET.keys() else {key: in_plain_text(value) for key, value in sent.items()}
    return [in_plain_text(each) for each in sent] if isinstance(sent, list) else sent


def test_no_container_has_an_environment_variable_that_is_named_like_a_token() -> None:
    # `docker inspect` shows it.
    envs = {name: each.get("envs", []) for name, each in everywhere(sent).items()}
    assert {name: env for name, env in envs.items() if re.search("(?i)TOKEN|SECRET|PASSW", repr(env))} == {}


def test_no_container_is_given_a_secret_but_in_a_file() -> None:
    # Docker shows all else: environment variables, command, labels, health check ...
    others = {name: {**each, "uploads": None} for name, each in everywhere(sent).items()}
    assert [name for name, each in others.items() if secrets_in(each)] == []


def test_every_file_with_a_secret_is_a_secret_to_the_engine() -> None:
    offenders = [
        f"{name} {upload['file']}"
        for name, each in everywhere(sent).items()
        for upload in each.get("uploads", [])
        if secrets_in(upload) and isinstance(upload["content"], str)
    ]
    assert offenders == []


@pytest.mark.parametrize(("stack", "registration"), PROGRAMS)
def test_no_resource_and_no_output_holds_a_secret_in_plain_text(stack: str, registration: str) -> None:
    # The state would have it, and a preview show it.
    made = guarded(stack, registration)
    plain = {name: in_plain_text(made.sent(name)) for name in made.requests}
    assert [name for name, each in plain.items() if secrets_in(each)] == []
    assert secrets_in(in_plain_text([made.sent_exports, made.outputs])) == []


def test_in_a_secured_stack_these_files_are_secrets() -> None:
    # So that the rules about them are about something.
    found = {
        f"{name} {upload['file']}"
        for name, each in sent(SECURED, "catalog").items()
        for upload in each.get("uploads", [])
        if secrets_in(upload)
    }
    assert found == {
        "server-carry /consul/config/secrets.json",
        "server-carry /consul/config/tls/key.pem",
        "agent-carry /consul/config/secrets.json",
        "agent-carry /consul/config/tls/key.pem",
        "files-reload /reload/token",
        "esm-container /etc/consul-esm/config.json",
    }


def test_in_a_secured_stack_the_authoritys_private_key_reaches_no_container() -> None:
    containers = sent(SECURED, "catalog")
    assert [name for name, each in containers.items() if "private keys-authority-key" in repr(each)] == []


# The roster and what is registered of it


@dataclass(frozen=True)
class Registered:
    """One service as it is registered, in a definition file's spelling."""

    id: str
    checks: dict[str, dict[str, str]]
    owner: str


def registered(stack: str, registration: str) -> Iterator[Registered]:
    """Every registration of a program, of all three kinds: with the agent, in the catalog, and in a definition file."""
    made = program(stack, registration)[0]
    for each in of_type(AGENT_SERVICE, made).values():
        yield Registered(each["service_id"], each["checks"], each["meta"]["managed-by"])
    for each in of_type(CATALOG_SERVICE, made).values():
        yield Registered(each["serviceId"], dict(map(_from_catalog, each["checks"])), each["meta"]["managed-by"])
    definitions = [each for each in made.sent("files-reload")["uploads"] if each["file"].endswith("-services.json")]
    for upload in definitions:
        for each in json.loads(upload["content"])["services"]:
            yield Registered(each["id"], dict(map(_from_file, each["checks"])), each["meta"]["managed-by"])


def _from_catalog(check: dict[str, str]) -> tuple[str, dict[str, str]]:
    names = {"deregisterCriticalServiceAfter": "deregister_critical_service_after"}
    return check["checkId"], {names.get(key, key): value for key, value in check.items() if key != "checkId"}


def _from_file(check: dict[str, str]) -> tuple[str, dict[str, str]]:
    return check["id"], {key: value for key, value in check.items() if key not in ("id", "notes")}


@pytest.mark.parametrize(("stack", "registration"), PROGRAMS)
def test_every_service_is_registered_exactly_once_with_its_checks_and_an_owner_of_the_stack(
    stack: str, registration: str
) -> None:
    found = sorted(registered(stack, registration), key=lambda each: each.id)
    services = sorted(forty_roster().services, key=lambda each: each.id)
    assert [(each.id, each.checks) for each in found] == [(each.id, definition(each)["checks"]) for each in services]
    assert [each.id for each in found if not each.owner.startswith("pulumi/consul-staging/test/")] == []
