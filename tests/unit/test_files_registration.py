import json
from functools import cache
from types import SimpleNamespace
from typing import Any

import pulumi
import pytest

from components.consul_agent import ConsulAgent, ConsulAgentArgs
from components.registration import files as files_registration
from components.registration.files import FilesRegistration, FilesRegistrationArgs
from services.roster import Roster
from tests.forty_services import FORTY, Line, forty_roster
from tests.unit.pulumi_mocks import CONSUL, CONTAINER, NETWORK, Deployed, on_docker, secret
from tests.unit.test_docker_components import HARDENED

TYPE = "consul-staging:registration:FilesRegistration"
FOLDER = "/consul/config/services"
NOBODY = Roster(services=())


REFUSE = "files-refuse-failed-reload"


def registered(services: Roster, moves: bool = False, opts: pulumi.ResourceOptions | None = None) -> Deployed:
    """Deploy an agent and its files."""

    def program() -> None:
        agent = ConsulAgent("agent", ConsulAgentArgs(CONSUL, NETWORK, None))
        hooks = pulumi.ResourceHookBinding(before_create=[pulumi.ResourceHook("move", lambda _: None)])
        args = FilesRegistrationArgs(services, agent, pulumi.Output.from_input(NETWORK), hooks=hooks if moves else None)
        FilesRegistration("files", args, opts)

    return on_docker(program)[0]


@cache
def made() -> Deployed:
    return registered(forty_roster())


@cache
def emptied() -> Deployed:
    return registered(NOBODY)


def files(of: Deployed) -> dict[str, Any]:
    """What the agent is to read, by the file's path."""
    return {each["file"]: json.loads(each["content"]) for each in of.inputs("files-reload")["uploads"]}


# What is declared


def test_it_is_a_component_and_one_container() -> None:
    types = {name: request.type for name, request in made().requests.items() if name.startswith("files")}
    assert types == {"files": TYPE, "files-reload": CONTAINER}


def test_another_name_for_the_component_is_another_name_for_its_container() -> None:
    def program() -> None:
        agent = ConsulAgent("agent", ConsulAgentArgs(CONSUL, NETWORK, None))
        FilesRegistration("other", FilesRegistrationArgs(NOBODY, agent, NETWORK))

    assert sorted(on_docker(program)[0].of_type(CONTAINER)) == ["agent-carry", "agent-container", "other-reload"]


def test_the_container_is_exactly_this() -> None:
    inputs = made().inputs("files-reload")
    inputs.pop("uploads")  # have tests of their own
    assert inputs == {
        "name": "consul-agent-shared-reload",
        "image": "sha256:5a5d1a1e8b6c",
        "user": "consul",
        "entrypoints": ["consul"],
        "command": ["reload", "-http-addr=http://consul-agent-shared:8500"],
        "labels": [
            {"label": "agent", "value": "agent-container-id"},
            {"label": "purpose", "value": "makes consul-agent-shared read its files again, then ends"},
        ],
        "networksAdvanced": [{"name": "staging_staging-network"}],
        "volumes": [{"containerPath": "/consul/config/services", "volumeName": "consul-agent-shared-files"}],
        "attach": True,
        "logs": True,
        "mustRun": False,
        **HARDENED,
    }


def test_the_container_has_the_volume_where_the_agent_has_it() -> None:
    [volume] = made().inputs("files-reload")["volumes"]
    assert volume in made().inputs("agent-container")["volumes"]


def test_the_agent_reads_the_folder_that_the_files_are_in() -> None:
    [volume] = made().inputs("files-reload")["volumes"]
    assert f"-config-dir={volume['containerPath']}" in made().inputs("agent-container")["command"]


def test_the_container_runs_the_agents_own_image() -> None:
    assert made().inputs("files-reload")["image"] == made().inputs("agent-container")["image"]


def test_the_container_waits_for_the_agents_container_and_its_volume() -> None:
    assert made().waits_for("files-reload") == {"agent-container", "agent-files"}


def test_another_container_of_the_agent_reads_the_files_too() -> None:
    # Its id is a label: another one replaces the container that has the agent reload.
    dependencies = made().requests["files-reload"].propertyDependencies["labels"].urns
    assert [urn.rpartition("::")[2] for urn in dependencies] == ["agent-container"]


def test_the_container_is_deleted_before_it_is_replaced() -> None:
    # Two containers cannot have one name.
    assert made().requests["files-reload"].deleteBeforeReplace


def test_nothing_is_moved_by_default() -> None:
    assert made().bound("files-reload") == {"after_create": [REFUSE]}


def test_what_moves_services_is_bound_to_the_container() -> None:
    # It alone is created anew whenever a file changes.
    found = registered(NOBODY, moves=True)
    assert (found.bound("files-reload")["before_create"], found.bound("files")) == (["move"], {})


def test_protect_reaches_the_container() -> None:
    found = registered(NOBODY, opts=pulumi.ResourceOptions(protect=True))
    assert [name for name, request in found.requests.items() if request.protect] == ["files", "files-reload"]


# The files


def test_the_files_are_exactly_these_four() -> None:
    assert [each["file"] for each in made().inputs("files-reload")["uploads"]] == [
        "/consul/config/services/agent-reloaded.json",
        "/consul/config/services/user-services.json",
        "/consul/config/services/ai-services.json",
        "/consul/config/services/grpc-services.json",
    ]


