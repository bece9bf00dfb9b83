import json
from types import SimpleNamespace
from typing import Any

import docker
import pulumi
import pytest
from docker.errors import DockerException, NotFound

from components.consul_connection import Connection
from components.interrupted_creation import (
    container_options,
    is_half_made,
    remove_container,
    remove_network,
    remove_policy,
)
from docker_engine import OWN_ENGINE
from tests.fake_consul import Answer, Request, serve
from tests.unit.pulumi_mocks import SECURED, Deployed, deploy
from tests.unit.test_deployment import made

STATED = {
    "name": "consul-esm",
    "image": "sha256:e50e",
    "command": ["consul-esm", "-config-file=/etc/consul-esm/config.json"],
    "capabilities": {"drops": ["ALL"]},
    "securityOpts": ["no-new-privileges=true"],
    "labels": [{"label": "config", "value": "8c1e"}],
}
NAMED = {"driver": "bridge", "name": "staging_staging-network"}


class Engine:
    """A Docker engine with one container and one network; it notes what is removed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.removed: list[str] = []
        self.container = SimpleNamespace(
            name="consul-esm",
            labels={"config": "of an earlier run"},
            attrs={
                "Config": {"Image": "sha256:e50e", "Cmd": STATED["command"]},
                "HostConfig": {"CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges=true"]},
            },
            remove=lambda v, force: self.removed.append("container") if v and force else None,
        )
        self.network = SimpleNamespace(
            name=NAMED["name"], containers=[], attrs={"Labels": {}}, remove=lambda: self.removed.append("network")
        )
        self.never_started: list[str] = []
        self.containers = SimpleNamespace(get=self._container, list=self._list)
        self.networks = SimpleNamespace(list=lambda names, greedy: [self.network] if names and greedy else [])
        monkeypatch.setattr(docker, "from_env", lambda **_: self)

    def _list(self, *, all: bool, filters: dict[str, str]) -> list[SimpleNamespace]:  # noqa: A002 - Docker's name
        assert (all, filters) == (True, {"status": "created"})
        return [SimpleNamespace(name=name) for name in self.never_started]

    def _container(self, name: str) -> SimpleNamespace:
        if name != self.container.name:
            raise NotFound(name)
        return self.container

    def before_creation(self, hook: pulumi.ResourceHookFunction, inputs: dict[str, Any]) -> list[str]:
        """Call a hook as the engine does; returns what it removed."""
        deploy(lambda: hook(pulumi.ResourceHookArgs("urn", "id", "name", "type", new_inputs=inputs)))
        return self.removed


def replaced(name: str, *, preview: bool = False) -> tuple[list[str] | None, bool]:
    """Which changes replace a container, and whether it has to run though it ends by itself."""
    seen: list[tuple[list[str] | None, bool]] = []

    def program() -> None:
        options = container_options(pulumi.ResourceOptions(), OWN_ENGINE, name)
        seen.append((options.replace_on_changes, is_half_made(name, OWN_ENGINE)))

    deploy(program, preview=preview)
    return seen[0]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    return Engine(monkeypatch)


def test_a_container_that_is_as_stated_is_removed(engine: Engine) -> None:
    assert engine.before_creation(remove_container(OWN_ENGINE), STATED) == ["container"]


def test_a_container_whose_creation_failed_on_the_way_is_replaced_and_no_other(engine: Engine) -> None:
    engine.never_started = ["isa-order"]
    assert replaced("isa-order") == (["mustRun"], True)
    assert replaced("isa-billing") == (None, False)


@pytest.mark.usefixtures("engine")
def test_where_docker_does_not_answer_no_container_is_half_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_engine(**_: object) -> None:
        raise DockerException

    monkeypatch.setattr(docker, "from_env", no_engine)
    assert replaced("isa-order") == (None, False)


def test_a_preview_does_not_ask_docker_which_container_is_half_made(engine: Engine) -> None:
    engine.never_started = ["isa-order"]
    assert replaced("isa-order", preview=True) == (None, False)


def test_a_container_that_does_not_exist_is_not_removed(engine: Engine) -> None:
    assert engine.before_creation(remove_container(OWN_ENGINE), {**STATED, "name": "consul-agent-shared"}) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image", "sha256:c0de"),
        ("command", ["consul-esm"]),
        ("capabilities", {"drops": ["NET_ADMIN"]}),
        ("securityOpts", []),
        ("labels", [{"label": "purpose", "value": "another"}]),
    ],
)
def test_a_container_of_somebody_else_is_not_removed(engine: Engine, field: str, value: object) -> None:
    assert engine.before_creation(remove_container(OWN_ENGINE), {**STATED, field: value}) == []


def test_an_empty_network_of_the_name_is_removed(engine: Engine) -> None:
    assert engine.before_creation(remove_network(OWN_ENGINE), NAMED) == ["network"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "staging_staging-network-2"),
        ("containers", ["isa-billing"]),
        ("attrs", {"Labels": {"com.docker.compose.project": "staging"}}),
    ],
)
def test_a_network_of_somebody_else_is_not_removed(engine: Engine, field: str, value: object) -> None:
    setattr(engine.network, field, value)
    assert engine.before_creation(remove_network(OWN_ENGINE), NAMED) == []


def test_an_engine_that_does_not_answer_is_left_to_the_provider(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def from_env(**_: object) -> Engine:
        raise DockerException("no answer")

    monkeypatch.setattr(docker, "from_env", from_env)
    assert engine.before_creation(remove_container(OWN_ENGINE), STATED) == []


# Where it is bound


def of_types(found: Deployed, *types: str) -> list[str]:
    return [name for name, request in found.requests.items() if request.type in types]


def test_every_container_and_network_is_looked_for_before_it_is_created() -> None:
    found = made("docker-local", "catalog")
    names = of_types(found, "docker:index/container:Container", "docker:index/network:Network")
    assert len(names) == 47
    assert {name: found.functions_before_creation(name) for name in names} == dict.fromkeys(names, 1)


# The hook of ACL policies

RULES = '{"node_prefix": {"": {"policy": "read"}}}'


def policies_deleted(rules: str, tokens: list[dict[str, str]], name: str = "consul-staging-verify") -> list[str]:
    """Call the hook with a policy and its tokens in Consul; returns the paths of what it deleted."""
    deleted: list[str] = []
    answers = {
        "/v1/acl/policies": [{"ID": "0", "Name": "global-management"}, {"ID": "7", "Name": name}],
        "/v1/acl/policy/7": {"ID": "7", "Name": name, "Rules": rules},
        "/v1/acl/tokens": tokens,
    }

    def answer(request: Request) -> Answer:
        if request.method == "DELETE":
            deleted.append(request.path)
        if request.path == "/v1/acl/tokens":
            assert request.query == {"policy": ["7"]}
        return 200, json.dumps(answers.get(request.path)).encode(), {}

    with serve(answer) as address:
        found = deploy(lambda: remove_policy("remove-policy", Connection(address, "management")))
        assert found.call("remove-policy", name="consul-staging-verify", rules=RULES) == ""
    return deleted


OURS = {"AccessorID": "5c1b", "Description": "consul-staging-verify"}
THEIRS = {"AccessorID": "a0d7", "Description": "for our dashboard"}


def test_a_policy_that_is_as_stated_is_removed_with_the_tokens_that_nobody_has() -> None:
    assert policies_deleted(RULES, []) == ["/v1/acl/policy/7"]
    assert policies_deleted(RULES, [OURS]) == ["/v1/acl/token/5c1b", "/v1/acl/policy/7"]


@pytest.mark.parametrize(
    ("rules", "tokens", "name"),
    [
        ("{}", [], "consul-staging-verify"),
        (RULES, [OURS, THEIRS], "consul-staging-verify"),
        (RULES, [], "consul-staging-reload"),
    ],
    ids=["other rules", "another token uses it", "another name"],
)
def test_a_policy_of_somebody_else_is_not_removed(rules: str, tokens: list[dict[str, str]], name: str) -> None:
    assert policies_deleted(rules, tokens, name) == []


def test_every_policy_is_looked_for_before_it_is_created() -> None:
    found = made(SECURED)
    names = of_types(found, "consul:index/aclPolicy:AclPolicy")
    assert len(names) == 5 + 3
    bound = {name: found.bound(name) for name in names}
    assert bound == {name: {"before_create": [f"{name.removesuffix('-policy')}-remove-policy"]} for name in names}
