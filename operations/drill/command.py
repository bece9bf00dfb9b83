"""`drill`: the guide's "Test Failure Scenarios" on one service: stop it, see it detected, start it, see it return."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import typer

from operations import local, signals
from operations.command_line import AsJson, ServiceName, StackName, print_json, print_rows, say
from operations.drill.running_service import Container, Instance, InstanceError, StandIn, engine_of
from operations.engine import STACK
from operations.paths import ROOT
from operations.target import Target
from services.model import Service

_LOOK = 0.1  # seconds between two looks at the catalog
_PATIENCE = 2  # times the promise: a missed one is measured too, and the service is not reaped meanwhile


class DrillError(Exception):
    """The drill cannot begin: says why. Nothing was stopped."""


@dataclass(frozen=True)
class Step:
    """One promise, and what came of it.

    Attributes:
        what: is to happen.
        promised: seconds within which it is to.
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
        target: the stack.
        service: which is stopped.
        instance: what it runs as.
        tell: takes a line for the person.
    """

    target: Target
    service: Service
    instance: Instance
    tell: Callable[[str], object]

    def run(self) -> list[Step]:
        """Stop the service, start it again, and return what was seen. It runs again, whatever happens.

        Raises:
            DrillError: it is not passing, so that a drill would show nothing.
            InstanceError: it cannot be stopped, or started again.
            cluster.client.ConsulError: Consul does not answer.
        """
        self._refuse_unless_passing()
        self.instance.refuse_unless_running()
        with signals.interrupting():
            steps = self._stopped()
            started = time.monotonic()
            back = self._within(
                "passing, and found again", started, lambda: self._status == "passing" and self._offered
            )
        return [*steps, back]

    def _stopped(self) -> list[Step]:
        try:
            self.instance.stop()
            self.tell(f"{self.service.name}: stopped")
            since = time.monotonic()
            return [
                self._within("critical in the catalog", since, lambda: self._status == "critical"),
                self._within("left out by ?passing", since, lambda: not self._offered),
            ]
        finally:
            self._start_again()

    @property
    def promise(self) -> float:
        """Seconds within which a change is seen: a check's next run begins in its interval, and ends in its timeout."""
        return max((check.interval + check.timeout).total_seconds() for check in self.service.checks)

    @property
    def _status(self) -> str:
        """The worst status of the service's checks in the catalog, or `missing`."""
        found = self.target.consul.in_catalog(self.target.node, self.service.name, self.service.id)
        statuses = {check["Status"] for check in found["Checks"] if check["ServiceID"]} if found else set()
        return next((status for status in ("critical", "warning", "passing") if status in statuses), "missing")

    @property
    def _offered(self) -> bool:
        """Whether clients that ask for healthy instances get this one."""
        ours = (self.target.node, self.service.id)
        offered = self.target.consul.discover(self.service.name)
        return ours in [(entry["Node"]["Node"], entry["Service"]["ID"]) for entry in offered]

    def _within(self, what: str, since: float, happened: Callable[[], bool]) -> Step:
        while not (now := happened()) and time.monotonic() - since < _PATIENCE * self.promise:
            time.sleep(_LOOK)
        step = Step(what, self.promise, time.monotonic() - since if now else None)
        self.tell(f"{self.service.name}: {what} {_after(step)}")
        return step

    def _refuse_unless_passing(self) -> None:
        if (status := self._status) != "passing":
            raise DrillError(
                f"{self.service.name} is {status}, not passing: a drill would show nothing, so nothing was stopped"
            )

    def _start_again(self) -> None:
        with signals.ignored():
            try:
                self.instance.start()
            except InstanceError as error:
                raise InstanceError(f"{self.service.name} does NOT run again: start it by hand. {error}") from None
            self.tell(f"{self.service.name}: started again")


def of_stack(stack: str, name: str, tell: Callable[[str], object]) -> Drill:
    """Return the drill on a service of one of this clone's stacks.

    Args:
        stack: its name.
        name: the service's.
        tell: takes a line for the person.

    Raises:
        DrillError: the roster has no such service.
        settings.SettingsError: the stack's file is wrong.
        operations.target.TargetError: there is no such stack.
    """
    here = local.here(tell, stack)
    for service in here.roster.services:
        if service.name == name:
            return Drill(here.target, service, _instance(here, service), tell)
    names = ", ".join(service.name for service in here.roster.services)
    raise DrillError(f"{name!r} is not in services/roster.py: it has {names}")


def _instance(here: local.Local, service: Service) -> Instance:
    if here.cluster:
        return StandIn(here.cluster.standin(service))
    return Container(service.container, engine_of(ROOT / f"Pulumi.{here.target.stack}.yaml"))


def drill(service: ServiceName, stack: StackName = STACK, as_json: AsJson = False) -> None:
    """Stop one service, and see that Consul notices, and notices its return.

    It stops the service's container, as `docker stop` does, or its stand-in on `local`; waits until the catalog shows
    it critical and ?passing leaves it out; starts it again; and waits until it is found again. Each must happen within
    one interval and timeout of its check: 15 s over HTTP, 33 s over TCP. A missed promise makes the exit code 1.

    The service runs again afterwards, also after Ctrl-C, `kill`, or a Consul that does not answer. Clients of the
    service do feel it: on staging, choose one that may be away for half a minute.

    Example: python -m operations drill billing_service --stack docker-local
    """
    one = of_stack(stack, service, (lambda _: None) if as_json else say)
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
    return {"service": one.service.name, "stack": one.target.stack, "steps": listed}
