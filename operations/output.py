"""What the commands print."""

import json
import re
from collections.abc import Mapping, Sequence

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

console = Console(highlight=False)

STATUS_COLOURS: Mapping[str, str] = {
    "passing": "green",
    "warning": "yellow",
    "unchecked": "yellow",
    "drained": "yellow",
    "maintenance": "yellow",
    "critical": "red",
    "missing": "red",
}
"""Colours by status, in the order in which counts are printed."""

# Such as "    consul:index:Node external", or " +  consul:index:Node external creating (0s)". What Docker begins is
# shown: it can take minutes.
_RESOURCE, _TIME = r"[^: ]+:[^: ]+:[^: ]+ \S+", r"\([0-9.]+s\)"
_OWN_BACKEND = ("The resources in the stack have been deleted, but", "If you want to remove the stack completely, run")
_NO_CHANGE = re.compile(
    rf" [ ~+-]+ (?:{_RESOURCE}(?: running| refresh(?:ing)? {_TIME})?|(?!docker:){_RESOURCE} [a-z]+ing {_TIME})$"
)

_COLOURS = {**STATUS_COLOURS, "kept": "green", "missed": "red", "wrong:": "red"}


def print_line(text: str) -> None:
    """Print a line as it is, without breaking it."""
    console.print(text, markup=False, soft_wrap=True)


def print_change(line: str) -> None:
    """Print a line of the engine's, unless it is of a resource that is being worked on, or that stays as it is.

    What it says after it destroyed a stack is left out: `pulumi` in a shell does not know the backend of this clone.
    """
    if not _NO_CHANGE.match(line) and not line.startswith(_OWN_BACKEND):
        print_line(line)


def print_json(document: object) -> None:
    """Print a JSON document for another program."""
    typer.echo(json.dumps(document, indent=2))


def print_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table in colour on a terminal; elsewhere, one line a row with tabs between the cells."""
    if not console.is_terminal:
        for row in (header, *rows):
            typer.echo("\t".join(row))
        return
    table = Table(*header)
    for row in rows:
        table.add_row(*(Text(cell, style=_COLOURS.get(cell.partition(" ")[0], "")) for cell in row))
    console.print(table)
