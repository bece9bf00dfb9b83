"""What is in the catalog beside the roster's own instances (guide, "Issue: Duplicate registrations")."""

from collections.abc import Iterator
from dataclasses import dataclass

from cluster.agent_configuration import AGENT_NODE, ESM_NODE, SERVER_NODE
from operations.target import Target
from operations.verify import advice
from operations.verify.findings import Finding, Verdict, unseen
from operations.verify.snapshot import Catalog, Fields, Place, Snapshot
from services.model import OWNER_KEY


@dataclass(frozen=True)
class Stray:
    """An instance that the roster does not state.

    Attributes:
        name: of its service.
        place: its node and id.
        mark: what it bears in its meta; blank: none, its service registered it itself.
        duplicate: the roster has a service of this name.
        ours: the mark is of this stack.
        dead: its node is.
        coexists: registered by the service itself with the server, as in the guide's phases 1 to 3.
        superseded: the roster's own instance of the name is there, or the roster has none.
        held: the agent itself holds it; None: its API does not say.
    """

    name: str
    place: Place
    mark: str
    duplicate: bool
    ours: bool
    dead: bool
    coexists: bool
    superseded: bool
    held: bool | None

    @property
    def origin(self) -> str:
        """Who registered it."""
        if self.ours:
            whose = f"left behind by this stack ({self.mark})"
        else:
            whose = f"another party's ({self.mark})" if self.mark else "registered by the service itself, over the API"
        return f"{whose}; its node is dead" if self.dead else whose

    @property
    def removable(self) -> bool:
        """Whether `--fix` removes it: it is ours, not needed, and does not come back by itself."""
        return self.ours and self.superseded and (self.place.node != AGENT_NODE or self.held is not None or self.dead)


def strays(seen: Snapshot) -> tuple[Stray, ...]:
    """Return what is there and not stated, but for Consul's own."""
    return tuple(_strays(seen, seen.catalog)) if seen.catalog else ()


def others(seen: Snapshot) -> Verdict:
    """Judge what the roster does not state: nothing may be there but what the guide's coexistence has."""
    if not seen.catalog:
        return unseen("others")
    found = strays(seen)
    beside = sum(stray.coexists for stray in found)
    summary = f"{len(found) - beside or 'nothing'} that the roster does not state"
    also = f"; {beside} that registered themselves with the server, as in the guide's phases 1 to 3" if beside else ""
    return Verdict("others", summary + also, [_finding(seen.target, stray) for stray in found if not stray.coexists])


def _strays(seen: Snapshot, catalog: Catalog) -> Iterator[Stray]:
    target = seen.target
    stated = {Place(target.node, service.id): service.name for service in target.roster.services}
    places = {name: place for place, name in stated.items()}
    own = {"consul", ESM_NODE} if target.settings.registration == "catalog" else {"consul"}
    for place, entry in sorted(catalog.instances.items()):
        name, mark = entry["Service"], (entry["Meta"] or {}).get(OWNER_KEY, "")
        if name in own or place in stated:
            continue
        dead, duplicate = catalog.dead(place.node), name in places
        yield Stray(
            name,
            place,
            mark,
            duplicate,
            ours=mark.startswith(target.owner_prefix),
            dead=dead,
            coexists=duplicate and not mark and not dead and _is_server(catalog.members.get(place.node), place.node),
            superseded=not duplicate or places[name] in catalog.instances,
            held=place.id in seen.agent.services if seen.agent else None,
        )


def _is_server(member: Fields | None, node: str) -> bool:
    return member["Tags"].get("role") == "consul" if member else node == SERVER_NODE


def _finding(target: Target, stray: Stray) -> Finding:
    expected = f"once, on {target.node}" if stray.duplicate else "no service of this name: services/roster.py has none"
    found = f"id {stray.place.id} on {stray.place.node}, {stray.origin}"
    return Finding(stray.name, expected, found, _advice(target, stray))


def _advice(target: Target, stray: Stray) -> str:
    if stray.removable:
        return f"python -m operations verify --stack {target.stack} --fix"
    if stray.ours and not stray.superseded:
        return "its successor is not registered yet: deploy first, then verify again"
    remove = advice.deregister(target, stray.place, stray.dead)
    if stray.ours or stray.dead:
        return remove
    if stray.mark:
        return f"remove it where it is deployed, or: {remove}"
    return (
        f"switch it off in the service, then: {remove}"
        if stray.duplicate
        else f"add it to services/roster.py, or: {remove}"
    )
