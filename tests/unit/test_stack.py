from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from consul_cluster.client import Consul
from operations import credentials as module
from operations.credentials import NotDeployedError, Role
from operations.pulumi_engine import Engine
from operations.sandbox.sandbox import sandbox
from operations.stack import Stack, StackError
from services.environment import Environment
from services.roster import Roster, load_roster
from settings import SettingsError
from tests.unit.authorities import AUTHORITY
from tests.unit.stacks import fake_outputs

pytestmark = pytest.mark.real_roster

AGENT = "http://127.0.0.1:8501"
SERVER = "http://127.0.0.1:8500"
TOKEN = "5c1b2b5e-consul-acl-token"  # noqa: S105 - no real one


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONSUL_HTTP_TOKEN", raising=False)


def stack(folder: Path, name: str = "test", **config: object) -> Path:
    """Write a project with a stack's file; returns its folder."""
    (folder / "Pulumi.yaml").write_text(yaml.safe_dump({"name": "consul-staging"}))
    keys = {"agentAddress": AGENT, "serverAddress": SERVER, **config}
    own = {f"consul-staging:{key}": value for key, value in keys.items() if value is not None}
    (folder / f"Pulumi.{name}.yaml").write_text(yaml.safe_dump({"config": own}))
    return folder


def test_a_target_is_the_projects_stack(tmp_path: Path) -> None:
    found = Stack.load("test", stack(tmp_path))
    assert (found.project, found.name) == ("consul-staging", "test")


def test_a_target_has_the_settings_of_its_file(tmp_path: Path) -> None:
    assert Stack.load("test", stack(tmp_path, environment="production")).settings.environment == "production"


def test_the_services_of_a_target_are_those_of_the_roster_for_its_environment_and_host(tmp_path: Path) -> None:
    services = Stack.load("test", stack(tmp_path, environment="production", serviceHost="127.0.0.3")).roster.services
    assert services == load_roster(Environment("production", "127.0.0.3")).services
    assert {(each.meta["environment"], each.host) for each in services} == {("production", "127.0.0.3")}


@pytest.mark.parametrize("name", ["local", "docker-local", "staging"])
def test_every_committed_stack_is_a_target(name: str) -> None:
    assert Stack.load(name).name == name


def test_a_targets_owners_begin_with_its_project_and_name(tmp_path: Path) -> None:
    assert Stack.load("test", stack(tmp_path)).owner_prefix == "pulumi/consul-staging/test/"


@pytest.mark.parametrize(
    ("registration", "node"),
    [("agent", "consul-agent-shared"), ("files", "consul-agent-shared"), ("catalog", "platform-external")],
)
def test_a_targets_node_is_where_its_services_are_registered(tmp_path: Path, registration: str, node: str) -> None:
    folder = stack(tmp_path, registration=registration, externalNode="platform-external")
    assert Stack.load("test", folder).node == node


# Its Consul


def without_agent(folder: Path) -> Stack:
    return Stack.load("test", stack(folder, registration="files", agentAddress=None))


def test_a_targets_agent_and_server_are_those_of_its_file(tmp_path: Path) -> None:
    found = Stack.load("test", stack(tmp_path))
    assert (found.agent and found.agent.address, found.server.address) == (AGENT, SERVER)


def test_an_agent_that_is_not_published_is_none(tmp_path: Path) -> None:
    assert without_agent(tmp_path).agent is None


def test_clients_use_the_agent(tmp_path: Path) -> None:
    assert Stack.load("test", stack(tmp_path)).consul.address == AGENT


def test_clients_use_the_server_where_the_agent_is_not_published(tmp_path: Path) -> None:
    assert without_agent(tmp_path).consul.address == SERVER


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """Return where every client will be that is made: its address, token and authority."""
    made: list[tuple[object, ...]] = []

    class Recorded(Consul):
        def __init__(self, *args: str) -> None:
            made.append(args)

    monkeypatch.setattr(module, "Consul", Recorded)
    return made


def test_the_environments_token_and_the_files_authority_are_used_for_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = recorded(monkeypatch)
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", TOKEN)
    authority = tmp_path / "ca.pem"
    authority.write_text(AUTHORITY)
    found = Stack.load("test", stack(tmp_path, agentCaFile=str(authority)))
    assert all((found.agent, found.server))
    assert made == [(AGENT, TOKEN, AUTHORITY), (SERVER, TOKEN, AUTHORITY)]


def test_without_a_token_in_the_environment_there_is_none(tmp_path: Path) -> None:
    assert Stack.load("test", stack(tmp_path)).given_token is None


def test_a_secret_token_in_the_file_is_not_read(tmp_path: Path) -> None:
    found = Stack.load("test", stack(tmp_path, agentToken={"secure": "v1:abc"}))
    assert (found.given_token, found.settings.agent_token) == (None, None)


def test_the_token_is_not_in_the_targets_repr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", TOKEN)
    found = Stack.load("test", stack(tmp_path))
    assert (found.given_token, TOKEN in repr(found)) == (TOKEN, False)


# The Consul of a secured stack

