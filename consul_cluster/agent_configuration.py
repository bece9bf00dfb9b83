"""The configuration of the Consul server, of the shared agent and of consul-esm, with the names of their nodes.

https://developer.hashicorp.com/consul/docs/agent/config/config-files
"""

from typing import Any

AGENT_NODE = "consul-agent-shared"
SERVER_NODE = "staging-consul"
ESM_NODE = "consul-esm"
ESM_METRICS = "127.0.0.1:8080"
DATACENTER = "dc1"
HTTPS_PORT = 8501

EXTERNAL_NODE_META = {"external-node": "true", "external-probe": "false"}
"""Meta of a node without an agent: consul-esm runs its services' checks, and does not ping the node itself.

https://developer.hashicorp.com/consul/tutorials/connect-services/service-registration-external-services
"""

_TELEMETRY = {"prometheus_retention_time": "24h", "disable_hostname": True}


def agent_config(retry_join: str, bind: str = "0.0.0.0", client: str = "0.0.0.0") -> dict[str, Any]:  # noqa: S104
    """Return `agent-config.json`, the shared client agent's configuration.

    Args:
        retry_join: the server's host: the agent tries again until it answers.
        bind: interface for the cluster's own traffic; the default is every interface of the container.
        client: interface of the API.
    """
    return _common(AGENT_NODE, bind, client) | {
        "server": False,
        "retry_join": [retry_join],
        "retry_interval": "5s",
        # Script checks are allowed from files only: over an open API, they would be remote code execution.
        "enable_local_script_checks": True,
        "telemetry": _TELEMETRY,
    }


def reloadable_config() -> dict[str, Any]:
    """Return the part of the agent's configuration that Consul reads again while it runs; the rest needs a new start.

    https://developer.hashicorp.com/consul/docs/agent/config#reloadable-configuration
    """
    return {"log_level": "INFO"}


def esm_config(token: object = None, ca_file: str | None = None) -> dict[str, Any]:
    """Return the configuration of consul-esm, beside the shared agent.

    https://github.com/hashicorp/consul-esm#configuration

    Args:
        token: ACL token with `service:write` on the services, `node:write`, `session:write` and `key:write`.
        ca_file: the authority of a secured cluster, in its container; None: the cluster is open.
    """
    config: dict[str, Any] = {
        "datacenter": DATACENTER,
        "http_addr": f"https://{AGENT_NODE}:{HTTPS_PORT}" if ca_file else f"{AGENT_NODE}:8500",
        "external_node_meta": {"external-node": EXTERNAL_NODE_META["external-node"]},
        # Its metrics are what tells that it is up: within its container alone.
        "client_address": ESM_METRICS,
        "telemetry": _TELEMETRY,
    }
    return config | {key: value for key, value in (("token", token), ("ca_file", ca_file)) if value is not None}


def server_config(bind: str = "0.0.0.0", client: str = "0.0.0.0") -> dict[str, Any]:  # noqa: S104
    """Return the configuration of the one server, with its UI."""
    return _common(SERVER_NODE, bind, client) | {
        "server": True,
        "bootstrap_expect": 1,
        "ui_config": {"enabled": True},
    }


def _common(node: str, bind: str, client: str) -> dict[str, Any]:
    return {
        "node_name": node,
        "datacenter": DATACENTER,
        "bind_addr": bind,
        "client_addr": client,
        "disable_update_check": True,
    }
