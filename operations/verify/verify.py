"""`verify`: whether the running cluster is what the roster says."""

import sys
from datetime import timedelta
from typing import Annotated

import typer
from rich.console import Console

from operations.command_line import DEFAULT_STACK, AsJson, StackName, duration_option
from operations.stack import Stack
from operations.verify.duplicates import Stray
from operations.verify.print_report import print_report, report_as_json
from operations.verify.prune import prune
from operations.verify.report import report_once

Fix = Annotated[
    bool,
    typer.Option("--fix", help="Then remove what this stack left behind and its state has not, and look again."),
]


Wait = Annotated[
    timedelta | None,
    typer.Option(
        parser=duration_option, metavar="DURATION", help="Look again until all is well, for 1m, say, at the most."
    ),
]


def verify(stack: StackName = DEFAULT_STACK, wait: Wait = None, fix: Fix = False, as_json: AsJson = False) -> None:
    """Compare the running cluster with the roster: members, registrations, checks, health, discovery, metrics.

    Ends with 0 if all is as stated, else with 1: each finding says what was expected, what is there, and what to do.
    A service that also registered itself with the server is listed, and is no finding. A check runs within its interval
    after it was deployed: until then it is a finding that --wait waits for.

    What a secured stack's Consul asks for is taken from the stack's outputs: a token that reads, and with --fix one
    that removes services. Of another Consul with ACLs, CONSUL_HTTP_TOKEN is the token, as of Consul's own commands.
    """
    loaded = Stack.load(stack).with_role("removal" if fix else "verify")
    console = Console(highlight=False, quiet=as_json)
    seconds = (wait or timedelta()).total_seconds()
    latest, pruned = report_once(loaded, lambda found: found.well, seconds, pause=1), list[Stray]()
    print_report(console, latest)
    if fix:
        pruned, latest = prune(loaded, latest, lambda line: console.print(line, markup=False, soft_wrap=True))
    if pruned:
        print_report(console, latest)
    if as_json:
        sys.stdout.write(report_as_json(latest, pruned) + "\n")
    raise typer.Exit(not latest.well)
