"""`make up` and `make down`: a whole stack on this machine, from nothing to 40 of 40 passing, and back."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import toolchain
from cluster.client import Consul
from cluster.ownership import is_owned_by
from operations.engine import STACK, Engine
from operations.paths import FOLDER, ROOT
from operations.sandbox.processes import Program
from operations.sandbox.sandbox import Cluster, ClusterError
from operations.service_status import await_passing
from operations.state import State
from operations.target import Target, target
from services.roster import Roster

# A TCP check waits up to its 30 s for its first run, an HTTP check up to 10 s.
FIRST_RUN = 45


@dataclass(frozen=True)
class Local:
    """A stack on this machine.

    Attributes:
        target: its services and its Consul.
        engine: deploys it.
        cluster: the processes of a stack without Docker.
        say: takes a line for the person.
    """

    target: Target
    engine: Engine
    cluster: Cluster | None
    say: Callable[[str], object]

    @property
    def roster(self) -> Roster:
        """Its services."""
        return self.target.roster

    @property
    def consul(self) -> Consul:
        """Its Consul's API."""
        return self.target.consul

    def with_engine(self, engine: Engine) -> "Local":
        """Return it deployed by another engine."""
        return replace(self, engine=engine, target=replace(self.target, outputs=State(engine).outputs))

    @property
    def ui(self) -> str:
        """The address of the server's UI."""
        return f"{self.target.settings.server_address}/ui"

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
        TargetError: there is no such stack.
    """
    stack = target(name, project)
    # A container that no state knows would be in the next run's way.
    engine = Engine(
        toolchain.pulumi, FOLDER / "pulumi", project, stack=name, say=say, checkpoints=stack.settings.docker
    )
    cluster = None
    if not stack.settings.docker:
        addresses = (stack.settings.server_address, stack.settings.agent_address or "")
        server, agent = (urlsplit(url).hostname or "" for url in addresses)
        cluster = Cluster(toolchain.consul, server, agent, stack.roster, FOLDER / "consul")
    return Local(stack, engine, cluster, say).with_engine(engine)


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
    for service_id in sweep(stack.target.let_in_as("removal").consul, stack.target.owner_prefix, kept):
        stack.say(f"consul: deregistered {service_id}, left behind by a killed run")
    return await_passing(stack.consul, stack.roster, stack.say, FIRST_RUN, stack.target.node)


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
    ours = [key for key, service in consul.all_services().items() if is_owned_by(service["Meta"], owned)]
    left = [service_id for service_id in ours if service_id not in kept]
    for service_id in left:
        consul.deregister(service_id)
    return left
