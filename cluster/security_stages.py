"""The stages of `security`, and what each of them adds to the configuration of Consul's agents.

The stages are the steps of Consul's own procedures to secure a cluster that runs, all of them at once.
https://developer.hashicorp.com/consul/docs/security/encryption/gossip#enabling-gossip-encryption-on-an-existing-cluster
"""

from typing import Any, Literal, get_args

from cluster.agent_configuration import DATACENTER, HTTPS_PORT, SERVER_NODE

Stage = Literal["off", "accepted", "sent", "on"]
"""What a cluster does with encryption, TLS and tokens: knows none, accepts them, sends them too, takes nothing else."""

STAGES = get_args(Stage)

TLS_FOLDER = "/consul/config/tls"
CA_FILE = f"{TLS_FOLDER}/ca.pem"


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
