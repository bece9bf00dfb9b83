"""What the leader of a cluster knows of its servers, and how another one comes to lead.

https://developer.hashicorp.com/consul/api-docs/operator/autopilot
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from consul_cluster.client import Consul, ConsulError, UnknownTokenError, UntrustedError

Servers = Sequence[Mapping[str, Any]]
"""What the leader knows of each server."""


def servers_of(asked: Sequence[Consul]) -> Servers | None:
    """Return what the first server that answers and has a leader says; None: none does."""
    for each in asked:
        with suppress(ConsulError):
            return each.autopilot_servers()
    return None


def refusal_of(asked: Sequence[Consul]) -> ConsulError | None:
    """Return why a server does not accept its client's token or certificates; None: none of them refuses."""
    for each in asked:
        try:
            each.autopilot_servers()
        except (UnknownTokenError, UntrustedError) as error:
            return error
        except ConsulError:
            pass
    return None


def members_of(asked: Sequence[Consul]) -> set[str]:
    """Return the names of all nodes that any server which answers knows, also of those that have failed or left."""
    known: set[str] = set()
    for each in asked:
        with suppress(ConsulError):
            known |= {member["Name"] for member in each.members()}
    return known


def is_healthy_voter(server: Mapping[str, Any]) -> bool:
    """Return whether a server counts for a majority."""
    return bool(server["Healthy"] and server["Status"] in ("leader", "voter"))


def another_leads(asked: Sequence[Consul], servers: Servers, node: str) -> bool:
    """Return whether another server than that of a node leads; if not, have a healthy voter lead from now on."""
    others = [each for each in servers if each["Name"] != node]
    if any(each["Status"] == "leader" for each in others):
        return True
    heir = next((each for each in others if is_healthy_voter(each)), None)
    if heir:
        with suppress(ConsulError):  # the next look finds another leader, or tries again
            asked[0].transfer_leadership(heir["ID"])
    return False


def states(servers: Servers) -> str:
    """Return the state of each server, for a message."""
    shown = [f"{each['Name']}: {each['Status']}, {'' if each['Healthy'] else 'not '}healthy" for each in servers]
    return ", ".join(shown) or "no leader"
