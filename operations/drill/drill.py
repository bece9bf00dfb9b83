"""`drill`: stops a service, sees Consul detect it, starts it again, and sees Consul detect that."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import typer

from consul_cluster.health_status import check_status, worst_status
from errors import UserError
from operations import signals
from operations.command_line import DEFAULT_STACK, AsJson, ServiceName, StackName
from operations.drill.running_service import (
    RunningService,
    RunningServiceError,
    ServiceContainer,
    StandInProcess,
    engine_of,
)
from operations.output import print_json, print_line, print_rows
from operations.stack import Stack
from operations.undeployed import refuse_undeployed_address
from services.model import Service
from waiting import wait_until

_PATIENCE = 2  # Times the promise: a missed promise is measured too, and the service is not reaped meanwhile.


class DrillError(UserError):
    """The drill cannot begin. Nothing was stopped."""


@dataclass(frozen=True)
class Step:
    """One promise and its measurement.

    Attributes:
        what: what is to happen.
        promised: seconds within which it is to happen.
        measured: seconds that it took; None: it did not happen within twice the promise.
    """

    what: str
    promised: float
    measured: float | None

    @property
    def kept(self) -> bool:
        """Whether it happened in time."""
        return self.measured is not None and self.measured <= self.promised


@dataclass(frozen=True)
class Drill:
    """A drill on one service.

    Attributes:
        stack: the stack.
        service: the service that is stopped.
        running_service: what it runs as.
        output: takes a line of progress.
    """

    stack: Stack
    service: Service
    running_service: RunningService
    output: Callable[[str], object]

    def run(self) -> list[Step]:
        """Stop the service, start it again, and return what was measured. It runs again, whatever happens.

        Raises:
            DrillError: clients do not find it, so that a drill would show nothing.
            operations.stack.StackError: it was edited, and not deployed since.
            RunningServiceError: it cannot be stopped, or started again.
            consul_cluster.client.ConsulError: Consul does not answer.
        """
        self._refuse_unless_found()
        self.running_service.refuse_unless_running()
        with signals.interrupting() as sleep:
            steps = self._stop_and_measure(sleep)
            started = time.monotonic()
            back = self._measure(
                "passing, and found again", started, lambda: self._status == "passing" and self._discovered, sleep
            )
        return [*steps, back]

    def _stop_and_measure(self, sleep: signals.Sleep) -> list[Step]:
        try:
            self.running_service.stop()
            self.output(f"{self.service.id}: stopped")
            since = time.monotonic()
            return [
                self._measure("critical in the catalog", since, lambda: self._status == "critical", sleep),
                self._measure("left out by ?passing", since, lambda: not self._discovered, sleep),
            ]
        finally:
            self._start_again()

    @property
    def promise(self) -> float:
        """Seconds within which Consul detects a change: a check runs in each interval, and ends in its timeout."""
        return max(check.reports_within.total_seconds() for check in self.service.checks)

    @property
    def _status(self) -> str:
        """The worst status of the service's checks in the catalog, or `missing`."""
        entry = self.stack.consul.in_catalog(self.stack.node_of(self.service), self.service.name, self.service.id)
        checks = entry["Checks"] if entry else []
        return worst_status(check_status(check) for check in checks if check["ServiceID"])

    @property
    def _discovered(self) -> bool:
        """Whether clients that ask for passing instances get this one."""
        entries = self.stack.consul.discover(self.service.name)
        instances = [(entry["Node"]["Node"], entry["Service"]["ID"]) for entry in entries]
        return (self.stack.node_of(self.service), self.service.id) in instances

    def _measure(self, what: str, since: float, condition: Callable[[], bool], sleep: signals.Sleep) -> Step:
        happened = wait_until(condition, since + _PATIENCE * self.promise - time.monotonic(), sleep=sleep)
        step = Step(what, self.promise, time.monotonic() - since if happened else None)
        self.output(f"{self.service.id}: {what} {_after(step)}")
        return step

    def _refuse_unless_found(self) -> None:
        refuse_undeployed_address(self.stack, self.service)
        if (status := self._status) != "passing":
            raise DrillError(
                f"{self.service.id} is {status}, not passing: a drill would show nothing, so nothing was stopped"
            )
        if not self._discovered:
            node = self.stack.node_of(self.service)
            raise DrillError(
                f"{self.service.id} passes, and clients do not find it, as in a maintenance of {node}: a drill would "
                "show nothing, so nothing was stopped"
            )

    def _start_again(self) -> None:
        with signals.ignored():
            try:
                self.running_service.start()
            except RunningServiceError as error:
                message = f"{self.service.id} does NOT run again: start it by hand. {error}"
                raise RunningServiceError(message) from None
            self.output(f"{self.service.id}: started again")


def drill_of(stack: Stack, name: str, output: Callable[[str], object]) -> Drill:
    """Return the drill on a service of a stack.

    Args:
        stack: the stack.
        name: the name of the service.
        output: takes a line of progress.

    Raises:
        operations.stack.StackError: the stack has no such service.
    """
    service = stack.service(name)
    return Drill(stack, service, _running_service(stack, service), output)


def _running_service(stack: Stack, service: Service) -> RunningService:
    if stack.sandbox:
        return StandInProcess(stack.sandbox.stand_in(service))
    host = stack.host_of(service).docker
    engine = host.engine if host.name else engine_of(stack.engine.project / f"Pulumi.{stack.name}.yaml")
    return ServiceContainer(service.container, engine)


def drill(service: ServiceName, stack: StackName = DEFAULT_STACK, as_json: AsJson = False) -> None:
    """Stop one service, and see that Consul notices, and notices its return.

    It stops the service's container, as `docker stop` does, or its stand-in on `local`; waits until the catalog shows
    it critical and ?passing leaves it out; starts it again; and waits until it is found again. Each must happen within
    one interval and timeout of its check: 15 s over HTTP, 33 s over TCP. A missed promise makes the exit code 1.

    The service runs again afterwards, also after Ctrl-C, `kill`, or a Consul that does not answer. Clients of the
    service do feel it: on staging, choose one that may be away for half a minute over HTTP, and over a
    minute over TCP.

    Example: .local/venv/bin/python -m operations drill billing_service --stack docker-local
    """
    one = drill_of(Stack.load(stack), service, (lambda _: None) if as_json else print_line)
    steps = one.run()
    if as_json:
        print_json(_document(one, steps))
    else:
        print_rows(("Step", "Promised", "Measured", "Result"), [_row(step) for step in steps])
    raise typer.Exit(not all(step.kept for step in steps))


def _after(step: Step) -> str:
    return f"not within {_PATIENCE * step.promised:g} s" if step.measured is None else f"after {step.measured:.1f} s"


def _row(step: Step) -> tuple[str, ...]:
    measured = "never" if step.measured is None else f"{step.measured:.1f} s"
    return step.what, f"{step.promised:g} s", measured, "kept" if step.kept else "missed"


def _document(one: Drill, steps: list[Step]) -> dict[str, Any]:
    listed = [
        {
            "what": step.what,
            "promised_seconds": step.promised,
            "measured_seconds": None if step.measured is None else round(step.measured, 1),
            "kept": step.kept,
        }
        for step in steps
    ]
    return {"service": one.service.id, "stack": one.stack.name, "steps": listed}
