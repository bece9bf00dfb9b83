"""What several commands take, and how they print what they found."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any

import durationpy
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

out = Console(highlight=False)

StackName = Annotated[str, typer.Option("--stack", metavar="NAME", help="The stack: that of Pulumi.NAME.yaml.")]
ServiceName = Annotated[str, typer.Argument(metavar="SERVICE", help="Its name, such as billing_service.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else.")]


def period(text: str) -> timedelta:
    """Read a duration, as Consul and Go write it.

    Raises:
        typer.BadParameter: it is none, or shorter than a second.
    """
    try:
        found = durationpy.from_str(text)
    except durationpy.DurationError:
        raise typer.BadParameter(f"{text!r} is no duration, such as 30s or 1m30s") from None
    if found < timedelta(seconds=1):
        raise typer.BadParameter(f"{text!r} is shorter than 1s")
    return found


COLOURS = {
    "passing": "green",
    "kept": "green",
    "warning": "yellow",
    "critical": "red",
    "missed": "red",
    "missing": "red",
    "wrong:": "red",
}


def say(text: str) -> None:
    """Print a line as it is."""
    out.print(text, markup=False, soft_wrap=True)


def print_json(document: object) -> None:
    """Print what a program is to read."""
    typer.echo(json.dumps(document, indent=2))


def print_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: in colour on a terminal; a line a row, with tabs between, where another program reads it."""
    if not out.is_terminal:
        for row in (header, *rows):
            typer.echo("\t".join(row))
        return
    table = Table(*header)
    for row in rows:
        table.add_row(*(_cell(text) for text in row))
    out.print(table)


def _cell(text: str) -> Any:  # noqa: ANN401 - what rich takes
    return Text(text, style=COLOURS.get(text.partition(" ")[0], ""))
