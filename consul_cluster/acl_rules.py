"""The rights of each ACL token, and which of Consul's own tokens each node gets.

https://developer.hashicorp.com/consul/docs/security/acl/acl-rules
"""

from collections.abc import Mapping, Sequence
from typing import Any

from consul_cluster.agent_configuration import ESM_NODE
from consul_cluster.cluster_names import STAGING_NAMES
from services.roster import Roster

Rules = Mapping[str, Mapping[str, Mapping[str, str]]]

_READ, _WRITE = {"policy": "read"}, {"policy": "write"}


def token_rules(
    roster: Roster,
    external_node: str,
    esm: bool,
    agent_nodes: Sequence[str] = (STAGING_NAMES.agent_node,),
    *,
    kv_configuration: bool = False,
    monitored_nodes: Sequence[str] = (),
    templates: bool = False,
) -> Mapping[str, Rules]:
    """Return the rights of each token by its name: as few as it needs.

    - `agent` is the agents' own token.
    - `registration` registers the services, and can write no other name.
    - `verify` reads. It is for the commands.
    - `removal` removes services that the roster no longer has. No other policy names them, and Consul has no right
      for removal alone, so it can write any service.
    - `reload` tells the agent to read its files again.
    - `esm` is consul-esm's token.
    - `configuration` writes the services' values into the KV store, which `verify` then reads too.
    - `monitoring` is Prometheus' and consul_exporter's: it reads the catalog, and the metrics of some nodes.
    - `templates` is consul-template's: it reads which services there are, and where.

    https://developer.hashicorp.com/consul/docs/security/acl/tokens/create/create-an-agent-token
    https://github.com/hashicorp/consul-esm#consul-acl-policies

    Args:
        roster: the services.
        external_node: the node of registration `catalog`. `registration` can always write it, because a stack that
            moves away from there removes its services.
        esm: whether the stack has consul-esm.
        agent_nodes: the nodes of the agents.
        kv_configuration: whether the stack writes the services' values into the KV store.
        monitored_nodes: the nodes whose metrics Prometheus reads; none: the stack has no monitoring.
        templates: whether the stack has consul-template.
    """
    services = {service.name: _WRITE for service in roster.services}
    external, nodes = {external_node: _WRITE}, dict.fromkeys(agent_nodes, _WRITE)
    everything = {"service_prefix": {"": _READ}, "node_prefix": {"": _READ}}
    agents = {"agent_prefix": {"": _READ}}
    rules: dict[str, Rules] = {
        "agent": {"node": nodes, "service_prefix": {"": _READ}},
        "registration": {"service": services, "node": external, "node_prefix": {"": _READ}, **agents},
        "verify": {**everything, **agents},
        "removal": {**everything, **agents, "service_prefix": {"": _WRITE}},
        "reload": {"agent": nodes},
    }
    if esm:
        rules["esm"] = {
            **everything,
            **agents,
            "key_prefix": {f"{ESM_NODE}/": _WRITE},
            "node": external,
            "service": {ESM_NODE: _WRITE, **services},
            "session": nodes,
        }
    if kv_configuration:
        rules["configuration"] = {"key": dict.fromkeys(roster.kv_configuration, _WRITE)}
        rules["verify"] = {**rules["verify"], "key": dict.fromkeys(roster.kv_configuration, _READ)}
    if monitored_nodes:
        rules["monitoring"] = {**everything, "agent": dict.fromkeys(monitored_nodes, _READ)}
    if templates:
        rules["templates"] = everything
    return rules


def group_rules(roster: Roster) -> Mapping[str, Rules]:
    """Return the rights of the services' own tokens, by group: they find each other, and read their own keys.

    Args:
        roster: the services.
    """
    return {
        kind: {
            "service_prefix": {"": _READ},
            "node_prefix": {"": _READ},
            "key_prefix": {f"{service.name}/": _READ for service in roster.of_kind(kind)},
        }
        for kind in dict.fromkeys(service.kind for service in roster.services)
    }


def server_tokens(management: object) -> Mapping[str, Any]:
    """Return the server's tokens: it makes the management token itself, and keeps its own node with that.

    https://developer.hashicorp.com/consul/docs/agent/config/config-files#acl_tokens_initial_management
    """
    return {"initial_management": management, "agent": management}


def agent_tokens(tokens: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the shared agent's tokens, by what Consul does with each: its own, and that of its definition files.

    https://developer.hashicorp.com/consul/docs/agent/config/config-files#acl_tokens
    """
    uses = {"agent": "agent", "config_file_service_registration": "registration"}
    return {use: tokens[name] for use, name in uses.items() if name in tokens}
