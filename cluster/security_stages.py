"""What each stage of `security` puts into the configuration of Consul's agents, and the rights of each ACL token.

The stages are the steps of Consul's own procedures to secure a cluster that runs, all of them at once.
https://developer.hashicorp.com/consul/docs/security/encryption/gossip#enabling-gossip-encryption-on-an-existing-cluster
https://developer.hashicorp.com/consul/docs/security/acl/acl-rules
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from cluster.agent_configuration import AGENT_NODE, DATACENTER, ESM_NODE, HTTPS_PORT, SERVER_NODE
from services.rules import Roster

Stage = Literal["off", "accepted", "sent", "on"]
"""What a cluster does with encryption, TLS and tokens: knows none, accepts them, sends them too, takes nothing else."""

STAGES = get_args(Stage)

TLS_FOLDER = "/consul/config/tls"
CA_FILE = f"{TLS_FOLDER}/ca.pem"

Rules = Mapping[str, Mapping[str, Mapping[str, str]]]

_READ, _WRITE = {"policy": "read"}, {"policy": "write"}


def stage_config(stage: Stage) -> dict[str, Any]:
    """Return what a stage adds to an agent's configuration, on the server and on the client; no secret is in it."""
    if stage == "off":
        return {}
    sent, required = stage in ("sent", "on"), stage == "on"
    return {
        "disable_keyring_file": True,  # the key that an agent starts with is the one that the stack has now
        "encrypt_verify_outgoing": sent,
        "encrypt_verify_incoming": required,
        "ports": {"https": HTTPS_PORT},
        # What is left of plain HTTP is within the container: its health check, and `docker exec`.
        **({"addresses": {"http": "127.0.0.1"}} if required else {}),
        "tls": {
            "defaults": {
                "ca_file": CA_FILE,
                "cert_file": f"{TLS_FOLDER}/certificate.pem",
                "key_file": f"{TLS_FOLDER}/key.pem",
                "verify_outgoing": sent,
            },
            "internal_rpc": {"verify_incoming": required, "verify_server_hostname": sent},
        },
        "acl": {
            "enabled": True,
            "default_policy": "deny" if required else "allow",
            # By default an agent knows for 30 s what a token may do: a service that is added would be refused so long.
            "token_ttl": "1s",
            "policy_ttl": "1s",
        },
    }


def why_not_reachable(before: Stage, after: Stage) -> str | None:
    """Return why a cluster that runs cannot go from one stage to another at once, and what it can; None: it can."""
    here, there = STAGES.index(before), STAGES.index(after)
    if after == "off":
        return (
            "a cluster that was secured cannot go back to off: a Consul without ACLs removes no tokens. Set it to "
            "accepted, which asks for nothing"
        )
    if abs(there - here) > 1:
        step = STAGES[here + (1 if there > here else -1)]
        return f"agent and server of a cluster would lose each other from {before} to {after}: set it to {step} first"
    return None


def certificate_host_names(node: str) -> list[str]:
    """Return the names that a node's certificate is for.

    The first is what `verify_server_hostname` asks for.
    https://developer.hashicorp.com/consul/docs/security/encryption/tls
    """
    role = "server" if node == SERVER_NODE else "client"
    return [f"{role}.{DATACENTER}.consul", node, "localhost"]


def token_rules(roster: Roster, external_node: str, esm: bool) -> Mapping[str, Rules]:
    """Return what each token may do, by its name: as little as it needs.

    `agent` is the shared agent's own, `registration` registers the services and writes their names alone, `verify`
    reads: it is for `operations` and for the services' own discovery. `removal` removes what the roster has dropped,
    whose name is in no other policy any more; Consul has no right for that alone. `reload` tells the agent to read its
    files again, and `esm` is consul-esm's.
    https://developer.hashicorp.com/consul/docs/security/acl/tokens/create/create-an-agent-token
    https://github.com/hashicorp/consul-esm#consul-acl-policies

    Args:
        roster: the services.
        external_node: where they are registered with the servers. Their registration always may write it: what a
            stack moves away from there, it removes.
        esm: whether there is a consul-esm.
    """
    services = {service.name: _WRITE for service in roster.services}
    external = {external_node: _WRITE}
    everything = {"service_prefix": {"": _READ}, "node_prefix": {"": _READ}}
    agents = {"agent_prefix": {"": _READ}}
    rules: dict[str, Rules] = {
        "agent": {"node": {AGENT_NODE: _WRITE}, "service_prefix": {"": _READ}},
        "registration": {"service": services, "node": external, "node_prefix": {"": _READ}, **agents},
        "verify": {**everything, **agents},
        "removal": {**everything, **agents, "service_prefix": {"": _WRITE}},
        "reload": {"agent": {AGENT_NODE: _WRITE}},
    }
    if esm:
        rules["esm"] = {
            **everything,
            **agents,
            "key_prefix": {f"{ESM_NODE}/": _WRITE},
            "node": external,
            "service": {ESM_NODE: _WRITE, **services},
            "session": {AGENT_NODE: _WRITE},
        }
    return rules


def server_tokens(management: object) -> Mapping[str, Any]:
    """Return the server's tokens: it makes the management token itself, and keeps its own node with that.

    https://developer.hashicorp.com/consul/docs/agent/config/config-files#acl_tokens_initial_management
    """
    return {"initial_management": management, "agent": management}


def agent_tokens(tokens: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the shared agent's tokens, by what Consul does with each: its own, and that of its definition files.

    https://developer.hashicorp.com/consul/docs/agent/config/config-files#acl_tokens
    """
    return {"agent": tokens["agent"], "config_file_service_registration": tokens["registration"]}
