"""Configuration files of the Consul agents (guide, "Agent Configuration"): one form for staging and for `local`."""

from typing import Any

AGENT_NODE = "consul-agent-shared"
SERVER_NODE = "staging-consul"
DATACENTER = "dc1"


def agent_config(retry_join: str, bind: str = "0.0.0.0", client: str = "0.0.0.0") -> dict[str, Any]:  # noqa: S104
    """Return `agent-config.json`, the shared client agent's configuration.

    Args:
        retry_join: the server's host: the agent tries again until it answers.
        bind: interface for the cluster's own traffic; all of them within the container's network, as in the guide.
        client: interface of the API.
    """
    return _common(AGENT_NODE, bind, client) | {
        "server": False,
        "retry_join": [retry_join],
        "retry_interval": "5s",
        # The guide enables script checks. From files alone: with an open API, the other kind is remote code execution.
        "enable_local_script_checks": True,
        "telemetry": {"prometheus_retention_time": "24h", "disable_hostname": True},
    }


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
        "log_level": "INFO",
    }
