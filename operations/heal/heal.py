"""`heal`: registers again what Consul removed, as it was last deployed."""

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

import typer

from consul_cluster.client import ConsulError
from errors import UserError
from operations import signals
from operations.command_line import DEFAULT_STACK, StackName, duration_option
from operations.heal.reconcile import Reconciler, Round, log
from operations.pulumi_engine import EngineError
from operations.stack import Stack
from operations.verify import advice
from services.consul_definition import duration

_LIMIT = 60  # seconds for one round
_LOOKS_AT_A_RUN = 120  # a second apart: a deployment that is at work has mostly ended by then
_BACKOFF = (1, 2, 4, 8, 16, 30)  # seconds between tries while something does not answer


_FAILURES = (ConsulError, EngineError, signals.TooLongError)


class HealError(UserError):
    """The services are registered in a way that this command cannot heal, or an agent or the state is away."""


# What registers a service again with another registration.
_OTHER_WAYS = {
    "catalog": "{deploy} registers again what is missing from the catalog",
    "files": "docker exec {agent} consul reload registers again what its definition files state",
}


def reconcilers_of(stack: Stack) -> list[Reconciler]:
    """Return what heals a stack: one an agent.

    Raises:
        HealError: its services are not registered over the agent's API.
    """
    kind, agents = stack.settings.registration, stack.with_role("registration").agents
    if kind != "agent":
        other_way = _OTHER_WAYS[kind].format(agent=stack.names.agent_container, deploy=advice.deploy(stack))
        raise HealError(f"heal is for registration agent, and stack {stack.name} has {kind}: {other_way}")
    addresses = frozenset(agent.address for agent in agents.values())
    return [
        Reconciler(
            host.roster,
            agents[host.node],
            host.node,
            stack.engine,
            host.docker.names.server_node,
            addresses - {agents[host.node].address},
            advice.deploy(stack),
        )
        for host in stack.hosts
    ]


def _nothing_is_deployed(stack: Stack) -> bool:
    """Whether the stack was destroyed: its agent and its tokens are gone then."""
    return stack.settings.registration == "agent" and not stack.engine.deployed_state().services


def once(reconciler: Reconciler, sleep: signals.Sleep) -> bool:
    """Run a round, and more while a difference has to stand, or a run is at work; returns whether all is as deployed.

    Args:
        reconciler: whose rounds.
        sleep: takes the seconds to wait.

    Raises:
        ConsulError: the agent does not answer.
        EngineError: the state cannot be read.
        signals.TooLongError: a round took longer than it may.
    """
    looks, written = 0, 0  # looks: at a run that is at work
    while (result := _round(reconciler)).waiting or (result.busy and looks < _LOOKS_AT_A_RUN):
        looks += result.busy
        written += len(result.written)
        sleep(1)
    if not (result.troubles or written or result.written):
        log.info(f"nothing to heal: {reconciler.node} has all as deployed")
    return not result.troubles


def _all_once(reconcilers: Sequence[Reconciler], sleep: signals.Sleep) -> bool:
    """Run `once` for each agent, for those of other hosts also where one fails; returns whether all is as deployed.

    Raises:
        HealError: one failed; the message has a line for each.
    """
    well, failures = True, list[str]()
    for each in reconcilers:
        try:
            well &= once(each, sleep)
        except _FAILURES as error:
            failures.append(f"{each.node}: {error}" if len(reconcilers) > 1 else str(error))
    if failures:
        raise HealError("\n".join(failures))
    return well


def keep(reconcilers: Sequence[Reconciler], every: timedelta, sleep: signals.Sleep) -> None:
    """Run a round of each again and again, until a signal ends it; sooner after one that failed.

    Args:
        reconcilers: whose rounds.
        every: between the end of a round and the next.
        sleep: takes the seconds to wait.
    """
    failures, last, pause = 0, "", every.total_seconds()
    while True:
        errors = [error for each in reconcilers if (error := _failure(each))]
        if errors:
            pause = _BACKOFF[min(failures, len(_BACKOFF) - 1)]
            failures += 1
            if (message := "; ".join(errors)) != last:
                log.error(f"{message}; trying again, every {_BACKOFF[-1]} s at the latest")
                last = message
        else:
            if failures:
                log.info("all answer again")
            failures, last, pause = 0, "", every.total_seconds()
        sleep(pause)


def _failure(reconciler: Reconciler) -> str | None:
    """Run a round, and return why it failed, if it did: the agents of other hosts have theirs all the same."""
    try:
        _round(reconciler)
    except _FAILURES as error:
        return str(error)
    return None


def _round(reconciler: Reconciler) -> Round:
    with signals.limited(_LIMIT):
        return reconciler.round()


Every = Annotated[
    timedelta | None,
    typer.Option(
        parser=duration_option, metavar="DURATION", help="Go on, with a round every 30s, say, until Ctrl-C or kill."
    ),
]


def heal(stack: StackName = DEFAULT_STACK, every: Every = None) -> None:
    """Register again what Consul has removed since it was deployed, such as after 90 s in critical.

    Each round compares what the agent holds with the roster, field by field, in two requests. Only where they differ
    does it look at the stack's state. What is gone is registered as that says: never an edit that was not deployed,
    never an id that another party holds. What was changed by hand is reported when it has stood for one run of its
    check, and stays. Nothing is written while a run of pulumi holds the stack's lock, or has left operations
    unfinished: it is waited for, up to two minutes.

    With --every 30s, a service whose container was away is found again within 30 s and one interval of its check.
    A token is taken from CONSUL_HTTP_TOKEN. The state is this clone's own where it has the stack, else that of
    PULUMI_BACKEND_URL, else that of `pulumi login`; the first line says which. The exit code is 0 if the
    agent has all as deployed, or --every was ended by a signal.

    Example: .local/venv/bin/python -m operations heal --stack local --every 30s
    """
    _log_to_stderr()
    try:
        with signals.interrupting() as sleep:
            loaded = Stack.load(stack)
            if every is None and _nothing_is_deployed(loaded):
                log.info(f"stack {stack}: nothing is deployed, so there is nothing to heal")
                raise typer.Exit
            reconcilers = reconcilers_of(loaded)
            pace = f"every {duration(every)}" if every else "once"
            addresses = ", ".join(each.agent.address for each in reconcilers)
            log.info(f"stack {stack} on {addresses}, {pace}; the state is in {loaded.engine.backend}")
            if every is None:
                raise typer.Exit(not _all_once(reconcilers, sleep))
            keep(reconcilers, every, sleep)
    except KeyboardInterrupt:
        log.info("ended by a signal")
        raise typer.Exit(0 if every else 130) from None


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return " ".join(super().format(record).split())


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
