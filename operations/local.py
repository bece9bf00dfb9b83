"""`make up` and `make down`: a whole stack on this machine, from nothing to 40 of 40 passing, and back."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import settings
import toolchain
from operations.cluster import Cluster, ClusterError
from operations.engine import ROOT, STACK, Engine
from operations.health import await_passing
from operations.processes import Program
from services.consul_api import Consul
from services.marks import owner
from services.model import MARK
from services.roster import roster
from services.rules import Roster

FOLDER = ROOT / ".local"

# A TCP check waits up to its 30 s for its first run, an HTTP check up to 10 s.
FIRST_RUN = 45


@dataclass(frozen=True)
class Local:
    """A stack on this machine.

    Attributes:
        engine: deploys it.
        consul: the agent's API, or the server's where the agent's is not published.
        roster: its services.
        node: which they are registered on.
        cluster: the processes of a stack without Docker.
        ui: the address of the server's UI.
        say: takes a line for the person.
    """

    engine: Engine
    consul: Consul
    roster: Roster
    node: str
    cluster: Cluster | None
    ui: str
    say: Callable[[str], object]

    def standin(self, name: str) -> Program:
        """Return the stand-in of one service.

        Raises:
            ClusterError: the roster has no such service, or it is a container.
        """
        for service in self.roster.services:
            if service.name == name and self.cluster:
                return self.cluster.standin(service)
            if service.name == name:
                raise ClusterError(f"{name} is a container: docker stop {service.container}, or docker start")
        raise ClusterError(
            f"{name!r} is not in services/roster.py: it has names such as {self.roster.services[0].name}"
        )


def here(say: Callable[[str], object], name: str = STACK, project: Path = ROOT) -> Local:
    """Return this clone's own, as its stack file has it.

    Args:
        say: takes a line for the person.
        name: the stack's.
        project: the folder with its file.

    Raises:
        settings.SettingsError: with a line for each key of it that is wrong.
        ClusterError: there is no such stack, or it is not one to try on one machine.
    """
    file = project / f"Pulumi.{name}.yaml"
    if not file.is_file():
        raise ClusterError(f"there is no {file.name}: the stacks to try on one machine are local and docker-local")
    engine = Engine(toolchain.pulumi, FOLDER / "pulumi", project, stack=name, say=say)
    stack = settings.of_file(file, engine.name)
    services = roster(stack.environment, stack.service_host)
    cluster = None
    if stack.docker:
        engine = replace(engine, checkpoints=True)  # a container that no state knows would be in the next run's way
    else:
        server, agent = (urlsplit(url).hostname or "" for url in (stack.server_address, stack.agent_address or ""))
        cluster = Cluster(toolchain.consul, server, agent, services, FOLDER / "consul")
    consul = Consul(stack.agent_address or stack.server_address)
    return Local(engine, consul, services, stack.node, cluster, f"{stack.server_address}/ui", say)


def up(stack: Local) -> dict[str, str]:
    """Start what does not run, deploy, and wait for every check; returns the services' statuses.

    Raises:
        toolchain.ToolchainError: a program is missing and cannot be had.
        ClusterError: the local Consul cannot run.
        operations.engine.EngineError: the engine did not finish.
    """
    if stack.cluster:
        total, started = len(stack.cluster.programs), stack.cluster.start()
        stack.say(f"consul: {started} of {total} processes started, {total - started} ran already")
    if stack.engine.unlock():
        stack.say("pulumi: the last run was killed: this one completes it")
    # Refreshed first: what the agent lost while nobody looked is registered again.
    result = stack.engine.up(refresh=True, color="auto", suppress_outputs=True)
    changes = {what: count for what, count in (result.summary.resource_changes or {}).items() if what != "same"}
    if not changes:
        stack.say("pulumi: nothing to change")
    kept = {name for group in result.outputs["services"].value.values() for name in group}
    for service_id in sweep(stack.consul, owner(stack.engine.name, stack.engine.stack), kept):
        stack.say(f"consul: deregistered {service_id}, left behind by a killed run")
    return await_passing(stack.consul, stack.roster, stack.say, FIRST_RUN, stack.node)


def down(stack: Local) -> None:
    """Destroy the stack, and stop what `up` started."""
    stack.engine.unlock()
    if stack.cluster and not stack.cluster.agent_program.process:
        stack.say("consul: the agent is not running: there is nothing to deregister")
        stack.engine.forget()
    else:
        stack.engine.destroy()
    if stack.cluster:
        stack.say(f"consul: {stack.cluster.stop()} processes stopped")


def sweep(consul: Consul, owned: str, kept: set[str]) -> list[str]:
    """Deregister what a killed run registered, and the roster has dropped since: no state knows it.

    Args:
        consul: the agent.
        owned: what the stack's marks begin with.
        kept: the ids that the stack holds.

    Returns:
        the ids that were removed.
    """
    ours = [key for key, service in consul.all_services().items() if service["Meta"].get(MARK, "").startswith(owned)]
    left = [service_id for service_id in ours if service_id not in kept]
    for service_id in left:
        consul.deregister(service_id)
    return left
