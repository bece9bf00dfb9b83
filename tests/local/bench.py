"""What a registration costs, as ratios within one run on one machine: `make bench`."""

import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table

import toolchain
from components.consul_connection import Connection
from components.registration.agent import AgentRegistration, AgentRegistrationArgs
from operations.pulumi_engine import Engine
from operations.sandbox.sandbox import Sandbox
from services.checks import TcpCheck
from services.consul_definition import definition_file
from services.model import Service
from services.roster import Roster

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


def with_pulumi(folder: Path, size: int) -> tuple[float, float]:
    """Return the seconds of a preview and of an `up`, of so many registrations into an empty agent."""
    folder.mkdir()
    (folder / "Pulumi.yaml").write_text("name: consul-staging\nruntime: python\n")
    args = AgentRegistrationArgs(generated(size), Connection(f"http://{AGENT}:8500"))
    engine = Engine(
        toolchain.pulumi,
        folder / "pulumi",
        folder,
        program=lambda: void(AgentRegistration("registration", args)),
        print_line=void,
    )
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
    """Measure, and print the ratios."""
    out = Console(highlight=False)
    rows = Table("Registrations", "preview", "up", "consul services register", "up, each", caption=CAPTION)
    previews, ups = {}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sandbox = Sandbox(toolchain.consul, SERVER, AGENT, generated(0), folder / "consul")
        sandbox.start()
        try:
            for size in SIZES:
                out.print(f"{size} registrations …")
                previews[size], ups[size] = with_pulumi(folder / str(size), size)
                commands = with_commands(folder, size)
                each = (ups[size] - ups[0]) / size if size else 0
                first = (ups[40] - ups[0]) / 40 if size else 1
                rows.add_row(
                    str(size),
                    f"{previews[size] / previews[0]:.1f}",
                    f"{ups[size] / ups[0]:.1f}",
                    f"{commands / ups[0]:.1f}",
                    f"{each / first:.2f}" if size else "",
                )
                for service_id in sandbox.agent_api.all_services():
                    sandbox.agent_api.deregister(service_id)
        finally:
            sandbox.stop()
    out.print(rows)
    out.print(f"An empty stack: preview {previews[0]:.1f} s, up {ups[0]:.1f} s.")


CAPTION = (
    "Each over the same of an empty stack, the commands over its `up`; the last column is the cost of one registration "
    "over its cost among 40."
)

if __name__ == "__main__":
    main()
