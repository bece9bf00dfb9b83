"""What each host of a secured stack costs: `python -m tests.docker.hosts_bench`, with a lab (hosts_lab.py)."""

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from unittest.mock import patch

from rich.console import Console
from rich.table import Table

from operations import down
from operations.verify.report import report
from tests.docker.bench import seconds
from tests.docker.conftest import changes
from tests.docker.hosts_lab import PROGRAM, SERVICES, WHY_NOT, LabHost, hosts_stack, lab_hosts
from tests.forty_services import forty_roster
from tests.waiting import within

GROUPS = {"h1": ["ai", "grpc", "user"]}  # of the first host, until there is one more


def measured(hosts: Mapping[str, LabHost], servers: tuple[str, ...], services: Mapping[str, list[str]]) -> list[str]:
    """Return a line of the table: the 40 services on these hosts."""
    with tempfile.TemporaryDirectory() as folder:
        stack = hosts_stack(Path(folder), hosts, servers, services)
        try:
            created = seconds(lambda: changes(stack))
            passing = seconds(lambda: within(90, lambda: report(stack).well))
            resources = len(stack.engine.urns())
            unchanged = seconds(lambda: changes(stack))
            previewed = seconds(stack.engine.preview)
            verified = seconds(lambda: report(stack))
        finally:
            destroyed = seconds(partial(down.destroy, stack))
    times = (created, passing, unchanged, previewed, verified, destroyed)
    return [str(len(hosts)), str(len(servers)), str(resources), *(f"{each:.1f}" for each in times)]


def main() -> None:
    """Measure, and print the table of docs/speed.md."""
    if not PROGRAM:
        raise SystemExit(WHY_NOT)
    hosts = lab_hosts()
    one, two = {"h1": hosts["h1"]}, {name: hosts[name] for name in ("h1", "h2")}
    table = Table("hosts", "servers", "resources", "up", "… all passing", "unchanged", "preview", "verify", "destroy")
    with patch("services.roster.load_roster", forty_roster):
        table.add_row(*measured(one, ("h1",), GROUPS))
        table.add_row(*measured(two, ("h1",), SERVICES))
        table.add_row(*measured(hosts, ("h1",), SERVICES))
        table.add_row(*measured(hosts, ("h1", "h2", "h3"), SERVICES))
    Console().print(table)


if __name__ == "__main__":
    main()
