"""`make up` and `make down`: the whole of the `local` stack, from nothing to 40 of 40 passing, and back."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import settings
import toolchain
from operations.cluster import Cluster, ClusterError
from operations.engine import ROOT, STACK, Engine
from operations.health import await_passing
from operations.processes import Program
from services.consul_api import Consul
from services.model import MARK
from services.roster import roster
from services.rules import Roster

FOLDER = ROOT / ".local"

# A TCP check waits up to its 30 s for its first run, an HTTP check up to 10 s.
FIRST_RUN = 45


@dataclass(frozen=True)
class Local:
    """What a `local` stack is made of."""

    cluster: Cluster
    engine: Engine
    roster: Roster
    ui: str
    say: Callable[[str], object]

    def standin(self, name: str) -> Program:
        """Return the stand-in of one service.

        Raises:
            ClusterError: the roster has no such service.
        """
        for service in self.roster.services:
            if service.name == name:
                return self.cluster.standin(service)
        raise ClusterError(
            f"{name!r} is not in services/roster.py: it has names such as {self.roster.services[0].name}"
        )


def here(say: Callable[[str], object]) -> Local:
    """Return this clone's own, as Pulumi.local.yaml has it.

    Raises:
        settings.SettingsError: with a line for each key of it that is wrong.
    """
    engine = Engine(toolchain.pulumi, FOLDER / "pulumi", say=say)
    stack = settings.of_file(ROOT / f"Pulumi.{STACK}.yaml", engine.name)
    services = roster(stack.environment, stack.service_host)
    server, agent = (urlsplit(url).hostname or "" for url in (stack.server_address, stack.agent_address))
    cluster = Cluster(toolchain.consul, server, agent, services, FOLDER / "consul")
    return Local(cluster, engine, services, f"{stack.server_address}/ui", say)


def up(stack: Local) -> dict[str, str]:
    """Start what does not run, deploy, and wait for every check; returns the services' statuses.

    Raises:
        toolchain.ToolchainError: a program is missing and cannot be had.
        ClusterError: the local Consul cannot run.
        operations.engine.EngineError: the engine did not finish.
    """
    total = len(stack.cluster.programs)
    started = stack.cluster.start()
    stack.say(f"consul: {started} of {total} processes started, {total - started} ran already")
    if stack.engine.unlock():
        stack.say("pulumi: the last run was killed: this one completes it")
    # Refreshed first: what the agent lost while nobody looked is registered again.
    result = stack.engine.up(refresh=True, color="auto", suppress_outputs=True)
    changes = {what: count for what, count in (result.summary.resource_changes or {}).items() if what != "same"}
    if not changes:
        stack.say("pulumi: nothing to change")
    kept = {name for group in result.outputs["services"].value.values() for name in group}
    for service_id in sweep(stack.cluster.agent_api, f"pulumi/{stack.engine.name}/{STACK}/", kept):
        stack.say(f"consul: deregistered {service_id}, left behind by a killed run")
    return await_passing(stack.cluster.agent_api, stack.roster, stack.say, FIRST_RUN)


def down(stack: Local) -> None:
    """Destroy the stack, and stop what `up` started."""
    if stack.cluster.agent_program.process:
        stack.engine.unlock()
        stack.engine.destroy()
    else:
        stack.say("consul: the agent is not running: there is nothing to deregister")
        shutil.rmtree(stack.engine.folder, ignore_errors=True)
    stack.say(f"consul: {stack.cluster.stop()} processes stopped")


def sweep(consul: Consul, owner: str, kept: set[str]) -> list[str]:
    """Deregister what a killed run registered, and the roster has dropped since: no state knows it.

    Args:
        consul: the agent.
        owner: what the mark begins with: `pulumi/<project>/<stack>/`.
        kept: the ids that the stack holds.

    Returns:
        the ids that were removed.
    """
    ours = [key for key, service in consul.all_services().items() if service["Meta"].get(MARK, "").startswith(owner)]
    left = [service_id for service_id in ours if service_id not in kept]
    for service_id in left:
        consul.deregister(service_id)
    return left
