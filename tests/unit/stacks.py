"""Stacks as the commands see them, and a Consul in which one of them is deployed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from consul_cluster.agent_configuration import EXTERNAL_NODE_META
from consul_cluster.cluster_names import STAGING_NAMES
from docker_hosts import single_host
from operations.paths import LOCAL_FOLDER
from operations.pulumi_engine import Engine, EngineError
from operations.pulumi_state import DeployedState
from operations.stack import Stack
from operations.verify.registrations import stated
from services.roster import Roster
from settings import Settings
from tests.fake_consul import AGENT, SERVER, FakeConsul, Fields
from tests.forty_services import forty_roster

IDLE_ENGINE = Engine(lambda: LOCAL_FOLDER / "none", LOCAL_FOLDER)  # there is no such program
SECURED_HOST = single_host(
    STAGING_NAMES, "127.0.0.1", "https://127.0.0.1:8501", "https://127.0.0.1:8500", creates_server=True
)
BILLING, MINIO = "billing_service", "minio_grpc_service"
SOME = ("auth_service", BILLING, "order_service", "task_service", MINIO)


@dataclass(frozen=True)
class FakeOutputs(Engine):
    """An engine that knows the outputs of a stack, and nothing else."""

    get: Callable[[], Mapping[str, Any]] = dict

    def outputs(self) -> Mapping[str, Any]:
        return self.get()


def fake_outputs(get: Callable[[], Mapping[str, Any]]) -> FakeOutputs:
    """Return an engine with outputs, which cannot run."""
    return FakeOutputs(IDLE_ENGINE.pulumi, IDLE_ENGINE.folder, get=get)


@dataclass(frozen=True)
class FakeState(Engine):
    """An engine that knows the ids of the services in the state of a stack, and nothing else; None: it has no state."""

    ids: frozenset[str] | None = None

    def deployed_state(self) -> DeployedState:
        if self.ids is None:
            raise EngineError("no stack named 'local' found")
        return DeployedState({}, unfinished=False, ids=self.ids)


def fake_state(*ids: str) -> FakeState:
    """Return an engine with a state, which cannot run."""
    return FakeState(IDLE_ENGINE.pulumi, IDLE_ENGINE.folder, ids=frozenset(ids))


def two_services() -> Roster:
    """Return a user service and a gRPC service."""
    return forty_roster(names=(BILLING, MINIO))


def stack_at(agent: str | None, server: str, roster: Roster | None = None, **config: object) -> Stack:
    """Return the stack `local`, at two addresses; without a roster of its own, with some of the forty services."""
    given = {"agentAddress": agent, "serverAddress": server, "serviceHost": "127.0.0.3", "docker": False, **config}
    some = forty_roster(host="127.0.0.3", names=SOME)
    # Its addresses need not be those of a sandbox, which the settings ask for.
    settings = Settings.model_validate(given)
    settings = settings.model_copy(update={"sandbox": not settings.docker, "stand_ins": settings.docker})
    return Stack("local", "consul-staging", settings, roster or some, fake_state())


def only_stack(patch: pytest.MonkeyPatch, stack: Callable[[], Stack]) -> None:
    """Have the commands find one stack by its name, and no other."""

    def load(name: str) -> Stack:
        assert name == stack().name
        return stack()

    patch.setattr(Stack, "load", load)


def consul_of(stack: Stack) -> FakeConsul:
    """Return a Consul in which all is as the stack states it, after every check ran."""
    external = stack.settings.registration == "catalog"
    members = {
        name: {"Name": name, "Status": 1, "Tags": {"role": role}}
        for name, role in ((SERVER, "consul"), (AGENT, "node"))
    }
    consul = FakeConsul(members=members)
    for node in members:
        consul.add_node(node)
        consul.add_check(node, "", CheckID="serfHealth", Output="alive")
    if external:
        consul.add_node(stack.node, dict(EXTERNAL_NODE_META))
        consul.add(AGENT, "consul-esm:1", "consul-esm")
    consul.add(SERVER, "consul", "consul")
    for service in stack.roster.services:
        wanted = stated(stack, service)
        fields = {key.capitalize(): wanted[key] for key in ("address", "port", "tags", "meta")}
        checks = [{"CheckID": key, **_run(check, external)} for key, check in wanted["checks"].items()]
        consul.add(stack.node, service.id, wanted["name"], *checks, **fields)
    return consul


def _run(check: Fields, external: bool) -> Fields:
    """Return a check as Consul shows it after it ran: as 1.17.2 spells one of an agent's, or one of consul-esm's."""
    kind = "http" if "http" in check else "tcp"
    target, reap = check[kind], check["deregister_critical_service_after"]
    output = f"HTTP GET {target}: 200 OK Output: " if kind == "http" else f"TCP connect {target}: Success"
    spans = {"Interval": check["interval"], "Timeout": check["timeout"]}
    if external:
        defined = {kind.upper(): target, "DeregisterCriticalServiceAfter": reap, **spans}
        return {"Name": check["name"], "Output": output, "Definition": defined}
    notes = f"{'GET' if kind == 'http' else 'TCP'} {target}; deregistered after {reap} critical"
    return {"Name": check["name"], "Output": output, "Type": kind, "Notes": notes, **spans}
