"""What the APIs show of a running cluster at one moment."""

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

from consul_cluster.client import Consul, ConsulError, KvEntry, NoAnswerError
from errors import UserError
from operations.stack import Stack
from services.model import Service

Fields = Mapping[str, Any]
Result = TypeVar("Result")


class Place(NamedTuple):
    """Where an instance is registered: an id is unique on its node, not in the catalog."""

    node: str
    id: str


@dataclass(frozen=True)
class Catalog:
    """What the servers hold.

    Attributes:
        members: of the cluster, by name.
        nodes: by name.
        instances: every registered service.
        checks: of each instance, by check id; those of a node itself have a blank id.
    """

    members: Mapping[str, Fields]
    nodes: Mapping[str, Fields]
    instances: Mapping[Place, Fields]
    checks: Mapping[Place, Mapping[str, Fields]]

    def dead(self, node: str) -> bool:
        """Whether nobody keeps a node: it failed, or left without being removed. One outside the cluster is kept."""
        outside = (self.nodes[node].get("Meta") or {}).get("external-node") == "true"
        return not outside and (node not in self.members or not self.passing(Place(node, "")))

    def passing(self, place: Place) -> bool:
        """Whether every check there passes."""
        return all(check["Status"] == "passing" for check in self.checks.get(place, {}).values())


@dataclass(frozen=True)
class AgentView:
    """What the agent itself holds, and runs.

    Attributes:
        services: by id.
        checks: of each service, by check id.
        metrics: as Prometheus reads them, or Consul's words where it has none.
    """

    services: Mapping[str, Fields]
    checks: Mapping[str, Mapping[str, Fields]]
    metrics: str


@dataclass(frozen=True)
class ObservedState:
    """What a running cluster is like. A part is None where its API does not answer, or is not published.

    Attributes:
        stack: the stack.
        catalog: what the servers hold.
        agents: what each agent holds, by its node, as far as it answers.
        discovered: the passing instances that clients find under each name of the roster.
        failures: why an API has no part in it, by the API's address.
        kv_entries: what the KV store has under each key that the stack states.
    """

    stack: Stack
    catalog: Catalog | None
    agents: Mapping[str, AgentView]
    discovered: Mapping[str, set[Place]] | None
    failures: Mapping[str, str]
    kv_entries: Mapping[str, KvEntry | None] | None = None

    def agent_of(self, service: Service) -> AgentView | None:
        """Return what the agent of a service holds; None where it does not answer, or is not published."""
        return self.agents.get(self.stack.host_of(service).docker.names.agent_node)

    @cached_property
    def deployed_ids(self) -> frozenset[str] | None:
        """Ids of the services that the stack's state has; None where it cannot be read. It is read when asked for."""
        with suppress(UserError):
            return self.stack.engine.deployed_state().ids
        return None


def observe(stack: Stack) -> ObservedState:
    """Fetch everything; the parts of each API at the same time."""
    agents, server, client = stack.agents, stack.server, stack.consul
    failures: dict[str, str] = {}

    def part(consul: Consul, get: Callable[[Consul], Result]) -> Result | None:
        try:
            return get(consul)
        except ConsulError as error:
            failures.setdefault(consul.address, str(error))
            return None

    others = [each for each in stack.servers.values() if each.address != server.address]
    with ThreadPoolExecutor(3 + len(agents) + len(others)) as at_once:
        for each in others:  # the catalog is asked of one
            at_once.submit(part, each, Consul.leader)
        catalog = at_once.submit(part, server, _catalog)
        views = {node: at_once.submit(part, agent, _agent_view) for node, agent in agents.items()}
        discovered = at_once.submit(part, client, lambda consul: _discovered(consul, stack))
        kv_entries = at_once.submit(part, server, lambda consul: _kv_entries(consul, stack.kv_entries))
    seen = {node: view for node, each in views.items() if (view := each.result())}
    return ObservedState(stack, catalog.result(), seen, discovered.result(), failures, kv_entries.result())


def _kv_entries(server: Consul, keys: Collection[str]) -> Mapping[str, KvEntry | None]:
    with ThreadPoolExecutor(4) as at_once:
        return dict(zip(keys, at_once.map(server.kv_entry, keys), strict=True))


def _catalog(server: Consul) -> Catalog:
    nodes = server.catalog_nodes()
    instances = {
        Place(node, service_id): service for node in nodes for service_id, service in server.node_services(node).items()
    }
    members = {member["Name"]: member for member in server.members()}
    return Catalog(members, nodes, instances, _by_place(server.catalog_checks()))


def _by_place(checks: list[dict[str, Any]]) -> Mapping[Place, Mapping[str, Fields]]:
    found: dict[Place, dict[str, Fields]] = {}
    for check in checks:
        found.setdefault(Place(check["Node"], check["ServiceID"]), {})[check["CheckID"]] = check
    return found


def _agent_view(agent: Consul) -> AgentView:
    checks: dict[str, dict[str, Fields]] = {}
    for check_id, check in agent.all_checks().items():
        checks.setdefault(check["ServiceID"], {})[check_id] = check
    return AgentView(agent.all_services(), checks, _metrics(agent))


def _metrics(agent: Consul) -> str:
    try:
        return agent.metrics()
    except NoAnswerError:
        raise
    except ConsulError as error:  # It answers, but has no metrics for Prometheus.
        return str(error)


def _discovered(consul: Consul, stack: Stack) -> Mapping[str, set[Place]]:
    names = [service.name for service in stack.roster.services]
    with ThreadPoolExecutor(4) as at_once:  # Each client, too, asks for the one name that it needs.
        found = at_once.map(consul.discover, names)
        return {name: {_place(entry) for entry in entries} for name, entries in zip(names, found, strict=True)}


def _place(entry: Fields) -> Place:
    return Place(entry["Node"]["Node"], entry["Service"]["ID"])
