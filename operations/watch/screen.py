"""The screen: the board on a terminal."""

from collections import Counter
from collections.abc import Iterator

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.text import Text

from operations.output import STATUS_COLOURS
from operations.watch.service_board import Board
from services.model import Service
from services.roster import GROUPS

_MINUTE, _HOUR = 60, 3600


def screen(board: Board) -> RenderableType:
    """Return the board as it is now: what does not pass comes first, since a terminal may be too low for all."""
    return Group(*_parts(board))


def _parts(board: Board) -> Iterator[RenderableType]:
    yield _headline(board)
    if not board.statuses:
        return
    for service in board.roster.services:
        if board.statuses[service.id] != "passing":
            yield _cell(board, service)
    for group in GROUPS:
        yield Rule(group.title, align="left", style="dim")
        cells = [_cell(board, service) for service in board.roster.of_kind(group.kind)]
        yield Columns(cells, equal=True, column_first=True)


def _headline(board: Board) -> Text:
    counts = Counter(board.statuses.values())
    head = Text(", ".join(f"{counts[status]} {status}" for status in STATUS_COLOURS if counts[status]) or "no news yet")
    head.append(f" on {board.node}. Ctrl-C ends", "dim")
    if board.away:
        head.append(f"\nno news: {board.away}", "red")
    return head


def _cell(board: Board, service: Service) -> Text:
    status = board.statuses[service.id]
    return Text.assemble(
        (f"{status} ", STATUS_COLOURS[status]), service.id, (f" {_for(board.seconds(service.id))}", "dim")
    )


def _for(seconds: float | None) -> str:
    if seconds is None:
        return "since start"
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds // _MINUTE:.0f} min" if seconds < _HOUR else f"{seconds / _HOUR:.1f} h"
