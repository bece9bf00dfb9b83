"""What holds for all that a stack on Docker ever declares, however it registers: each rule names who breaks it."""

import base64
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from ipaddress import ip_address
from typing import Any
from uuid import UUID

import pytest

from components.stand_ins import image_name
from services.definition import definition
from tests.forty_services import forty_roster
from tests.unit.mocked import (
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
TOKEN = "5c1b2b5e-consul-acl-token"  # noqa: S105 - no real one

STACKS = ("docker-local", "staging", SECURED)
PROGRAMS = [(stack, registration) for stack in STACKS for registration in ("agent", "catalog", "files")]
every_stack = pytest.mark.parametrize("stack", STACKS)
every_program = pytest.mark.parametrize(("stack", "registration"), PROGRAMS, ids=[" ".join(each) for each in PROGRAMS])

Inputs = dict[str, Any]


def of_type(type_: str, made: Deployed) -> dict[str, Inputs]:
    return {name: made.inputs(name) for name in made.of_type(type_)}


@cache
def containers(stack: str, registration: str) -> dict[str, Inputs]:
    return of_type(CONTAINER, program(stack, registration)[0])


def run_on(stack: str, registration: str) -> dict[str, Inputs]:
    """The containers that are to go on running: of the others, each says itself that it may end."""
    return {name: each for name, each in containers(stack, registration).items() if each.get("mustRun", True)}


def of_image(stack: str, registration: str, *images: str) -> dict[str, Inputs]:
    """The containers that are to go on running, of these images."""
    ids = {IDS[image] for image in images}
    return {name: each for name, each in run_on(stack, registration).items() if each["image"] in ids}


def carriers(stack: str, registration: str) -> dict[str, Inputs]:
    """The containers that carry a Consul node's configuration into its volume, and end at once."""
    return {name: each for name, each in containers(stack, registration).items() if name.endswith("-carry")}


def nodes_of(stack: str) -> set[str]:
    """The Consul nodes that a stack deploys, by their component's name."""
    return {"agent"} if stack == "staging" else {"agent", "server"}


@every_program
def test_a_program_has_this_many_containers(stack: str, registration: str) -> None:
    # So that what follows is about something.
    run = {"docker-local": 42, SECURED: 42, "staging": 1}[stack] + (registration == "catalog")
    ends = len(nodes_of(stack)) + 1  # one that carries the config of each node, and the one that has the agent reload
    assert (len(run_on(stack, registration)), len(containers(stack, registration))) == (run, run + ends)


@every_program
def test_the_containers_that_carry_a_config_are_one_for_each_consul_node(stack: str, registration: str) -> None:
    assert carriers(stack, registration).keys() == {f"{node}-carry" for node in nodes_of(stack)}


# Images

# A version, and perhaps a digest.
EXACT = re.compile(r".+:v?[0-9][A-Za-z0-9._-]*(@sha256:[0-9a-f]{64})?")


def pulled(stack: str, registration: str) -> dict[str, str]:
    """The name of each image, by its resource's."""
    return {name: each["name"] for name, each in of_type(REMOTE_IMAGE, program(stack, registration)[0]).items()}


def built(stack: str, registration: str) -> dict[str, str]:
    return {name: each["imageName"] for name, each in of_type(BUILT_IMAGE, program(stack, registration)[0]).items()}


@every_program
def test_every_image_that_is_pulled_has_an_exact_tag(stack: str, registration: str) -> None:
    offenders = {name: image for name, image in pulled(stack, registration).items() if not EXACT.fullmatch(image)}
    assert offenders == {}


@every_program
def test_no_image_is_the_latest(stack: str, registration: str) -> None:
    images = {**pulled(stack, registration), **built(stack, registration)}
    assert {name: image for name, image in images.items() if re.search(r":latest(@|$)", image)} == {}


@every_program
def test_every_image_that_is_built_has_a_tag_of_its_content(stack: str, registration: str) -> None:
    assert {name: image for name, image in built(stack, registration).items() if image != image_name()} == {}


def test_every_image_that_one_is_built_from_has_an_exact_tag() -> None:
    bases = re.findall(r"(?m)^FROM (\S+)", (HOUSE / "components" / "standin" / "Dockerfile").read_text())
    assert ([image for image in bases if not EXACT.fullmatch(image)], len(bases)) == ([], 1)


@every_program
def test_every_container_runs_an_image_that_its_stack_declares(stack: str, registration: str) -> None:
    known = {IDS.get(image, OTHER_ID) for image in pulled(stack, registration).values()}
    known |= set(built(stack, registration).values())
    images = {name: each["image"] for name, each in containers(stack, registration).items()}
    assert {name: image for name, image in images.items() if image not in known} == {}


# The network


def published(found: dict[str, Inputs]) -> dict[str, str | None]:
    """The Docker host's address of each port that is published, by container and port."""
    return {
        f"{name} {port['internal']:g}": port.get("ip") for name, each in found.items() for port in each.get("ports", [])
    }


@every_program
def test_every_published_port_has_an_address(stack: str, registration: str) -> None:
    # Without one, Docker publishes on all interfaces, and past the host's firewall.
    assert [port for port, ip in published(containers(stack, registration)).items() if not ip] == []


@every_program
def test_every_published_port_is_on_loopback(stack: str, registration: str) -> None:
    ports = published(containers(stack, registration))
    assert {port: ip for port, ip in ports.items() if not ip_address(ip or "0.0.0.0").is_loopback} == {}  # noqa: S104


@every_stack
def test_every_published_port_is_where_the_stack_says_otherwise(stack: str) -> None:
    made = program_with({**stack_config(stack), "publishOn": "10.0.0.5"})[0]
    ports = published(of_type(CONTAINER, made))
    assert ({port: ip for port, ip in ports.items() if ip != "10.0.0.5"}, len(ports)) == (
        {},
        len(nodes_of(stack)),
    )


@every_program
def test_nothing_but_consuls_api_is_published(stack: str, registration: str) -> None:
    # Of a secured stack, over HTTPS alone.
    nodes, api = of_image(stack, registration, CONSUL), 8501 if stack == SECURED else 8500
    offenders = [
        name
        for name, each in containers(stack, registration).items()
        if any(name not in nodes or port["internal"] != api for port in each.get("ports", []))
        or each.get("publishAllPorts")
    ]
    assert offenders == []


@every_program
def test_every_container_but_those_that_carry_a_config_is_on_the_platforms_network_alone(
    stack: str, registration: str
) -> None:
    offenders = [
        name
        for name, each in containers(stack, registration).items()
        if each.get("networksAdvanced") != [{"name": NETWORK}] or "networkMode" in each
    ]
    assert set(offenders) == carriers(stack, registration).keys()


@every_program
def test_every_container_that_carries_a_config_is_on_no_network(stack: str, registration: str) -> None:
    networks = {
        name: (each.get("networkMode"), each.get("networksAdvanced"), each.get("ports"))
        for name, each in carriers(stack, registration).items()
    }
    assert {name: network for name, network in networks.items() if network != ("none", None, None)} == {}


@every_program
def test_no_two_containers_have_one_name(stack: str, registration: str) -> None:
    names = Counter(each["name"] for each in containers(stack, registration).values())
    assert [name for name, times in names.items() if times > 1] == []


# How they run


@every_program
def test_every_container_that_is_to_run_restarts_until_it_is_stopped(stack: str, registration: str) -> None:
    policies = {name: each.get("restart") for name, each in run_on(stack, registration).items()}
    assert {name: policy for name, policy in policies.items() if policy != "unless-stopped"} == {}


@every_program
def test_no_container_that_may_end_restarts(stack: str, registration: str) -> None:
    ends = containers(stack, registration).keys() - run_on(stack, registration).keys()
    assert [name for name in ends if "restart" in containers(stack, registration)[name]] == []


@every_program
def test_every_container_that_may_end_is_waited_for_until_it_has_unless_its_work_is_done_before_it_starts(
    stack: str, registration: str
) -> None:
    # What is uploaded is in the volume then.
    ends = containers(stack, registration).keys() - run_on(stack, registration).keys()
    unattended = {name for name in ends if not containers(stack, registration)[name].get("attach")}
    assert unattended == carriers(stack, registration).keys()


@every_program
def test_every_container_of_consul_or_consul_esm_has_a_health_check(stack: str, registration: str) -> None:
    checks = {name: each.get("healthcheck") or {} for name, each in of_image(stack, registration, *IDS).items()}
    assert {name: each for name, each in checks.items() if each.get("tests", [])[:1] != ["CMD"]} == {}


@every_program
def test_every_container_of_consul_or_consul_esm_is_waited_for_until_it_is_healthy(
    stack: str, registration: str
) -> None:
    assert [name for name, each in of_image(stack, registration, *IDS).items() if each.get("wait") is not True] == []


@every_program
def test_the_containers_of_consul_and_consul_esm_are_these(stack: str, registration: str) -> None:
    # So that the rules about them are about something.
    expected = {
        *(f"{node}-container" for node in nodes_of(stack)),
        *(["esm-container"] if registration == "catalog" else []),
    }
    assert of_image(stack, registration, *IDS).keys() == expected


@every_program
def test_every_containers_log_is_limited(stack: str, registration: str) -> None:
    logs = {
        name: (each.get("logDriver"), each.get("logOpts")) for name, each in containers(stack, registration).items()
    }
    limited = ("json-file", {"max-size": "10m", "max-file": "3"})
    assert {name: log for name, log in logs.items() if log != limited} == {}


@every_program
@pytest.mark.parametrize("by", ["destroyGraceSeconds", "stopTimeout"])  # Pulumi, and Docker itself
def test_every_consul_node_has_20_seconds_or_more_to_leave_the_cluster(stack: str, registration: str, by: str) -> None:
    grace = {name: each.get(by, 0) for name, each in of_image(stack, registration, CONSUL).items()}
    assert {name: seconds for name, seconds in grace.items() if seconds < 20} == {}


# What they may


@every_program
def test_no_container_is_privileged(stack: str, registration: str) -> None:
    assert [name for name, each in containers(stack, registration).items() if each.get("privileged")] == []


@every_program
@pytest.mark.parametrize(
    "key", ["devices", "gpus", "pidMode", "ipcMode", "usernsMode", "groupAdds", "hosts", "sysctls"]
)
def test_no_container_has_more_of_the_host_than_others(stack: str, registration: str, key: str) -> None:
    assert [name for name, each in containers(stack, registration).items() if key in each] == []


@every_program
def test_every_container_drops_all_capabilities_and_adds_none(stack: str, registration: str) -> None:
    capabilities = {name: each.get("capabilities") for name, each in containers(stack, registration).items()}
    assert {name: each for name, each in capabilities.items() if each != {"drops": ["ALL"]}} == {}


@every_program
def test_no_container_can_gain_privileges(stack: str, registration: str) -> None:
    options = {name: each.get("securityOpts") for name, each in containers(stack, registration).items()}
    assert {name: each for name, each in options.items() if each != ["no-new-privileges=true"]} == {}


@every_program
def test_every_container_that_is_to_run_but_consul_esm_has_a_read_only_file_system(
    stack: str, registration: str
) -> None:
    # consul-esm's configuration is uploaded into it.
    writable = {name for name, each in run_on(stack, registration).items() if each.get("readOnly") is not True}
    assert writable == ({"esm-container"} if registration == "catalog" else set())


@every_program
def test_no_container_with_a_read_only_file_system_is_given_files(stack: str, registration: str) -> None:
    # Docker refuses them.
    read_only = {name: each for name, each in containers(stack, registration).items() if each.get("readOnly")}
    assert [name for name, each in read_only.items() if each.get("uploads")] == []


@every_program
def test_every_container_is_told_to_run_as_another_user_than_root_but_consul_esm_and_those_that_carry_a_config(
    stack: str, registration: str
) -> None:
    # consul-esm's image has a user of its own; who carries a config ends at once, and writes nothing itself.
    users = {name: each.get("user") for name, each in containers(stack, registration).items()}
    consul = {"agent-container", "files-reload", *(["server-container"] if stack != "staging" else [])}
    unsaid = {*carriers(stack, registration), *(["esm-container"] if registration == "catalog" else [])}
    assert {name for name, user in users.items() if user is None} == unsaid
    assert {name for name, user in users.items() if user == "consul"} == consul
    assert {user for name, user in users.items() if name not in unsaid | consul} <= {"65534:65534"}


@every_program
def test_no_container_mounts_anything_but_its_stacks_own_volumes(stack: str, registration: str) -> None:
    own = {each["name"] for each in of_type(VOLUME, program(stack, registration)[0]).values()}
    offenders = {
        name: volume
        for name, each in containers(stack, registration).items()
        for volume in (*each.get("volumes", []), *each.get("mounts", []))
        if volume.get("volumeName") not in own or volume.keys() != {"containerPath", "volumeName"}
    }
    assert offenders == {}


@every_program
def test_no_container_knows_of_dockers_socket(stack: str, registration: str) -> None:
    known = {name: repr(each) for name, each in containers(stack, registration).items()}
    assert [name for name, text in known.items() if re.search("docker.sock|DOCKER_HOST", text)] == []


# The secrets


@cache
def guarded(stack: str, registration: str) -> Deployed:
    """A program whose servers ask for a token: one that the stack is given, or those that it makes."""
    if stack == SECURED:
        return program(stack, registration)[0]
    config = {**stack_config(stack), "registration": registration, "agentToken": TOKEN}
    return program_with(config, ["agentToken"])[0]


@cache
def secrets(stack: str, registration: str) -> frozenset[str]:
    """What nobody may see of a program: tokens, private keys and the key of the cluster's traffic, as they are sent."""
    if stack != SECURED:
        return frozenset({TOKEN})
    gossip, management = made_password("keys-gossip"), made_password("keys-management")
    tokens = {"agent", "registration", "verify", "removal", "reload", *(["esm"] if registration == "catalog" else [])}
    return frozenset(
        {
            base64.b64encode(gossip.encode()).decode(),
            gossip,
            str(UUID(management)),
            management,
            *(f"private keys-{name}-key" for name in ("authority", "staging-consul", "consul-agent-shared")),
            *(f"secret-of-acl-{token}-token-id" for token in tokens),
        }
    )


def known(stack: str, registration: str, what: object) -> list[str]:
    """The program's secrets that stand in something."""
    return sorted(each for each in secrets(stack, registration) if each in repr(what))


def sent(stack: str, registration: str) -> dict[str, Inputs]:
    """The containers as they are sent, where a secret within one stands at its own place."""
    made = guarded(stack, registration)
    return {name: made.sent(name) for name in made.of_type(CONTAINER)}


def in_plain_text(sent: Any) -> Any:  # noqa: ANN401 - JSON
    """What of something that is sent is no secret to the engine."""
    if isinstance(sent, dict):
        return None if sent.keys() == SECRET.keys() else {key: in_plain_text(value) for key, value in sent.items()}
    return [in_plain_text(each) for each in sent] if isinstance(sent, list) else sent


@every_program
def test_no_container_has_an_environment_variable_that_holds_a_token(stack: str, registration: str) -> None:
    # `docker inspect` shows it.
    envs = {name: each.get("envs", []) for name, each in sent(stack, registration).items()}
    sensitive = re.compile("TOKEN|SECRET|PASSW", re.IGNORECASE)
    assert {
        name: env for name, env in envs.items() if sensitive.search(repr(env)) or known(stack, registration, env)
    } == {}


@every_program
@pytest.mark.parametrize("key", ["envs", "command", "entrypoints", "labels", "name", "hostname", "healthcheck"])
def test_nothing_that_docker_shows_of_a_container_holds_a_secret(stack: str, registration: str, key: str) -> None:
    shown = {name: each.get(key) for name, each in sent(stack, registration).items()}
    assert {name: each for name, each in shown.items() if known(stack, registration, each)} == {}


@every_program
def test_no_container_is_given_a_secret_but_in_a_file(stack: str, registration: str) -> None:
    others = {name: {**each, "uploads": None} for name, each in sent(stack, registration).items()}
    assert [name for name, each in others.items() if known(stack, registration, each)] == []


@every_program
def test_every_file_with_a_secret_is_a_secret_to_the_engine(stack: str, registration: str) -> None:
    offenders = [
        f"{name} {upload['file']}"
        for name, each in sent(stack, registration).items()
        for upload in each.get("uploads", [])
        if known(stack, registration, upload) and isinstance(upload["content"], str)
    ]
    assert offenders == []


@every_program
def test_no_resource_and_no_output_holds_a_secret_in_plain_text(stack: str, registration: str) -> None:
    # The state would have it, and a preview show it.
    made = guarded(stack, registration)
    plain = {name: in_plain_text(made.sent(name)) for name in made.requests}
    assert [name for name, each in plain.items() if known(stack, registration, each)] == []
    assert known(stack, registration, in_plain_text([made.told, made.outputs])) == []


def test_in_a_secured_stack_these_files_are_secrets() -> None:
    # So that the rules about them are about something.
    found = {
        f"{name} {upload['file']}"
        for name, each in sent(SECURED, "catalog").items()
        for upload in each.get("uploads", [])
        if known(SECURED, "catalog", upload)
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
    made = guarded(SECURED, "catalog")
    assert [name for name in made.of_type(CONTAINER) if "private keys-authority-key" in repr(made.sent(name))] == []


# The roster and what is registered of it


@dataclass(frozen=True)
class Registered:
    """One service as it is registered, in a definition file's spelling."""

    id: str
    checks: dict[str, dict[str, str]]
    mark: str


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


def test_every_service_has_a_check() -> None:
    assert [service.id for service in forty_roster().services if not service.checks] == []


def test_no_service_is_removed_before_it_was_critical_for_60_seconds() -> None:
    after = {
        check.id: check.deregister_critical_service_after for each in forty_roster().services for check in each.checks
    }
    assert {check_id: time for check_id, time in after.items() if time < timedelta(seconds=60)} == {}


@every_program
def test_every_service_is_registered_exactly_once(stack: str, registration: str) -> None:
    times = Counter(each.id for each in registered(stack, registration))
    times.subtract([service.id for service in forty_roster().services])
    assert {service_id: count for service_id, count in times.items() if count} == {}


@every_program
def test_every_registration_carries_exactly_the_rosters_checks(stack: str, registration: str) -> None:
    stated = {service.id: definition(service)["checks"] for service in forty_roster().services}
    carried = {each.id: each.checks for each in registered(stack, registration)}
    assert {key: checks for key, checks in carried.items() if checks != stated.get(key)} == {}


@every_program
def test_every_registration_carries_the_stacks_mark(stack: str, registration: str) -> None:
    marks = {each.id: each.mark for each in registered(stack, registration)}
    assert {key: mark for key, mark in marks.items() if not mark.startswith("pulumi/consul-staging/test/")} == {}
