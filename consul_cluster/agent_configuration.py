"""The configuration of the Consul server, of the shared agent, of consul-esm and of consul-template.

https://developer.hashicorp.com/consul/docs/agent/config/config-files
"""

from collections.abc import Mapping
from typing import Any

from consul_cluster.cluster_names import ClusterNames

ESM_NODE = "consul-esm"
ESM_METRICS = "127.0.0.1:8080"
HTTPS_PORT = 8501

EXTERNAL_NODE_META = {"external-node": "true", "external-probe": "false"}
"""Meta of a node without an agent: consul-esm runs its services' checks, and does not ping the node itself.

https://developer.hashicorp.com/consul/tutorials/connect-services/service-registration-external-services
"""

_TELEMETRY = {"prometheus_retention_time": "24h", "disable_hostname": True}


def agent_config(
    names: ClusterNames,
    retry_join: str,
    bind: str = "0.0.0.0",  # noqa: S104
    client: str = "0.0.0.0",  # noqa: S104
) -> dict[str, Any]:
    """Return `agent-config.json`, the shared client agent's configuration.

    Args:
        names: of the cluster.
        retry_join: the server's host: the agent tries again until it answers.
        bind: interface for the cluster's own traffic; the default is every interface of the container.
        client: interface of the API.
    """
    return _common(names.agent_node, names, bind, client) | {
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


def esm_config(names: ClusterNames, token: object = None, ca_file: str | None = None) -> dict[str, Any]:
    """Return the configuration of consul-esm, beside the shared agent.

    https://github.com/hashicorp/consul-esm#configuration

    Args:
        names: of the cluster.
        token: ACL token with `service:write` on the services, `node:write`, `session:write` and `key:write`.
        ca_file: the authority of a secured cluster, in its container; None: the cluster is open.
    """
    config: dict[str, Any] = {
        "datacenter": names.datacenter,
        "http_addr": f"https://{names.agent_container}:{HTTPS_PORT}" if ca_file else f"{names.agent_container}:8500",
        "external_node_meta": {"external-node": EXTERNAL_NODE_META["external-node"]},
        # Its metrics are what tells that it is up: within its container alone.
        "client_address": ESM_METRICS,
        "telemetry": _TELEMETRY,
    }
    return config | {key: value for key, value in (("token", token), ("ca_file", ca_file)) if value is not None}


def consul_template_config(
    names: ClusterNames, files: Mapping[str, str], token: object = None, ca_file: str | None = None
) -> dict[str, Any]:
    """Return the configuration of consul-template, beside the shared agent.

    https://github.com/hashicorp/consul-template/blob/v0.41.1/docs/configuration.md

    Args:
        names: of the cluster.
        files: paths of the files that it writes, by the paths of their templates.
        token: ACL token with `service:read` and `node:read` on everything.
        ca_file: the authority of a secured cluster, in its container; None: the cluster is open.
    """
    consul: dict[str, Any] = {
        "address": f"{names.agent_container}:{HTTPS_PORT if ca_file else 8500}",
        # While Consul is away it tries again without end, and what it wrote stays: by default it ends after 12 tries.
        "retry": {"enabled": True, "attempts": 0, "backoff": "250ms", "max_backoff": "5s"},
    }
    if token is not None:
        consul["token"] = token
    if ca_file is not None:
        consul["ssl"] = {"enabled": True, "verify": True, "ca_cert": ca_file}
    return {
        "consul": consul,
        # Statuses that change together are one change to a file: it is written when none has changed for a second.
        "wait": {"min": "1s", "max": "3s"},
        # One template that fails on what Consul holds must not keep the others from being written.
        "template_error_fatal": False,
        "log_level": "INFO",
        "kill_signal": "SIGTERM",  # what Docker sends
        "template": [
            {"source": source, "destination": destination, "perms": "0644"} for source, destination in files.items()
        ],
    }


def server_config(
    names: ClusterNames,
    bind: str = "0.0.0.0",  # noqa: S104
    client: str = "0.0.0.0",  # noqa: S104
    servers: int = 1,
    telemetry: bool = False,
) -> dict[str, Any]:
    """Return the configuration of a server, with its UI.

    Args:
        names: of the cluster.
        bind: interface for the cluster's own traffic.
        client: interface of the API.
        servers: how many the cluster has.
        telemetry: keep metrics for Prometheus, as the agent does.
    """
    config = _common(names.server_node, names, bind, client) | {
        "server": True,
        "bootstrap_expect": servers,
        "ui_config": {"enabled": True},
    }
    if telemetry:
        config["telemetry"] = _TELEMETRY
    return config | (_ONE_OF_SEVERAL | {"retry_join": [names.servers]} if names.servers else {})


# A container on an overlay network has another address after each start. To a server that has gone without leaving, the
# others refuse its name under another address for 30 s, and Raft knows servers by their addresses.
# https://developer.hashicorp.com/consul/docs/install/performance#production-server-requirements
_ONE_OF_SEVERAL = {"leave_on_terminate": True, "performance": {"raft_multiplier": 1}, "retry_interval": "5s"}

# Docker gives a container with published ports a second interface, of a bridge; the first is the overlay network's.
# https://developer.hashicorp.com/consul/docs/agent/config/config-files#bind_addr
_ON_OVERLAY = '{{ GetInterfaceIP "eth0" }}'


def bind_address(names: ClusterNames) -> str:
    """Return the interface for the cluster's own traffic in a container: every one, unless it has several networks."""
    return _ON_OVERLAY if names.servers else "0.0.0.0"  # noqa: S104


def _common(node: str, names: ClusterNames, bind: str, client: str) -> dict[str, Any]:
    return {
        "node_name": node,
        "datacenter": names.datacenter,
        "bind_addr": bind,
        "client_addr": client,
        "disable_update_check": True,
    }
