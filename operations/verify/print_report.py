"""Prints a report, for people and for other programs."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from textwrap import fill

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from operations.verify.duplicates import Stray
from operations.verify.findings import Finding, Verdict
from operations.verify.report import Report

_WIDTH = 100  # of the names of a finding


def print_report(console: Console, report: Report) -> None:
    """Print a report: in colours and with a table on a terminal, in plain lines elsewhere."""
    console.print(_headline(report), style=None if report.well else "bold red", markup=False, soft_wrap=True)
    if console.is_terminal:
        console.print(_table(report.verdicts))
    else:
        _print(console, map(_line, report.verdicts))
    print_findings(console, report)
    _print(console, _coexisting(report.strays))


def print_findings(console: Console, report: Report) -> None:
    """Print what is wrong, and what to do. Not in a table: a command that is broken into lines cannot be copied."""
    _print(console, (line for verdict in report.verdicts for line in _blocks(verdict)))


def _print(console: Console, lines: Iterable[str | Text]) -> None:
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def report_as_json(report: Report, removed: Sequence[Stray]) -> str:
    """Return a report as one JSON object."""
    areas = {
        verdict.area: {
            "well": verdict.well,
            "seen": verdict.seen,
            "summary": verdict.summary,
            "findings": [asdict(finding) for finding in verdict.findings],
        }
        for verdict in report.verdicts
    }
    return json.dumps(
        {
            "stack": report.stack,
            "well": report.well,
            "seconds": round(report.seconds, 3),
            "areas": areas,
            "strays": [_stray(stray) for stray in report.strays],
            "removed": [_stray(stray) for stray in removed],
        },
        indent=2,
    )


def _stray(stray: Stray) -> dict[str, object]:
    return {
        "service": stray.name,
        "id": stray.place.id,
        "node": stray.place.node,
        "origin": stray.origin,
        "duplicate": stray.duplicate,
        "coexists": stray.coexists,
        "deployed": stray.deployed,
        "removable": stray.removable,
    }


def _headline(report: Report) -> str:
    count = sum(len(_alike(verdict)) for verdict in report.verdicts)
    result = "all is well" if report.well else f"{count} finding{'s' * (count != 1)}"
    return f"{report.stack}: {result} ({report.seconds:.2f} s)"


def _table(verdicts: Sequence[Verdict]) -> Table:
    table = Table("Area", "", "What is there")
    for verdict in verdicts:
        word, colour = _mark(verdict)
        table.add_row(verdict.area, Text(word, colour), escape(verdict.summary))
    return table


def _line(verdict: Verdict) -> str:
    return f"{_mark(verdict)[0]:5}  {verdict.area:13}  {verdict.summary}"


def _mark(verdict: Verdict) -> tuple[str, str]:
    if not verdict.seen:
        return "?", "yellow"
    return ("ok", "green") if verdict.well else ("WRONG", "red")


def _alike(verdict: Verdict) -> Mapping[tuple[str, str], Sequence[Finding]]:
    """Return the findings of an area; those of one cause, which is to be seen among others, together."""
    alike: dict[tuple[str, str], list[Finding]] = {}
    for finding in verdict.findings:
        alike.setdefault((finding.found, finding.advice), []).append(finding)
    return alike


def _blocks(verdict: Verdict) -> Iterator[Text]:
    for (found, advice), group in _alike(verdict).items():
        expected = group[0].expected + ", and so on" * (len(group) > 1)
        names = fill(", ".join(finding.subject for finding in group), _WIDTH, break_long_words=False)
        yield Text.assemble((names, "bold"), f" ({verdict.area})")
        for label, text in (("expected", expected), ("there is", found), ("do", advice)):
            yield Text.assemble((f"  {label:8}  ", "dim"), text)


def _coexisting(strays: Sequence[Stray]) -> Iterator[str]:
    coexisting = sorted((stray for stray in strays if stray.coexists), key=lambda stray: stray.place.node)
    for node, group in groupby(coexisting, key=lambda stray: stray.place.node):
        listed = ", ".join(f"{stray.name} (id {stray.place.id})" for stray in group)
        yield f"on {node} too, registered by the services themselves, over the API: {listed}"
