"""The stages of `security`, and what each of them adds to the configuration of Consul's agents.

The stages are the steps of Consul's own procedures to secure a cluster that runs, all of them at once.
https://developer.hashicorp.com/consul/docs/security/encryption/gossip#enabling-gossip-encryption-on-an-existing-cluster
"""

from typing import Any, Literal, get_args

from consul_cluster.agent_configuration import HTTPS_PORT

Stage = Literal["off", "accepted", "sent", "on"]
"""What a cluster does with encryption, TLS and tokens.

`off`: none are configured. `accepted`: they are accepted, and not required. `sent`: Consul's own nodes use them too.
`on`: nothing else is accepted.
"""

STAGES = get_args(Stage)

TLS_FOLDER = "/consul/config/tls"
CA_FILE = f"{TLS_FOLDER}/ca.pem"
CERTIFICATE_FILE = f"{TLS_FOLDER}/certificate.pem"
KEY_FILE = f"{TLS_FOLDER}/key.pem"

QUICK_ACL = {"token_ttl": "1s", "policy_ttl": "1s"}
"""By default an agent caches the rights of a token for 30 s: it would refuse a new service for so long."""


def stage_config(stage: Stage) -> dict[str, Any]:
    """Return what a stage adds to the configuration of the server and of the agent. It contains no secret."""
    if stage == "off":
        return {}
    sent, required = stage in ("sent", "on"), stage == "on"
    return {
        "disable_keyring_file": True,  # An agent starts with the key that the stack has now.
        "encrypt_verify_outgoing": sent,
        "encrypt_verify_incoming": required,
        "ports": {"https": HTTPS_PORT},
        # Plain HTTP stays inside the container: for the container's health check and for `docker exec`.
        **({"addresses": {"http": "127.0.0.1"}} if required else {}),
        "tls": {
            "defaults": {
                "ca_file": CA_FILE,
                "cert_file": CERTIFICATE_FILE,
                "key_file": KEY_FILE,
                "verify_outgoing": sent,
            },
            "internal_rpc": {"verify_incoming": required, "verify_server_hostname": sent},
        },
        "acl": {
            "enabled": True,
            "default_policy": "deny" if required else "allow",
            **QUICK_ACL,
        },
    }


def why_change_is_refused(before: Stage, after: Stage) -> str | None:
    """Return why a running cluster cannot change its stage like this, and what it can do; None if it can."""
    steps = STAGES.index(after) - STAGES.index(before)
    if after == "off":
        return (
            "a cluster that was secured cannot go back to off: a Consul without ACLs removes no tokens. Set it to "
            "accepted, which asks for nothing"
        )
    if abs(steps) > 1:
        step = STAGES[STAGES.index(before) + (1 if steps > 0 else -1)]
        return f"agent and server of a cluster would lose each other from {before} to {after}: set it to {step} first"
    return None