def test_the_files_are_written_for_people_to_read() -> None:
    contents = [each["content"] for each in made().inputs("files-reload")["uploads"]]
    assert contents == [json.dumps(json.loads(content), indent=2) + "\n" for content in contents]


def test_the_file_of_the_agents_config_is_exactly_this() -> None:
    assert files(made())[f"{FOLDER}/agent-reloaded.json"] == {"log_level": "INFO"}


@pytest.mark.parametrize(("kind", "count"), [("user", 28), ("ai", 3), ("grpc", 9)])
def test_the_file_of_a_group_defines_exactly_its_services(kind: str, count: int) -> None:
    services = files(made())[f"{FOLDER}/{kind}-services.json"]["services"]
    assert services == [defined(line) for line in FORTY if line.kind == kind]
    assert len(services) == count


def defined(line: Line) -> dict[str, Any]:
    aim = f"TCP {line.target}" if line.kind == "grpc" else f"GET {line.target}"
    notes = f"{aim}; deregistered after 1m30s critical"
    return {
        "id": line.name,
        "name": line.name,
        "address": line.container,
        "port": line.port,
        "tags": line.tags,
        "meta": {**line.meta, "managed-by": "pulumi/consul-staging/test/definition-files"},
        "checks": [{"id": line.check_id, **line.check, "notes": notes}],
    }


def test_of_no_services_all_the_files_are_written_all_the_same() -> None:
    # One that is not written would stay in the volume.
    assert files(emptied()) == {
        "/consul/config/services/agent-reloaded.json": {"log_level": "INFO"},
        "/consul/config/services/user-services.json": {"services": []},
        "/consul/config/services/ai-services.json": {"services": []},
        "/consul/config/services/grpc-services.json": {"services": []},
    }


def test_of_no_services_the_container_is_otherwise_the_same() -> None:
    with_services, without = made().inputs("files-reload"), emptied().inputs("files-reload")
    assert {**with_services, "uploads": None} == {**without, "uploads": None}


# A secured cluster

TOKEN = "5c1b2b5e-consul-acl-token"  # noqa: S105 - no real one
AUTHORITY = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


@cache
def secured() -> Deployed:
    def program() -> None:
        agent = ConsulAgent("agent", ConsulAgentArgs(CONSUL, NETWORK, None))
        FilesRegistration("files", FilesRegistrationArgs(forty_roster(), agent, NETWORK, TOKEN, AUTHORITY))

    return on_docker(program)[0]


def test_a_secured_agent_is_reloaded_over_https_with_a_token_and_an_authority_from_files() -> None:
    assert secured().inputs("files-reload")["command"] == [
        "reload",
        "-http-addr=https://consul-agent-shared:8501",
        "-token-file=/reload/token",
        "-ca-file=/reload/ca.pem",
    ]


def test_the_token_is_a_secret_file_beside_the_definition_files() -> None:
    definitions = made().sent("files-reload")["uploads"]
    assert secured().sent("files-reload")["uploads"] == [
        *definitions,
        {"file": "/reload/token", "content": secret(TOKEN)},
        {"file": "/reload/ca.pem", "content": AUTHORITY},
    ]


def test_the_token_stands_nowhere_else() -> None:
    sent = {name: secured().sent(name) for name in secured().requests}
    sent["files-reload"]["uploads"] = [
        upload for upload in sent["files-reload"]["uploads"] if upload["file"] != "/reload/token"
    ]
    assert TOKEN not in repr((sent, secured().outputs))


def test_the_token_is_not_in_the_arguments_repr() -> None:
    def program() -> None:
        agent = ConsulAgent("agent", ConsulAgentArgs(CONSUL, NETWORK, None))
        assert TOKEN not in repr(FilesRegistrationArgs(NOBODY, agent, NETWORK, TOKEN, AUTHORITY))

    on_docker(program)


def test_in_a_secured_cluster_the_container_is_otherwise_the_same() -> None:
    differs = {"uploads": None, "command": None}
    assert {**secured().inputs("files-reload"), **differs} == {**made().inputs("files-reload"), **differs}


# How it ends


class Containers:
    """Docker's containers; keeps the names of those that are removed."""

    def __init__(self) -> None:
        self.removed: list[str] = []

    def get(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(remove=lambda v: self.removed.append(name) if v else None)


@pytest.fixture(name="containers")
def _containers(monkeypatch: pytest.MonkeyPatch) -> Containers:
    containers = Containers()
    monkeypatch.setattr(files_registration, "docker_client", lambda _: SimpleNamespace(containers=containers))
    return containers


def ended(code: int, log: str) -> str:
    """Return what is said after the container was created and has ended."""
    outputs = {"name": "consul-agent-shared-reload", "exitCode": code, "containerLogs": log}
    return made().call(REFUSE, outputs=outputs)


def test_an_agent_that_has_reloaded_is_no_error_and_the_container_stays(containers: Containers) -> None:
    assert (ended(0, "Configuration reload triggered\n"), containers.removed) == ("", [])


@pytest.mark.parametrize("code", [1, 2, 137])
def test_an_agent_that_refuses_the_files_fails_the_run_which_the_next_one_tries_again(
    containers: Containers, code: int
) -> None:
    assert ended(code, "Error reloading: Unexpected response code: 500\n") == (
        "the agent did not reload its files: Error reloading: Unexpected response code: 500. "
        "Its own log says why: docker logs consul-agent-shared"
    )
    assert containers.removed == ["consul-agent-shared-reload"]  # a refresh sees that it is missing
