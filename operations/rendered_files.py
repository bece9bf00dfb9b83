"""How a command writes the files that it renders."""

from collections.abc import Mapping
from pathlib import Path

import typer

OUT = typer.Option("--out", metavar="DIR", file_okay=False, help="Write the files there; DIR is created if need be.")
"""The option with the folder."""


def write_files(folder: Path, texts: Mapping[str, str]) -> None:
    """Write each file into a folder, and print its path.

    Args:
        folder: the value of the option.
        texts: of the files, by their path in the folder.

    Raises:
        typer.BadParameter: one of them cannot be written.
    """
    try:
        for name, text in texts.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            typer.echo(path)
    except OSError as error:
        raise typer.BadParameter(f"{error.filename}: {error.strerror}", param_hint="--out") from None
