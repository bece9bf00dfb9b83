"""What thousands of services over many agents cost on one machine: `make scale`."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psutil
import typer
from rich.console import Console
from rich.table import Table

import toolchain
from operations.pulumi_engine import Engine
from operations.sandbox.processes import BackgroundProcess
from operations.verify.report import report
from services.model import Service
from services.roster import Roster
from tests.local.bench import seconds, void
from tests.local.fleet import Fleet, declare
from tests.polling import polling

REST = 60  # seconds for which what runs is watched at rest
FIRST_RUNS = 120  # seconds for every check's first run, which is up to 30 s later where the machine keeps up

MIB = 2**20


@dataclass
class Memory:
    """The most memory that was seen, in bytes, of what a run of pulumi is made of.

    Attributes:
        engine: the `pulumi` process.
        provider: the Python process that runs `AgentServiceProvider`.
        program: this process, which declares the resources.
    """

    engine: int = 0
    provider: int = 0
    program: int = 0

    def look(self) -> None:
        """See what is used now."""
        this = psutil.Process()
        self.program = max(self.program, this.memory_info().rss)
        with suppress(psutil.NoSuchProcess):
            for process in [child for child in this.children() if child.name() == "pulumi"]:
                self.engine = max(self.engine, process.memory_info().rss)
                for child in process.children(recursive=True):
                    self.provider = max(self.provider, child.memory_info().rss)


def measured(fleet: Fleet, engine: Callable[[dict[str, Roster]], Engine]) -> Iterator[tuple[str, str]]:
    """Yield what is measured and its value, from the first deployment to the last."""
    rosters = dict(fleet.rosters)
    pulumi = engine(rosters)
    yield "preview", _took(pulumi.preview)
    memory = Memory()
    with polling(memory.look, 0.5):
        yield "up", _took(pulumi.up)
    yield "most memory during up: engine, provider, program", _mib(memory.engine, memory.provider, memory.program)
    yield "then until every check has passed", _took(lambda: _await_all(fleet))
    yield "up, nothing to change", _took(pulumi.up)
    yield "up --refresh, nothing to change", _took(lambda: pulumi.up(refresh=True))
    address, roster = next(iter(rosters.items()))
    rosters[address] = Roster(services=(_slower(roster.services[0]), *roster.services[1:]))
    yield "preview, one check changed", _took(pulumi.preview)
    yield "up, one check changed", _took(pulumi.up)
    rosters[address] = roster
    pulumi.up()
    yield (
        "state",
        _mib((pulumi.folder / "state/.pulumi/stacks" / pulumi.project_name / f"{pulumi.stack}.json").stat().st_size),
    )
    _await_all(fleet)
    yield from _at_rest(fleet)
    yield "verify", _took(lambda: _verify(fleet))
    yield "destroy", _took(pulumi.destroy)


def _took(work: Callable[[], object]) -> str:
    """Return how long something takes, and how much of it a processor's core worked: this process and what it awaits.

    The second depends less on what else the machine does. Consul's processes, which go on running, are not in it.
    """
    before = os.times()
    elapsed = seconds(work)
    used = sum(os.times()[:4]) - sum(before[:4])
    return f"{elapsed:.1f} s, of a core {used:.1f} s"


def _mib(*sizes: float) -> str:
    return ", ".join(f"{size / MIB:.0f} MiB" for size in sizes)


def _slower(service: Service) -> Service:
    check = service.checks[0].model_copy(update={"interval": timedelta(seconds=15)})
    return service.model_copy(update={"checks": (check,)})


def _await_all(fleet: Fleet) -> None:
    """Wait until each service's check passes in the catalog."""
    deadline, passing = time.monotonic() + FIRST_RUNS, 0
    while time.monotonic() < deadline:
        checks = [check for check in fleet.server.catalog_checks() if check["ServiceID"]]
        passing = sum(check["Status"] == "passing" for check in checks)
        if passing == fleet.agents * fleet.each:
            return
        time.sleep(0.5)
    raise AssertionError(f"{passing} of {fleet.agents * fleet.each} pass after {FIRST_RUNS} s")


def _at_rest(fleet: Fleet) -> Iterator[tuple[str, str]]:
    programs = {"server": [fleet.server_process], "agents": fleet.agent_processes, "the listener": [fleet.listener]}
    before = {name: [_used(program) for program in group] for name, group in programs.items()}
    time.sleep(REST)
    for name, group in programs.items():
        cpu = [100 * (_used(program) - then) / REST for program, then in zip(group, before[name], strict=True)]
        memory = [_process(program).memory_info().rss for program in group]
        yield f"{name} at rest, memory: mean, most", _mib(statistics.mean(memory), max(memory))
        yield f"{name} at rest, of a core: mean, most", f"{statistics.mean(cpu):.1f} %, {max(cpu):.1f} %"


def _used(program: BackgroundProcess) -> float:
    """Return the seconds of a core that a program has used."""
    times = _process(program).cpu_times()
    return times.user + times.system


def _process(program: BackgroundProcess) -> psutil.Process:
    if not (process := program.running):
        raise AssertionError(f"{program.name} ended: see {program.log}")
    return process


def _verify(fleet: Fleet) -> None:
    found = report(fleet.stack)
    assert found.well, [verdict for verdict in found.verdicts if not verdict.well]


def main(agents: int = 20, each: int = 200, checkpoints: bool = False) -> None:
    """Measure, telling of each number as it is known, and print them as one table."""
    out, rows = Console(highlight=False), Table(f"{agents * each} services over {agents} agents", "")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "Pulumi.yaml").write_text("name: consul-staging\nruntime: python\n")

        def engine(rosters: dict[str, Roster]) -> Engine:
            state, program = folder / "pulumi", lambda: declare(rosters)
            return Engine(toolchain.pulumi, state, folder, program=program, print_line=void, checkpoints=checkpoints)

        fleet = Fleet(toolchain.consul(), folder / "consul", agents, each)
        with fleet.running():
            for what, value in measured(fleet, engine):
                out.print(f"{what}: {value}")
                rows.add_row(what, value)
    out.print(rows)


if __name__ == "__main__":
    typer.run(main)
