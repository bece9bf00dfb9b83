"""What each registration costs the platform's clients, on this machine's Docker: `make bench STACK=docker-local`."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

from rich.console import Console
from rich.table import Table

from operations import down
from operations.stack import Stack
from services.environment import Environment
from services.roster import Roster
from services.user_services import USER
from tests.docker.catalog_watch import watch_catalog
from tests.docker.conftest import AGENT, REGISTRATIONS, changes, docker, instances, passing, project, status
from tests.forty_services import forty_roster
from tests.waiting import within

SETTLED = 35  # seconds in which every check has run once more


@contextmanager
def stated(services: Roster) -> Iterator[None]:
    """Have the program deploy another roster."""
    with patch("services.roster.load_roster", lambda *_: services):
        yield


def slower_billing() -> Roster:
    """Return the 40, one check of which has another interval."""
    slower = USER.service(Environment("staging"), "billing", 8216, interval=timedelta(seconds=15))
    return Roster(services=tuple(slower if s.id == slower.id else s for s in forty_roster().services))


def one_more() -> Roster:
    """Return the 40 and one more."""
    return Roster(services=(*forty_roster().services, USER.service(Environment("staging"), "extra", 8300)))


def without_passing(stack: Stack, event: Callable[[], object]) -> float:
    """Return the longest time in seconds for which any of the 40 has no passing instance, during and after an event."""
    with watch_catalog(stack.roster, stack.server) as found:
        event()
        time.sleep(SETTLED)
    return found.missing


def deploying(stack: Stack, services: Roster) -> Callable[[], object]:
    """Return an `up` of other services than the 40."""

    def deploy() -> None:
        with stated(services):
            changes(stack)

    return deploy


def to_critical(stack: Stack) -> float:
    """Return the seconds from a container's stop until its service is critical."""
    docker("stop", "--time", "0", "isa-billing")
    seconds = within(30, lambda: status(stack, "billing_service") == "critical")
    docker("start", "isa-billing")
    passing(stack)
    return seconds


def comes_back(stack: Stack) -> bool:
    """Whether `up --refresh` registers again what Consul has removed."""
    if stack.settings.registration == "catalog":
        stack.server.deregister_from_catalog(stack.node, "billing_service")
    else:
        stack.consul.deregister("billing_service")
    changes(stack, refresh=True)
    back = any(name == "billing_service" for name, _ in instances(stack))
    if not back:
        docker("exec", AGENT, "consul", "reload")
    passing(stack)
    return back


def seconds(work: Callable[[], object]) -> float:
    """Return how long something takes."""
    started = time.monotonic()
    work()
    return time.monotonic() - started


def measured(registration: str, folder: Path) -> list[str]:
    """Return a line of the table."""
    stack = project(folder, "docker-local", registration=registration)
    try:
        all_of_it = seconds(lambda: changes(stack))
        passing(stack)
        one = seconds(deploying(stack, slower_billing()))
        passing(stack)
        unchanged = without_passing(stack, deploying(stack, forty_roster()))
        added = without_passing(stack, deploying(stack, one_more()))
        changes(stack)
        restarted = without_passing(stack, lambda: docker("restart", "--time", "30", AGENT))
        critical = to_critical(stack)
        back = comes_back(stack)
    finally:
        down.destroy(stack)
    times = [f"{each:.1f}" for each in (all_of_it, one, unchanged, added, restarted, critical)]
    return [registration, *times, "yes" if back else "no"]


def main() -> None:
    """Measure, and print the table of docs/registrations.md."""
    table = Table("registration", "up", "up of one change", "changed", "added", "restarted", "critical", "comes back")
    with tempfile.TemporaryDirectory() as folder:
        for registration in REGISTRATIONS:
            table.add_row(*measured(registration, Path(folder) / registration))
    Console().print(table)


if __name__ == "__main__":
    main()
