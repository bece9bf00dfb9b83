"""What a person runs beside `pulumi`: `.local/venv/bin/python -m operations --help`."""

import typer
from rich.console import Console

from consul_cluster.client import NoAnswerError
from errors import UserError
from operations.down import down
from operations.drill.drill import drill
from operations.heal.heal import heal
from operations.host_maintenance import drain_host, return_host
from operations.import_services.import_services import import_services
from operations.preview import preview
from operations.render_config import render_config
from operations.render_monitoring import render_monitoring
from operations.self_registrations import self_registrations
from operations.snapshot.snapshot import app as snapshot_app
from operations.start_service import start_service
from operations.status import status
from operations.stop_service import stop_service
from operations.up import up
from operations.verify.verify import verify
from operations.watch.watch import watch

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help=__doc__,
)
for command in (
    up,
    preview,
    down,
    status,
    stop_service,
    start_service,
    verify,
    watch,
    drill,
    render_config,
    render_monitoring,
    self_registrations,
    heal,
    drain_host,
    return_host,
):
    app.command()(command)
app.add_typer(snapshot_app, name="snapshot")
app.command("import")(import_services)  # a word that Python keeps for itself


def main() -> None:
    """Run a command; an error that the user can mend is one message without a stack trace, and exit code 2."""
    try:
        app()
    except UserError as error:
        hint = ". Is the stack deployed, and is Consul reached from here?" if isinstance(error, NoAnswerError) else ""
        Console(stderr=True, highlight=False).print(f"error: {error}{hint}", style="red", markup=False, soft_wrap=True)
        raise SystemExit(2) from None
