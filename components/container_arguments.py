"""Arguments that containers of the project have in common."""

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi_docker as docker

from docker_hosts import Publish

# No container needs any of root's capabilities. https://docs.docker.com/engine/security/
HARDENED: Mapping[str, Any] = {
    "capabilities": {"drops": ["ALL"]},
    "security_opts": ["no-new-privileges=true"],
    "log_driver": "json-file",
    "log_opts": {"max-size": "10m", "max-file": "3"},
}


def kept_running(check: Sequence[str], grace_seconds: int = 10) -> Mapping[str, Any]:
    """Return the arguments of a container that goes on running. Pulumi waits until its health check passes.

    They are JSON: what a Consul container runs with has a fingerprint in deployed states.

    Args:
        check: the command by which Docker checks the container, inside it.
        grace_seconds: how long the container may take to stop when it is destroyed.
    """
    return {
        "healthcheck": {
            "tests": ["CMD", *check],
            "interval": "5s",
            "timeout": "5s",
            "start_period": "10s",
            "retries": 6,
        },
        "wait": True,
        "wait_timeout": 60,
        "restart": "unless-stopped",
        "destroy_grace_seconds": grace_seconds,
        **HARDENED,
    }


def http_check(url: str) -> Sequence[str]:
    """Return the command that checks whether a URL answers, of an image that has wget."""
    return ["wget", "-q", "-O", "/dev/null", url]


def published(at: Publish | None, internal: int) -> Sequence[docker.ContainerPortArgs]:
    """Return where Docker publishes a port of a container; nothing where it is not published."""
    return [docker.ContainerPortArgs(internal=internal, ip=at.ip, external=at.port)] if at else []
