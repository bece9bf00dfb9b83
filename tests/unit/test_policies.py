"""What holds for all that a stack on Docker ever declares, however it registers: each rule names who breaks it."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from ipaddress import ip_address
from typing import Any

import pytest

from components.standins import image_name
from services.render import definition
from services.roster import roster
from tests.unit.mocked import (
    BUILT_IMAGE,
    CONSUL,
    CONTAINER,
    HOUSE,
    IDS,
    NETWORK,
    OTHER_ID,
    REMOTE_IMAGE,
    VOLUME,
    Deployed,
    program,
    program_with,
    stack_config,
)

AGENT_SERVICE = "pulumi-python:dynamic/consul:AgentService"
CATALOG_SERVICE = "consul:index/service:Service"
TOKEN = "5c1b2b5e-consul-acl-token"  # noqa: S105 - no real one

STACKS = ("docker-local", "staging")
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


@every_program
def test_a_program_has_this_many_containers(stack: str, registration: str) -> None:
    # So that what follows is about something.
    every = {"docker-local": 43, "staging": 2}[stack] + (registration == "catalog")
    assert (len(containers(stack, registration)), len(run_on(stack, registration))) == (every, every - 1)


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
        {"docker-local": 2, "staging": 1}[stack],
    )


@every_program
def test_nothing_but_consuls_api_is_published(stack: str, registration: str) -> None:
    nodes = of_image(stack, registration, CONSUL)
    offenders = [
        name
        for name, each in containers(stack, registration).items()
        if any(name not in nodes or port["internal"] != 8500 for port in each.get("ports", []))
        or each.get("publishAllPorts")
    ]
    assert offenders == []


@every_program
def test_every_container_is_on_the_platforms_network_alone(stack: str, registration: str) -> None:
    offenders = [
        name
        for name, each in containers(stack, registration).items()
        if each.get("networksAdvanced") != [{"name": NETWORK}] or "networkMode" in each
    ]
    assert offenders == []


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
def test_every_container_that_may_end_is_waited_for_until_it_has(stack: str, registration: str) -> None:
    ends = containers(stack, registration).keys() - run_on(stack, registration).keys()
    assert [name for name in ends if not containers(stack, registration)[name].get("attach")] == []


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
        *(["server-container"] if stack == "docker-local" else []),
        *(["esm-container"] if registration == "catalog" else []),
        "agent-container",
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
@pytest.mark.parametrize("key", ["capabilities", "devices", "gpus", "pidMode", "ipcMode", "usernsMode", "securityOpts"])
def test_no_container_has_more_of_the_host_than_others(stack: str, registration: str, key: str) -> None:
    assert [name for name, each in containers(stack, registration).items() if key in each] == []


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


# The token


@cache
def guarded(stack: str, registration: str) -> dict[str, Inputs]:
    """The containers as they are sent, where the servers ask for a token."""
    config = {**stack_config(stack), "registration": registration, "agentToken": TOKEN}
    made = program_with(config, ["agentToken"])[0]
    return {name: made.sent(name) for name in made.of_type(CONTAINER)}


@every_program
def test_no_container_has_an_environment_variable_that_holds_a_token(stack: str, registration: str) -> None:
    # `docker inspect` shows it.
    envs = {name: each.get("envs", []) for name, each in guarded(stack, registration).items()}
    sensitive = re.compile(f"{TOKEN}|TOKEN|SECRET|PASSW", re.IGNORECASE)
    assert {name: env for name, env in envs.items() if sensitive.search(repr(env))} == {}


@every_program
def test_no_container_is_given_the_token_but_in_a_file(stack: str, registration: str) -> None:
    others = {name: {**each, "uploads": None} for name, each in guarded(stack, registration).items()}
    assert [name for name, each in others.items() if TOKEN in repr(each)] == []


@every_program
def test_every_file_with_the_token_is_a_secret(stack: str, registration: str) -> None:
    offenders = [
        f"{name} {upload['file']}"
        for name, each in guarded(stack, registration).items()
        for upload in each.get("uploads", [])
        if TOKEN in repr(upload) and isinstance(upload["content"], str)
    ]
    assert offenders == []


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
    for upload in made.inputs("files-reload")["uploads"]:
        for each in json.loads(upload["content"]).get("services", []):
            yield Registered(each["id"], dict(map(_from_file, each["checks"])), each["meta"]["managed-by"])


def _from_catalog(check: dict[str, str]) -> tuple[str, dict[str, str]]:
    names = {"deregisterCriticalServiceAfter": "deregister_critical_service_after"}
    return check["checkId"], {names.get(key, key): value for key, value in check.items() if key != "checkId"}


def _from_file(check: dict[str, str]) -> tuple[str, dict[str, str]]:
    return check["id"], {key: value for key, value in check.items() if key not in ("id", "notes")}


def test_every_service_has_a_check() -> None:
    assert [service.id for service in roster().services if not service.checks] == []


def test_no_service_is_removed_before_it_was_critical_for_60_seconds() -> None:
    after = {check.id: check.deregister_critical_service_after for each in roster().services for check in each.checks}
    assert {check_id: time for check_id, time in after.items() if time < timedelta(seconds=60)} == {}


@every_program
def test_every_service_is_registered_exactly_once(stack: str, registration: str) -> None:
    times = Counter(each.id for each in registered(stack, registration))
    times.subtract([service.id for service in roster().services])
    assert {service_id: count for service_id, count in times.items() if count} == {}


@every_program
def test_every_registration_carries_exactly_the_rosters_checks(stack: str, registration: str) -> None:
    stated = {service.id: definition(service)["checks"] for service in roster().services}
    carried = {each.id: each.checks for each in registered(stack, registration)}
    assert {key: checks for key, checks in carried.items() if checks != stated.get(key)} == {}


@every_program
def test_every_registration_carries_the_stacks_mark(stack: str, registration: str) -> None:
    marks = {each.id: each.mark for each in registered(stack, registration)}
    assert {key: mark for key, mark in marks.items() if not mark.startswith("pulumi/consul-staging/test/")} == {}
