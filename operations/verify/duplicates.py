"""Duplicates: instances in the catalog that the roster does not state, under one of its names or another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from consul_cluster.agent_configuration import ESM_NODE
from operations.command_line import COMMANDS
from operations.stack import Stack
from operations.verify import advice
from operations.verify.findings import Finding, Verdict, unseen
from operations.verify.observed_state import Catalog, ObservedState, Place
from services.field_types import OWNER_KEY, host_and_port


@dataclass(frozen=True)
class Stray:
    """An instance that the roster does not state.

    Attributes:
        name: of its service.
        place: its node and id.
        address: where clients find it.
        owner: the owner that its meta names; blank: none, so its service registered it itself.
        duplicate: the roster has a service of this name.
        owned: its owner belongs to this stack.
        deployed: the stack's state has it, and the roster has it no more; None: the state cannot be read.
        dead: nothing keeps its node alive.
        coexists: registered by the service itself with the server, as before and during a migration, at an address that
            the roster has for it.
        superseded: the catalog has the roster's own instance of the name, or the roster has none.
        drained: all that there is of a service, on a server since an `up`: `registrations` names it.
        in_the_way: it has an id of the roster on the node that checks the services while their agent is replaced.
        on_agent: the agent of the stack on whose node it is holds it itself; None: there is none that answers.
        agent_silent: it is on the node of an agent of the stack whose API does not answer.
    """

    name: str
    place: Place
    address: str
    owner: str
    duplicate: bool
    owned: bool
    deployed: bool | None
    dead: bool
    coexists: bool
    superseded: bool
    drained: bool
    in_the_way: bool
    on_agent: bool | None
    agent_silent: bool

    @property
    def origin(self) -> str:
        """Who registered it."""
        if self.owned:
            how = {True: "deployed", False: "left behind", None: "registered"}[self.deployed]
            origin = f"{how} by this stack ({self.owner})"
        else:
            others = f"another party's ({self.owner})"
            origin = others if self.owner else "registered by the service itself, over the API"
        return f"{origin}; its node is dead" if self.dead else origin

    @property
    def removable(self) -> bool:
        """Whether `--fix` removes it: it is this stack's, no state has it, and it does not come back by itself."""
        return self.owned and self.deployed is False and self.superseded and (self.dead or not self.agent_silent)


def strays(observed: ObservedState) -> tuple[Stray, ...]:
    """Return the instances that the roster does not state, without Consul's own."""
    return tuple(_strays(observed, observed.catalog)) if observed.catalog else ()


def others(observed: ObservedState) -> Verdict:
    """Judge what the roster does not state: only what services register themselves during a migration may be there."""
    if not observed.catalog:
        return unseen("others")
    listed = strays(observed)
    coexisting = sum(stray.coexists for stray in listed)
    summary = f"{len(listed) - coexisting or 'nothing'} that the roster does not state"
    if coexisting:
        summary += f"; {coexisting} that registered themselves with the server, as during a migration"
    unstated = [stray for stray in listed if not stray.coexists and not stray.drained]
    return Verdict("others", summary, list(_findings(observed.stack, unstated)))


def _findings(stack: Stack, strays: Sequence[Stray]) -> Iterator[Finding]:
    by_party = dict[str, list[Stray]]()
    for stray in strays:
        if stray.owner and not stray.owned:
            by_party.setdefault(stray.owner.rpartition("/")[0] or stray.owner, []).append(stray)
    of_others = {owner: several for owner, several in by_party.items() if len(several) > 1}
    for owner, several in of_others.items():
        yield _of_another_party(stack, owner, several)
    merged = {stray.place for several in of_others.values() for stray in several}
    yield from (_finding(stack, stray) for stray in strays if stray.place not in merged)


def _of_another_party(stack: Stack, owner: str, several: Sequence[Stray]) -> Finding:
    nodes = ", ".join(dict.fromkeys(stray.place.node for stray in several))
    return Finding(
        f"{len(several)} services",
        "none of another party",
        f"{owner} registered them on {nodes}",
        f"see that Pulumi.{stack.name}.yaml has the addresses of this stack's Consul. If it has, remove them where "
        "they are deployed",
    )


