"""`verify`: whether the running cluster is what the roster says."""

import sys
import time
from datetime import timedelta
from typing import Annotated

import typer
from rich.console import Console

from operations import local
from operations.command_line import AsJson, StackName, period, say
from operations.engine import STACK
from operations.target import Target
from operations.verify import show
from operations.verify.duplicates import Stray
from operations.verify.prune import fix as remove
from operations.verify.report import Report, report

Fix = Annotated[
    bool,
    typer.Option("--fix", help="Then remove what this stack left behind, and nothing of others'; and look again."),
]


Wait = Annotated[
    timedelta | None,
    typer.Option(parser=period, metavar="DURATION", help="Look again until all is well, for 1m, say, at the most."),
]


def verify(stack: StackName = STACK, wait: Wait = None, fix: Fix = False, as_json: AsJson = False) -> None:
    """Compare the running cluster with the roster: members, registrations, checks, health, discovery, metrics.

    Ends with 0 if all is as stated, else with 1: each finding says what was expected, what is there, and what to do.
    A service that also registered itself with the server is listed, and is no finding. A check runs within its interval
    after it was deployed: until then it is a finding that --wait waits for.

    What a secured stack's Consul asks for is taken from the stack's outputs: a token that reads, and with --fix one
    that removes services. Of another Consul with ACLs, CONSUL_HTTP_TOKEN is the token, as of Consul's own commands.
    """
    aim = local.here(say, stack).target.let_in_as("removal" if fix else "verify")
    console = Console(highlight=False, quiet=as_json)
    found, removed = _settled(aim, wait or timedelta()), list[Stray]()
    show.text(console, found)
    if fix:
        removed, found = remove(aim, found, lambda line: console.print(line, markup=False, soft_wrap=True))
    if removed:
        show.text(console, found)
    if as_json:
        sys.stdout.write(show.as_json(found, removed) + "\n")
    raise typer.Exit(not found.well)


def _settled(aim: Target, wait: timedelta) -> Report:
    deadline = time.monotonic() + wait.total_seconds()
    while not (found := report(aim)).well and time.monotonic() < deadline:
        time.sleep(1)
    return found
