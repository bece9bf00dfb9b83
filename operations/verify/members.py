"""Whether Consul's own processes answer, and are in one cluster (guide, "Step 2: Verify Agent Started")."""

from collections.abc import Iterator

from cluster.agent_configuration import AGENT_NODE, SERVER_NODE
from operations.target import Target
from operations.verify import advice
from operations.verify.findings import Finding, Verdict, unseen
from operations.verify.snapshot import Catalog, Snapshot

# The part that a member says it has in the cluster: https://developer.hashicorp.com/consul/api-docs/agent#list-members
_ROLES = {SERVER_NODE: "consul", AGENT_NODE: "node"}
_STATUSES = ("none", "alive", "leaving", "left", "failed")
_ALIVE = 1


def apis(seen: Snapshot) -> Verdict:
    """Judge whether the APIs answer."""
    target = seen.target
    addresses = [api.address for api in (target.agent, target.server) if api]
    findings = [
        Finding(address, "an answer", why, advice.answer(target, address)) for address, why in seen.failures.items()
    ]
    return Verdict("APIs", f"{len(addresses) - len(findings)} of {len(addresses)} answer", findings)


def members(seen: Snapshot) -> Verdict:
    """Judge whether server and agent are alive, under the guide's names."""
    if not seen.catalog:
        return unseen("members")
    findings = list(_missed(seen.target, seen.catalog))
    return Verdict("members", f"{len(_ROLES) - len(findings)} of {len(_ROLES)} alive: {', '.join(_ROLES)}", findings)


def _missed(target: Target, catalog: Catalog) -> Iterator[Finding]:
    for name, role in _ROLES.items():
        found = _state(catalog, name)
        if found != f"alive, {role}":
            yield Finding(name, f"alive, {role}", found, advice.run_consul(target, name))


def _state(catalog: Catalog, name: str) -> str:
    member = catalog.members.get(name)
    return f"{_STATUSES[member['Status']]}, {member['Tags'].get('role')}" if member else "no such member"
