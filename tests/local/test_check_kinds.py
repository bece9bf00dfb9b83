"""Each kind of check, registered by the real engine or from a definition file, as the real Consul runs it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import urllib3

import toolchain
from consul_cluster.agent_configuration import agent_config
from consul_cluster.client import Consul
from consul_cluster.cluster_names import STAGING_NAMES
from operations.sandbox.processes import BackgroundProcess
from operations.sandbox.sandbox import Sandbox
from services.checks import Check, GrpcCheck, HttpCheck, TcpCheck, TtlCheck
from services.consul_definition import definition_file
from services.environment import Environment
from services.model import Service
from services.roster import Roster
from services.user_services import USER
from tests.local.health_servers import HealthServers, certificate, grpc_health, http, listening, tcp
from tests.local.loopback import new_addresses
from tests.local.stacks import SECOND, EditableStack, new_sandbox, new_stack
from tests.waiting import within

SECONDLY: Any = {"interval": SECOND, "timeout": SECOND}
PORT = 21_000

# By service: its check, and a server that passes it.
KINDS: Mapping[str, tuple[Check, Any]] = {
    "http": (HttpCheck(path="/health", **SECONDLY), partial(http, request=("GET", "", b""))),
    "http_post": (
        HttpCheck(
            path="/probe?deep=1", method="POST", header={"X-Probe": ("consul",)}, body='{"deep": true}', **SECONDLY
        ),
        partial(http, request=("POST", "consul", b'{"deep": true}')),
    ),
    "https": (
        HttpCheck(use_tls=True, tls_server_name="billing.example", tls_skip_verify=True, **SECONDLY),
        partial(http, tls=True, request=("GET", "", b"")),
    ),
    "tcp_tls": (TcpCheck(use_tls=True, tls_skip_verify=True, **SECONDLY), partial(tcp, tls=True)),
    "grpc": (GrpcCheck(**SECONDLY), grpc_health),
    "grpc_named": (
        GrpcCheck(service="storage.v1.Objects", **SECONDLY),
        partial(grpc_health, service="storage.v1.Objects"),
    ),
    "grpc_tls": (GrpcCheck(use_tls=True, tls_skip_verify=True, **SECONDLY), partial(grpc_health, tls=True)),
}
TTL = "ttl_service"
NAMES = [f"{name}_service" for name in KINDS]


def service(host: str, name: str, check: Check) -> Service:
    port = None if name == "ttl" else PORT + [*KINDS].index(name)
    return USER.service(Environment("staging", host), name, port, checks=(check,))


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HealthServers]:
    made = HealthServers(new_addresses().services, certificate(tmp_path_factory.mktemp("certificate")))
    with listening(*(partial(KINDS[name][1], made, PORT + place) for place, name in enumerate(KINDS))):
        yield made


@pytest.fixture(scope="module")
def kinds(servers: HealthServers) -> Roster:
    """A service of each kind, and one that reports by itself, on no port."""
    checks = {name: check for name, (check, _) in KINDS.items()} | {"ttl": TtlCheck(ttl=2 * SECOND)}
    return Roster(services=tuple(service(servers.host, name, check) for name, check in checks.items()))


@pytest.fixture(scope="module")
def sandbox(kinds: Roster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A Consul, without stand-ins."""
    sandbox = replace(new_sandbox(tmp_path_factory.mktemp("consul")), roster=Roster(services=()))
    try:
        sandbox.start()
        yield replace(sandbox, roster=kinds)
    finally:
        sandbox.stop()


@pytest.fixture
def stack(sandbox: Sandbox, tmp_path: Path) -> Iterator[EditableStack]:
    with new_stack(sandbox, tmp_path) as stack:
        yield stack


@pytest.fixture
def of_files(sandbox: Sandbox, kinds: Roster, tmp_path: Path) -> Iterator[Consul]:
    """Another agent, which has read the definition file."""
    address = new_addresses().agent
    config = agent_config(STAGING_NAMES, sandbox.server, address, address) | {"node_name": "of-files"}
    (tmp_path / "agent.json").write_text(json.dumps(config))
    (tmp_path / "user-services.json").write_text(json.dumps(definition_file(kinds.services)))
    command = (toolchain.consul(), "agent", "-config-dir", tmp_path, "-data-dir", tmp_path / "data")
    agent = BackgroundProcess("agent", command, tmp_path / "log")
    try:
        agent.start()
        consul = Consul(f"http://{address}:8500")
        within(30, lambda: sandbox.server_api.has_synchronized("of-files"))
        yield consul
    finally:
        agent.stop()
        sandbox.server_api.deregister_node("of-files")


def statuses(consul: Consul) -> dict[str, str]:
    return {check["ServiceID"]: check["Status"] for check in consul.all_checks().values()}


def assert_each_passes_and_fails(consul: Consul, servers: HealthServers) -> None:
    servers.well = True
    within(10, lambda: statuses(consul) == {**dict.fromkeys(NAMES, "passing"), TTL: "critical"})
    assert "billing.example" in servers.names
    servers.well = False
    try:
        within(10, lambda: set(statuses(consul).values()) == {"critical"})
    finally:
        servers.well = True
    urllib3.request("PUT", f"{consul.address}/v1/agent/check/pass/{TTL}-ttl")
    assert statuses(consul)[TTL] == "passing"
    within(5, lambda: statuses(consul)[TTL] == "critical")


def test_each_kind_that_the_engine_registers_passes_and_fails(stack: EditableStack, servers: HealthServers) -> None:
    assert stack.up()["create"] == len(KINDS) + 3
    assert_each_passes_and_fails(stack.consul, servers)
    assert stack.up(refresh=True) == {"same": len(KINDS) + 3}
    stack.destroy()
    assert stack.consul.all_services() == {}


def test_each_kind_in_a_definition_file_passes_and_fails(of_files: Consul, servers: HealthServers) -> None:
    assert_each_passes_and_fails(of_files, servers)
