"""What an agent needs to join a Consul that others secured: its configuration, and the rights of its tokens."""

from collections.abc import Sequence
from typing import Any

from consul_cluster.agent_configuration import ESM_NODE, HTTPS_PORT
from consul_cluster.client import Right
from consul_cluster.cluster_names import ClusterNames
from consul_cluster.security_stages import CA_FILE, CERTIFICATE_FILE, KEY_FILE, QUICK_ACL
from services.roster import Roster


def join_config(*, gossip: bool, tls: bool, certificate: bool, acl: bool) -> dict[str, Any]:
    """Return what joining adds to the agent's configuration. It contains no secret.

    https://developer.hashicorp.com/consul/docs/agent/config/config-files

    Args:
        gossip: the cluster encrypts its gossip.
        tls: its servers use TLS.
        certificate: the agent has a certificate of its own, and its API is HTTPS too. Else the servers give it one
            (`auto_encrypt`), for its requests to them alone: another authority than theirs signs it.
        acl: the agent has a token.
    """
    config: dict[str, Any] = {}
    if gossip:
        config["disable_keyring_file"] = True  # the agent starts with the key that the stack has now
    if tls:
        own = {"cert_file": CERTIFICATE_FILE, "key_file": KEY_FILE} if certificate else {}
        config["tls"] = {
            "defaults": {"ca_file": CA_FILE, **own, "verify_outgoing": True},
            "internal_rpc": {"verify_server_hostname": True},
        }
        config |= {"ports": {"https": HTTPS_PORT}} if certificate else {"auto_encrypt": {"tls": True}}
    if acl:
        config["acl"] = {"enabled": True, "default_policy": "deny", **QUICK_ACL}
    return config


def node_rights(names: ClusterNames) -> Sequence[Right]:
    """Return the rights of the agent's own token: it keeps its node in the catalog, and reads what that has.

    With the same token the agent is told to read its files again, which takes `agent:write`.

    https://developer.hashicorp.com/consul/docs/security/acl/tokens/create/create-an-agent-token
    """
    node = names.agent_node
    return [Right("node", node, "write"), Right("agent", node, "write"), Right("service", "", "read")]


def registration_rights(registration: str, roster: Roster, names: ClusterNames, external_node: str) -> Sequence[Right]:
    """Return the rights of the token that registers the services.

    Args:
        registration: `agent`, `catalog` or `files`.
        roster: the services.
        names: of the cluster.
        external_node: the node of registration `catalog`.
    """
    services = [Right("service", name, "write") for name in dict.fromkeys(each.name for each in roster.services)]
    return [*services, *_more_rights(names, external_node)[registration]]


def configuration_rights(roster: Roster) -> Sequence[Right]:
    """Return the rights of the token that writes the services' values into the KV store."""
    return [Right("key", key, "write") for key in roster.kv_configuration]


def monitoring_rights(names: ClusterNames) -> Sequence[Right]:
    """Return the rights of the token by which Prometheus and consul_exporter ask the agent.

    https://developer.hashicorp.com/consul/api-docs/agent#view-metrics
    """
    return [Right("service", "", "read"), Right("node", "", "read"), Right("agent", names.agent_node, "read")]


def template_rights() -> Sequence[Right]:
    """Return what the same token needs beside them, where the stack has consul-template: it reads the catalog."""
    return [Right("service", "", "read"), Right("node", "", "read")]


def _more_rights(names: ClusterNames, external_node: str) -> dict[str, Sequence[Right]]:
    """Return what each registration needs beside `service:write`.

    https://github.com/hashicorp/consul-esm#consul-acl-policies
    """
    read_node = Right("node", names.agent_node, "read")
    return {
        "agent": [read_node],
        "files": [],
        "catalog": [
            read_node,
            Right("node", external_node, "write"),
            Right("agent", names.agent_node, "read"),
            Right("service", ESM_NODE, "write"),
            Right("session", names.agent_node, "write"),
            Right("key", f"{ESM_NODE}/", "write"),
        ],
    }
