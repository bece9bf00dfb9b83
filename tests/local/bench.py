"""What registrations cost, beside what Pulumi itself and Consul's command cost in the same run: `make bench`."""

import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pulumi
from rich.console import Console
from rich.table import Table

import toolchain
from components.consul_connection import Connection
from components.registration.agent import AgentRegistration, AgentRegistrationArgs
from operations.pulumi_engine import Engine
from operations.sandbox.sandbox import Sandbox
from services.checks import TcpCheck
from services.consul_definition import definition, definition_file
from services.model import Service
from services.roster import Roster
from tests.local.idle_resource import IdleProvider, IdleResource

SIZES = (0, 40, 400, 2000)
SERVER, AGENT = "127.0.1.1", "127.0.1.2"


def generated(count: int) -> Roster:
    """Return so many services, whose checks hardly ever run: it is their registration that is measured."""
    return Roster(services=tuple(_service(f"bench-{number}", 10_000 + number) for number in range(count)))


def _service(name: str, port: int) -> Service:
    check = TcpCheck(
        id=f"{name}-tcp",
        interval=timedelta(hours=1),
        timeout=timedelta(seconds=3),
        deregister_critical_service_after=timedelta(days=1),
    )
    return Service(
        id=name,
        name=name,
        kind="user",
        container=name,
        host=AGENT,
        port=port,
        tags=("v1", "bench"),
        meta={"version": "v1"},
        checks=(check,),
    )


def seconds(work: Callable[[], object]) -> float:
    """Return how long something takes."""
    started = time.monotonic()
    work()
    return time.monotonic() - started


def registrations(roster: Roster) -> None:
    """Declare the services, as a stack does."""
    AgentRegistration("registration", AgentRegistrationArgs(roster, Connection(f"http://{AGENT}:8500")))


def idle_resources(roster: Roster) -> None:
    """Declare as many resources with the same inputs."""
    parent = pulumi.ResourceOptions(parent=pulumi.ComponentResource("bench:index:Idle", "idle"))
    for service in roster.services:
        inputs = definition(service)
        IdleResource(IdleProvider(), service.id, {"service_id": inputs.pop("id"), **inputs}, parent)


def with_pulumi(folder: Path, program: Callable[[Roster], None], size: int) -> tuple[float, float]:
    """Return the seconds of a preview and of an `up` of a program with so many services, from an empty state."""
    folder.mkdir()
    (folder / "Pulumi.yaml").write_text("name: consul-staging\nruntime: python\n")
    roster = generated(size)  # not measured
    engine = Engine(toolchain.pulumi, folder / "pulumi", folder, program=lambda: program(roster), print_line=void)
    try:
        return seconds(engine.preview), seconds(engine.up)
    finally:
        engine.destroy()


def void(_: object) -> None:
    """Take anything, and do nothing."""


def with_commands(folder: Path, size: int) -> float:
    """Return the seconds of as many `consul services register` commands."""
    files = []
    for service in generated(size).services:
        files.append(folder / f"{service.id}.json")
        files[-1].write_text(json.dumps({"service": definition_file([service])["services"][0]}))
    register = (str(toolchain.consul()), "services", "register", f"-http-addr=http://{AGENT}:8500")

    def work() -> None:
        for file in files:
            subprocess.run((*register, str(file)), check=True, stdout=subprocess.DEVNULL)

    return seconds(work)


def main() -> None:
    """Measure, and print a table."""
    out = Console(highlight=False)
    columns = ("Registrations", "preview", "up", "Pulumi alone", "consul services register", "up over Pulumi alone")
    rows = Table(*columns, caption=CAPTION)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sandbox = Sandbox(toolchain.consul, SERVER, AGENT, generated(0), folder / "consul")
        sandbox.start()
        try:
            for size in SIZES:
                out.print(f"{size} registrations …")
                preview, up = with_pulumi(folder / str(size), registrations, size)
                _, floor = with_pulumi(folder / f"idle-{size}", idle_resources, size)
                measured = (preview, up, floor, with_commands(folder, size))
                rows.add_row(str(size), *(f"{each:.1f} s" for each in measured), f"{up / floor:.2f}")
                for service_id in sandbox.agent_api.all_services():
                    sandbox.agent_api.deregister(service_id)
        finally:
            sandbox.stop()
    out.print(rows)


CAPTION = (
    "Pulumi alone: `up` of as many resources with the same inputs, whose provider does nothing: the least that a "
    "program takes which states each service as a resource."
)

if __name__ == "__main__":
    main()