def _strays(observed: ObservedState, catalog: Catalog) -> Iterator[Stray]:
    stack = observed.stack
    stated = {Place(stack.node_of(service), service.id): service.name for service in stack.roster.services}
    agents = {host.docker.names.agent_node for host in stack.hosts}
    places: dict[str, set[Place]] = {}
    for place, name in stated.items():
        places.setdefault(name, set()).add(place)
    addresses = {(service.name, service.address) for service in stack.roster.services}
    ids = {service.id for service in stack.roster.services}
    drains = stack.settings.registration == "agent"
    own = {"consul", ESM_NODE} if stack.settings.registration == "catalog" else {"consul"}
    for place, entry in sorted(catalog.instances.items()):
        name, owner = entry["Service"], entry["Meta"].get(OWNER_KEY, "")
        if name in own or place in stated:
            continue
        dead, duplicate = catalog.dead(place.node), name in places
        owned, superseded = owner.startswith(stack.owner_prefix), places.get(name, set()) <= catalog.instances.keys()
        agent = observed.agents.get(place.node)
        address = host_and_port(entry["Address"] or catalog.nodes[place.node]["Address"], entry["Port"])
        on_drain_node = place.node in stack.drain_nodes
        in_the_way = drains and on_drain_node and not owned and place.id in ids
        is_usual = not owner and not dead and not in_the_way and (name, address) in addresses
        yield Stray(
            name,
            place,
            address,
            owner,
            duplicate,
            owned=owned,
            deployed=_is_deployed(observed, place.id) if owned and place.id not in ids else False,
            dead=dead,
            coexists=is_usual and _is_server(stack, catalog, place.node),
            superseded=superseded,
            drained=owned and duplicate and not superseded and on_drain_node,
            in_the_way=in_the_way,
            on_agent=place.id in agent.services if agent else None,
            agent_silent=place.node in agents and not agent,
        )


def _is_deployed(observed: ObservedState, service_id: str) -> bool | None:
    return None if observed.deployed_ids is None else service_id in observed.deployed_ids


def _is_server(stack: Stack, catalog: Catalog, node: str) -> bool:
    member = catalog.members.get(node)
    return member["Tags"].get("role") == "consul" if member else node in stack.servers


def _finding(stack: Stack, stray: Stray) -> Finding:
    nodes = dict.fromkeys(stack.node_of(each) for each in stack.roster.services if each.name == stray.name)
    expected = f"once, on {', '.join(nodes)}" if stray.duplicate else "no service of this name: services/ has none"
    at = "" if stray.owner else f", at {stray.address}"
    actual = f"id {stray.place.id} on {stray.place.node}{at}, {stray.origin}"
    return Finding(stray.name, expected, actual, _ANOTHER_ID if stray.in_the_way else _advice(stack, stray))


_ANOTHER_ID = (
    "give the line of this id in services/ another one: the service is to move there by it when the next `up` "
    "replaces the agent's container"
)


def _advice(stack: Stack, stray: Stray) -> str:
    if stray.owned and not stray.superseded:
        return "its successor is not registered yet: deploy first, then verify again"
    if stray.removable:
        return f"{COMMANDS} verify --stack {stack.name} --fix"
    if stray.deployed is not False:
        return _deploy(stack, stray)
    remove = advice.deregister(stack, stray.place, stray.dead)
    if stray.owned or stray.dead:
        return remove
    if stray.owner:
        return f"remove it where it is deployed, or: {remove}"
    return f"switch it off in the service, then: {remove}" if stray.duplicate else f"add it to services/, or: {remove}"


def _deploy(stack: Stack, stray: Stray) -> str:
    """Have what the roster has dropped removed, if it is not in use."""
    if stray.deployed:
        return f"{advice.deploy(stack)} removes it; if it is in use, undo the edit of services/, or git pull"
    if stack.settings.trial:
        return advice.deploy(stack)
    return f"the state says whether it is in use, and cannot be read: pulumi stack export --stack {stack.name}"
