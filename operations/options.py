"""Options that commands share."""

from typing import Annotated

import typer

Stack = Annotated[str, typer.Option("--stack", metavar="NAME", help="The stack: NAME of a Pulumi.NAME.yaml.")]
