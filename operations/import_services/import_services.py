"""`import`: prints what a running Consul has, or definition files state, as lines of the roster."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from consul_cluster.client import Consul
from errors import UserError
from operations.import_services.catalog_reader import read_catalog
from operations.import_services.definition_file_reader import read_files
from operations.import_services.found_service import FoundService
from operations.import_services.roster_line import IMPORTED, RosterLine, roster_line

_OF_ITS_OWN = (
    ", a group of your own (docs/services.md): "
    f'Group(kind="{IMPORTED.kind}", title="{IMPORTED.title}", suffix="", tags=(), meta={{}}, check=HttpCheck())'
)
_NO_CATALOG = "name definition files, or give --consul http://HOST:PORT"

Files = Annotated[
    list[Path] | None, typer.Argument(metavar="[FILE]...", help="Definition files in JSON, or folders of such files.")
]


def _url(text: str) -> str:
    if not urlsplit(text).netloc:
        raise typer.BadParameter(f"{text!r} is no URL, such as http://127.0.0.1:8500")
    return text.rstrip("/")


Address = Annotated[
    str | None, typer.Option("--consul", parser=_url, metavar="URL", help="A running Consul: read its catalog.")
]
CaFile = Annotated[
    Path | None,
    typer.Option("--ca-file", metavar="PEM", exists=True, dir_okay=False, help="The authority of an https URL."),
]


class NothingToImportError(UserError):
    """There is nothing to import from."""


def import_services(files: Files = None, consul: Address = None, ca_file: CaFile = None) -> None:
    """Print the lines of services/ that state what a running Consul has, or what definition files state.

    What the roster cannot state stands above the line, as a comment that says why. The line itself is a comment where
    the service cannot be stated as it is. Nothing is changed, in files or in Consul. A token is taken from
    CONSUL_HTTP_TOKEN.

    Example: .local/venv/bin/python -m operations import --consul http://127.0.0.1:8500
    """
    print_lines(map(roster_line, _found(files or [], consul, ca_file)))


def _found(files: Iterable[Path], consul: str | None, ca_file: Path | None) -> Iterable[FoundService]:
    if consul:
        ca = ca_file.read_text() if ca_file else None
        return read_catalog(Consul(consul, os.environ.get("CONSUL_HTTP_TOKEN"), ca))
    if not files:
        raise NothingToImportError(_NO_CATALOG)
    return read_files(files)


def print_lines(lines: Iterable[RosterLine]) -> None:
    """Print the lines by the file that they belong in."""
    by_kind: dict[str, list[RosterLine]] = {}
    for line in lines:
        by_kind.setdefault(line.kind, []).append(line)
    if not by_kind:
        typer.echo("# there is no service to import, but for Consul's own")
    for kind, group in by_kind.items():
        typer.echo(f"# services/{kind}_services.py{_OF_ITS_OWN if kind == IMPORTED.kind else ''}")
        for line in group:
            for what in line.unexpressed:
                typer.echo(f"# {what}")
            typer.echo(line.text)
