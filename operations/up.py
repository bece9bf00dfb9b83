"""`up`: deploys a whole stack, from nothing to every check passing."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import typer

from consul_cluster.client import Consul
from consul_cluster.health_status import MAINTENANCE, UNCHECKED, service_statuses
from consul_cluster.ownership import is_owned_by
from errors import UserError
from operations.command_line import DEFAULT_STACK, StackName
from operations.lost_server import has_lost_its_server
from operations.output import console, print_change, print_line
from operations.stack import Stack, StackError
from operations.status import checks_of, status_table
from operations.verify.print_report import print_findings
from operations.verify.report import report
from services.consul_definition import UNSHOWN, from_notes, output_of_pass
from waiting import wait_until

_PULUMI = {"preview": "preview", "up": "up", "down": "destroy"}
_MARGIN = 5  # seconds beyond those in which every check has reported


def up(stack: StackName = DEFAULT_STACK) -> None:
    """Start a Consul and stand-ins on this machine, deploy, and wait until every check passes."""
    loaded = Stack.load(stack, output=print_change)
    refuse_unless_trial(loaded, "up")
    before = further_fields(replace(loaded))  # a copy: what it keeps, such as tokens, the deployment may change
    deploy(loaded)
    await_next_run(loaded, before)
    statuses = wait_for_passing(loaded)
    console.print(status_table(loaded.roster, statuses))
    passing = _passing(statuses)
    if passing != len(statuses):
        print_findings(console, report(loaded))
    print_line(f"{passing} of {len(statuses)} passing. UI: {loaded.ui}")
    raise typer.Exit(passing != len(statuses))


def refuse_unless_trial(stack: Stack, command: str) -> None:
    """Refuse a stack whose state is not this clone's: it would be deployed a second time, or not be found.

    Raises:
        StackError: the stack is not there to be tried.
    """
    if not stack.settings.trial:
        raise StackError(
            f"make {command} is for stacks that bring stand-ins of their services, and keeps their state in this "
            f"clone: use pulumi {_PULUMI[command]} --stack {stack.name}, with the backend of that stack"
        )


def deploy(stack: Stack) -> None:
    """Start the processes of the sandbox, run the engine, and remove what a killed run left behind.

    Raises:
        toolchain.ToolchainError: a program is missing, and there is no way to get it.
        operations.sandbox.sandbox.SandboxError: the sandbox cannot run.
        operations.pulumi_engine.EngineError: the engine did not finish.
    """
    output, engine = stack.engine.print_line, stack.engine
    engine.pulumi()  # before anything is started
    if stack.sandbox:
        total, started = len(stack.sandbox.processes), stack.sandbox.start()
        output(f"consul: {started} of {total} processes started, {total - started} ran already")
    if engine.unlock():
        output("pulumi: the last run was killed: this one completes it")
    if lost := has_lost_its_server(stack):
        output("consul: the server of the last run is gone: each resource is refreshed after what it depends on")
    # The refresh sees what the agent has lost: it is registered again.
    result = engine.up(refresh=True, run_program=lost, color="auto", suppress_outputs=True)
    if not any(count for what, count in (result.summary.resource_changes or {}).items() if what != "same"):
        output("pulumi: nothing to change")
    deployed = {service.id for service in stack.roster.services}
    for agent in stack.with_role("removal").agents.values():
        for service_id in prune(agent, stack.owner_prefix, deployed):
            output(f"consul: deregistered {service_id}, left behind by a killed run")


def further_fields(stack: Stack) -> dict[str, str | None]:
    """Return the fingerprint of the fields that no output shows, such as headers, of each check, by its id.

    A stack that is not deployed has none.
    """
    with suppress(UserError):
        if stack.consul.answers():
            return {check["CheckID"]: from_notes(check["Notes"]).get(UNSHOWN) for check in checks_of(stack)}
    return {}


def await_next_run(stack: Stack, before: Mapping[str, str | None]) -> None:
    """Wait until each check whose further fields were changed has run: until then it keeps the output of before.

    Args:
        stack: a deployed stack.
        before: its further fields before it was deployed.
    """
    after = further_fields(stack)
    changed = {key for key in before.keys() & after.keys() if before[key] != after[key]}
    reports = [check.reports_within for each in stack.roster.services for check in each.checks if check.id in changed]
    if longest := max(reports, default=timedelta()).total_seconds():
        stack.engine.print_line(f"waiting {longest:g} s, for a run of each changed check: {', '.join(sorted(changed))}")
        time.sleep(longest)


def prune(consul: Consul, owner_prefix: str, deployed: set[str]) -> list[str]:
    """Deregister services of the stack that no state knows: a killed run registered them, and the roster lost them.

    Args:
        consul: the agent.
        owner_prefix: what the stack's owners begin with.
        deployed: the ids that the stack has.

    Returns:
        the ids that were deregistered.
    """
    owned = [key for key, service in consul.all_services().items() if is_owned_by(service["Meta"], owner_prefix)]
    left_behind = [service_id for service_id in owned if service_id not in deployed]
    for service_id in left_behind:
        consul.deregister(service_id)
    return left_behind


def wait_for_passing(stack: Stack, seconds: float | None = None) -> dict[str, str]:
    """Wait until every service passes that no operator has taken out, and print how many do.

    The statuses at the end are returned, by service id.

    Args:
        stack: a deployed stack.
        seconds: how long to wait at most. None: as long as every check takes to report.
    """
    reports = [check.reports_within for service in stack.roster.services for check in service.checks]
    longest = max(reports, default=timedelta()).total_seconds() + _MARGIN
    statuses: dict[str, str] = {}
    most = -1

    def all_pass() -> bool:
        nonlocal most
        statuses.update(_statuses(stack))
        if (passing := _passing(statuses)) > most:
            stack.engine.print_line(f"{passing} of {len(statuses)} passing")
            most = passing
        return all(status in ("passing", MAINTENANCE) for status in statuses.values())

    wait_until(all_pass, longest if seconds is None else seconds, pause=0.5)
    return statuses


def _statuses(stack: Stack) -> dict[str, str]:
    """Return the status of each service. One that passes by a run from before its check was changed is unchecked."""
    checks = checks_of(stack)
    statuses = service_statuses(checks, stack.roster)
    # Of a check that an agent runs, the servers get a new output only after minutes.
    by_agents = [check for agent in stack.agents.values() for check in agent.all_checks().values()]
    outputs = {check["CheckID"]: check["Output"] for check in (*checks, *by_agents)}
    is_current = stack.agents and stack.settings.registration != "catalog"  # consul-esm writes an output as late
    unchecked = {
        service.id
        for service in stack.roster.services
        for check in service.checks
        if not output_of_pass(service, check, of_any_target=not is_current).match(outputs.get(check.id, ""))
    }
    return {key: UNCHECKED if key in unchecked and status == "passing" else status for key, status in statuses.items()}


def _passing(statuses: dict[str, str]) -> int:
    return sum(status == "passing" for status in statuses.values())
