"""The options and arguments that several commands take."""

from datetime import timedelta
from typing import Annotated

import durationpy
import typer

COMMANDS = ".local/venv/bin/python -m operations"
"""How a person runs a command that has no target of `make`."""

DEFAULT_STACK = "local"

StackName = Annotated[str, typer.Option("--stack", metavar="NAME", help="The stack: that of Pulumi.NAME.yaml.")]
ServiceName = Annotated[str, typer.Argument(metavar="SERVICE", help="Its name, such as billing_service.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else.")]


def duration_option(text: str) -> timedelta:
    """Read a duration, as Consul and Go write it.

    Raises:
        typer.BadParameter: it is none, or shorter than a second.
    """
    try:
        duration = durationpy.from_str(text)
    except durationpy.DurationError:
        raise typer.BadParameter(f"{text!r} is no duration, such as 30s or 1m30s") from None
    if duration < timedelta(seconds=1):
        raise typer.BadParameter(f"{text!r} is shorter than 1s")
    return duration
