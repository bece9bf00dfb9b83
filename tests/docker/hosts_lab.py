"""Several Docker hosts on one machine, in one swarm, for what needs more than one.

The environment variable DOCKER_HOSTS_LAB is the path of a program that makes them, with the commands `up N`, which
prints the engine's socket and the address of each, `cut I`, `mend I`, `kill I` and `down`.
"""

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consul_cluster.client import Consul
from operations.stack import Stack
from tests.docker.conftest import CONSUL, project

PROGRAM = os.environ.get("DOCKER_HOSTS_LAB")
WHY_NOT = "needs several Docker hosts: set DOCKER_HOSTS_LAB to a program as tests/docker/hosts_lab.py describes it"

_HOST = re.compile(r"(h[0-9]): DOCKER_HOST=unix://(\S+), (\S+)")
_IMAGES = (CONSUL, "busybox:1.37.0")


@dataclass(frozen=True)
class LabHost:
    """One of the hosts.

    Attributes:
        name: such as h1.
        socket: path of its engine's socket.
        address: its IP address.
    """

    name: str
    socket: str
    address: str

    def docker(self, *arguments: str) -> str:
        """Run a docker command there; returns what it prints."""
        command = ("docker", "-H", f"unix://{self.socket}", *arguments)
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.strip()

    def saved(self, *images: str) -> bytes:
        """Return images of its engine."""
        command = ("docker", "-H", f"unix://{self.socket}", "save", *images)
        return subprocess.run(command, capture_output=True, check=True).stdout

    def load(self, images: bytes) -> None:
        """Give its engine images that another one has."""
        command = ("docker", "-H", f"unix://{self.socket}", "load")
        subprocess.run(command, input=images, capture_output=True, check=True)

    @property
    def ours(self) -> str:
        """The names of a stack's containers and volumes that are there."""
        containers = self.docker("ps", "--all", "--format", "{{.Names}}", "--filter", "name=^(consul-|staging-|isa-)")
        volumes = self.docker("volume", "ls", "--format", "{{.Name}}", "--filter", "name=^(consul-|staging-)")
        return f"{containers} {volumes}".strip()


def lab(*arguments: str) -> str:
    """Run a command of the program that makes the hosts; returns what it prints."""
    assert PROGRAM
    return subprocess.run((PROGRAM, *arguments), capture_output=True, text=True, check=True, timeout=300).stdout


def lab_hosts(count: int = 3) -> Mapping[str, LabHost]:
    """Have some hosts run, with the images that a stack needs, and return them by name."""
    hosts = {name: LabHost(name, socket, address) for name, socket, address in _HOST.findall(lab("up", str(count)))}
    images = subprocess.run(("docker", "save", *_IMAGES), capture_output=True, check=True).stdout
    for host in hosts.values():
        host.load(images)
    return hosts


SERVICES = {"h1": ["ai", "grpc"], "h2": ["user"], "h3": ["billing_service", "auth_service", "order_service"]}


def hosts_stack(
    folder: Path,
    hosts: Mapping[str, LabHost],
    servers: tuple[str, ...] = ("h1", "h2", "h3"),
    services: Mapping[str, list[str]] = SERVICES,
    asked: str = "h1",
    **config: object,
) -> Stack:
    """Return a secured stack on all hosts, with stand-ins; one host is asked, at the stack's addresses."""
    stated = {
        name: {
            "engine": f"unix://{host.socket}",
            "address": host.address,
            "server": name in servers,
            "services": services[name],
        }
        for name, host in hosts.items()
    }
    address = hosts[asked].address
    apis = {"agentAddress": f"https://{address}:8501", "serverAddress": f"https://{address}:8500"}
    return project(folder, "docker-local", network="existing", security="on", hosts=stated, **apis, **config)


def placed(stack: Stack) -> list[tuple[str, str]]:
    """Return each service of a stack with the node that it is stated on."""
    return sorted((service.name, stack.node_of(service)) for service in stack.roster.services)


def not_passing(stack: Stack, client: Consul | None = None) -> list[str]:
    """Return the services without a passing instance on their node, as a client finds them."""
    consul = client or stack.server
    found = {service.id: consul.discover(service.name) for service in stack.roster.services}
    return [
        service.id
        for service in stack.roster.services
        if stack.node_of(service) not in {entry["Node"]["Node"] for entry in found[service.id]}
    ]


def autopilot(stack: Stack) -> list[dict[str, Any]]:
    """Return what the leader knows of the servers, as the first of them that answers says."""
    return stack.with_role("management").server.autopilot_servers()


def healthy_voters(stack: Stack) -> set[str]:
    """Return the names of the servers that vote and are healthy."""
    return {each["Name"] for each in autopilot(stack) if each["Healthy"] and each["Status"] != "non-voter"}


def leader(stack: Stack) -> str:
    """Return the name of the server that leads."""
    return next(str(each["Name"]) for each in autopilot(stack) if each["Status"] == "leader")
