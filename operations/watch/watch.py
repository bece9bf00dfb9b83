"""`watch`: shows the health of the services as it changes."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from operations.command_line import DEFAULT_STACK, StackName
from operations.signals import until_interrupted
from operations.stack import Stack
from operations.watch.events import Event, fields, line
from operations.watch.screen import screen
from operations.watch.service_board import Board
from operations.watch.status_stream import stack_stream

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line: start, change, away, back.")]
ShowEvents = Callable[[Iterable[Event]], None]


def watch(stack: StackName = DEFAULT_STACK, as_json: Json = False) -> None:
    """Show the services' health live, by type, each with how long it has been so, until Ctrl-C.

    Piped, it prints a line for each change: time, service, old -> new. A change shows within a second of Consul's
    seeing it. While Consul does not answer, that is said, and it is asked again.
    """
    loaded = Stack.load(stack)
    board = Board(loaded.roster, loaded.node)
    try:
        with _display(board, as_json) as show_events:
            stream = stack_stream(loaded)
            for news in until_interrupted(stream):
                show_events(board.take(news))
    except KeyboardInterrupt:  # before the first look, or pressed twice
        raise typer.Exit from None


@contextmanager
def _display(board: Board, as_json: bool) -> Iterator[ShowEvents]:
    console = Console(highlight=False)
    if console.is_terminal and not as_json:
        with Live(get_renderable=lambda: screen(board), console=console, refresh_per_second=1) as live:
            yield lambda _: live.refresh()
    else:
        yield partial(_print, console, _as_json if as_json else line)


def _print(console: Console, spelling: Callable[[Event], str], events: Iterable[Event]) -> None:
    for event in events:
        console.out(spelling(event), highlight=False)


def _as_json(event: Event) -> str:
    return json.dumps(fields(event))