HTTPS_AGENT, HTTPS_SERVER = "https://127.0.0.1:8501", "https://127.0.0.1:8500"
OUTPUTS = {
    "agent": HTTPS_AGENT,
    "ca": AUTHORITY,
    "tokens": {
        role: f"{role}-token" for role in ("management", "agent", "registration", "verify", "removal", "reload")
    },
}


def secured(folder: Path, outputs: Callable[[], Mapping[str, Any]] = lambda: OUTPUTS, **config: object) -> Stack:
    own = {"agentAddress": HTTPS_AGENT, "serverAddress": HTTPS_SERVER, "server": "created", "security": "on"}
    return replace(Stack.load("test", stack(folder, "test", **{**own, **config})), engine=fake_outputs(outputs))


@pytest.mark.parametrize("stage", ["accepted", "sent", "on"])
def test_a_secured_stacks_authority_and_token_are_those_of_its_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    made = recorded(monkeypatch)
    found = secured(tmp_path, security=stage)
    assert all((found.agent, found.server))
    assert made == [(HTTPS_AGENT, "verify-token", AUTHORITY), (HTTPS_SERVER, "verify-token", AUTHORITY)]


@pytest.mark.parametrize("role", get_args(Role))
def test_a_role_is_let_in_with_its_own_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: Role) -> None:
    made = recorded(monkeypatch)
    assert secured(tmp_path).with_role(role).server
    assert made == [(HTTPS_SERVER, f"{role}-token", AUTHORITY)]


def test_a_target_has_the_role_that_reads_by_default(tmp_path: Path) -> None:
    assert (secured(tmp_path).role, get_args(Role)) == ("verify", ("verify", "registration", "removal", "management"))


def test_a_target_that_is_let_in_otherwise_leaves_the_first_as_it_is(tmp_path: Path) -> None:
    found = secured(tmp_path)
    assert (found.with_role("removal").role, found.role) == ("removal", "verify")


def test_the_outputs_are_asked_for_when_they_are_needed_and_once(tmp_path: Path) -> None:
    asked: list[str] = []

    def outputs() -> Mapping[str, Any]:
        asked.append("outputs")
        return OUTPUTS

    found = secured(tmp_path, outputs)
    assert asked == []
    assert all((found.agent, found.server, found.consul, found.server))
    assert asked == ["outputs"]


@pytest.mark.parametrize("role", get_args(Role))
def test_a_token_that_a_person_gives_goes_before_a_stacks_own_and_the_authority_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: Role
) -> None:
    made = recorded(monkeypatch)
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", TOKEN)
    assert secured(tmp_path).with_role(role).server
    assert made == [(HTTPS_SERVER, TOKEN, AUTHORITY)]


@pytest.mark.parametrize("outputs", [{}, {"agent": AGENT, "server": SERVER}], ids=["none", "of an open cluster"])
def test_a_secured_stack_that_was_not_deployed_so_is_an_error(tmp_path: Path, outputs: Mapping[str, Any]) -> None:
    with pytest.raises(NotDeployedError) as caught:
        assert secured(tmp_path, lambda: outputs).server
    assert str(caught.value) == ("the stack has no tokens yet, and its Consul is to ask for them: deploy it")


def test_without_security_no_outputs_are_asked_for(tmp_path: Path) -> None:
    def outputs() -> Mapping[str, Any]:
        raise AssertionError

    found = replace(Stack.load("test", stack(tmp_path)), engine=fake_outputs(outputs))
    assert all((found.agent, found.server))


def test_a_stack_of_this_clone_takes_the_outputs_of_its_engines_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Path]] = []

    def outputs(engine: Engine) -> Mapping[str, Any]:
        asked.append((engine.stack, engine.project))
        return OUTPUTS

    made = recorded(monkeypatch)
    monkeypatch.setattr(Engine, "outputs", outputs)
    own = {"agentAddress": HTTPS_AGENT, "serverAddress": HTTPS_SERVER, "server": "created"}
    found = Stack.load("test", stack(tmp_path, **own))
    assert asked == []
    assert found.consul
    assert (made, asked) == ([(HTTPS_AGENT, "verify-token", AUTHORITY)], [("test", tmp_path)])


# What is wrong


def test_a_stack_that_does_not_exist_is_refused_with_those_that_do(tmp_path: Path) -> None:
    stack(tmp_path, "staging")
    stack(tmp_path, "docker-local")
    with pytest.raises(StackError) as caught:
        Stack.load("stagin", tmp_path)
    assert str(caught.value) == "there is no Pulumi.stagin.yaml: the stacks of this project are docker-local, staging"


def test_the_projects_own_stacks_are_named_where_no_folder_is_given() -> None:
    with pytest.raises(StackError) as caught:
        Stack.load("stagin")
    names = "docker-local, local, staging"
    assert str(caught.value) == f"there is no Pulumi.stagin.yaml: the stacks of this project are {names}"


def test_a_wrong_value_in_the_file_is_a_settings_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        Stack.load("test", stack(tmp_path, environment="a b"))
    assert str(caught.value).startswith("Pulumi.test.yaml: environment: 'a b' must be")


@pytest.mark.real_roster
def test_the_processes_and_the_data_of_a_stack_without_docker_are_no_other_stacks() -> None:
    config, roster = Stack.load("local").settings, Roster(services=())
    assert sandbox(config, roster, "local").folder != sandbox(config, roster, "mine").folder
