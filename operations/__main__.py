"""What a person runs beside `pulumi`: `python -m operations --help`."""

import typer
from rich.console import Console

from cluster.client import ConsulError
from operations import local, render
from operations import migration as compare
from operations.command_line import ServiceName, StackName, out, say
from operations.drill import command as drill
from operations.drill.running_service import InstanceError
from operations.engine import STACK, EngineError
from operations.heal import command as heal
from operations.sandbox.sandbox import ClusterError
from operations.service_status import statuses, table
from operations.signals import TooLongError
from operations.target import TargetError
from operations.verify import command as verify
from operations.watch import command as watch
from services.roster import RosterError
from settings import SettingsError
from toolchain import ToolchainError

PEOPLES_MISTAKES = (
    ClusterError,
    ConsulError,
    EngineError,
    InstanceError,
    RosterError,
    SettingsError,
    TargetError,
    ToolchainError,
    drill.DrillError,
    heal.HealError,
    TooLongError,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help=__doc__,
)


@app.command()
def up(stack: StackName = STACK) -> None:
    """Start a Consul and stand-ins on this machine, deploy, and wait until every check passes."""
    here = local.here(say, stack)
    now = local.up(here)
    out.print(table(here.roster, now))
    if hidden := here.roster.not_in_dns:
        say(f"{len(hidden)} of {len(now)} have a _ in their names: HTTP finds them, Consul's DNS does not.")
    passing = sum(status == "passing" for status in now.values())
    say(f"{passing} of {len(now)} passing. UI: {here.ui}")
    raise typer.Exit(passing != len(now))


@app.command()
def down(stack: StackName = STACK) -> None:
    """Destroy the stack, and stop what `up` started, and only that."""
    local.down(local.here(say, stack))


@app.command()
def status(stack: StackName = STACK) -> None:
    """Show the 40 services as the catalog has them."""
    here = local.here(say, stack)
    out.print(table(here.roster, statuses(here.consul, here.roster, here.target.node)))


@app.command()
def stop(service: ServiceName) -> None:
    """Stop the stand-in of one service: its check turns critical."""
    here = local.here(say)
    stopped = here.standin(service).stop()
    say(f"{service}: {'stopped' if stopped else 'was not running'}")


@app.command()
def start(service: ServiceName) -> None:
    """Start the stand-in of one service again."""
    here = local.here(say)
    started = here.standin(service).start()
    say(f"{service}: {'started' if started else 'was running'}")


for command in (verify.verify, watch.watch, drill.drill, render.render, compare.compare, heal.heal):
    app.command()(command)


def main() -> None:
    """Run a command; a mistake of the person's is one message, not a stack trace."""
    try:
        app()
    except PEOPLES_MISTAKES as error:
        Console(stderr=True, highlight=False).print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        raise SystemExit(1) from None


main()
