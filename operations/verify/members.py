"""Whether Consul's own processes answer, and are in one cluster."""

from collections.abc import Iterator, Mapping

from operations.stack import Stack
from operations.verify import advice
from operations.verify.findings import Finding, Verdict, unseen
from operations.verify.observed_state import Catalog, ObservedState

# The part that a member says it has in the cluster: https://developer.hashicorp.com/consul/api-docs/agent#list-members
_SERVER, _CLIENT = "consul", "node"
_STATUSES = ("none", "alive", "leaving", "left", "failed")


def apis(observed: ObservedState) -> Verdict:
    """Judge whether the APIs answer."""
    stack = observed.stack
    addresses = [api.address for api in (*stack.agents.values(), *stack.servers.values())]
    findings = [
        Finding(address, "an answer", why, advice.answer(stack, address, why))
        for address, why in observed.failures.items()
    ]
    return Verdict("APIs", f"{len(addresses) - len(findings)} of {len(addresses)} answer", findings)


def members(observed: ObservedState) -> Verdict:
    """Judge whether servers and agents are alive, under their names."""
    if not observed.catalog:
        return unseen("members")
    stack = observed.stack
    agents = [host.docker.names.agent_node for host in stack.hosts]
    roles = {**dict.fromkeys(stack.servers, _SERVER), **dict.fromkeys(agents, _CLIENT)}
    findings = list(_absent(observed.stack, observed.catalog, roles))
    return Verdict("members", f"{len(roles) - len(findings)} of {len(roles)} alive: {', '.join(roles)}", findings)


def _absent(stack: Stack, catalog: Catalog, roles: Mapping[str, str]) -> Iterator[Finding]:
    for name, role in roles.items():
        state = _state(catalog, name)
        if state != f"alive, {role}":
            yield Finding(name, f"alive, {role}", state, advice.run_consul(stack, name))


def _state(catalog: Catalog, name: str) -> str:
    member = catalog.members.get(name)
    return f"{_STATUSES[member['Status']]}, {member['Tags'].get('role')}" if member else "no such member"
