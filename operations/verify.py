"""`verify`: whether the running cluster is what the roster says."""

import sys
from typing import Annotated

import typer
from rich.console import Console

from operations.engine import STACK
from operations.options import AsJson, StackName
from operations.target import target
from operations.verification import show
from operations.verification.fix import fix as remove
from operations.verification.instances import Stray
from operations.verification.report import report

Fix = Annotated[
    bool,
    typer.Option("--fix", help="Then remove what this stack left behind, and nothing of others'; and look again."),
]


def verify(stack: StackName = STACK, fix: Fix = False, as_json: AsJson = False) -> None:
    """Compare the running cluster with the roster: members, registrations, checks, health, discovery, metrics.

    Ends with 0 if all is as stated, else with 1: each finding says what was expected, what is there, and what to do.
    A service that also registered itself with the server is listed, and is no finding.

    Of a Consul with ACLs, CONSUL_HTTP_TOKEN is the token, as of Consul's own commands.
    """
    aim, console = target(stack), Console(highlight=False, quiet=as_json)
    found, removed = report(aim), list[Stray]()
    show.text(console, found)
    if fix:
        removed, found = remove(aim, found, lambda line: console.print(line, markup=False, soft_wrap=True))
    if removed:
        show.text(console, found)
    if as_json:
        sys.stdout.write(show.as_json(found, removed) + "\n")
    raise typer.Exit(not found.well)
