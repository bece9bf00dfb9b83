"""`preview`: what a deployment of a stack on this machine would change."""

import re

from operations.command_line import DEFAULT_STACK, StackName
from operations.output import print_line
from operations.stack import Stack
from operations.up import refuse_unless_trial

_RESOURCE = re.compile(r" *\S* ?\S+:\S+:\S+: \(([a-z-]+)\)$")
_FIELD = re.compile(r"( *)([-+~] )?(\[\d+\]|[^\s\[]\S*) *: ")
_END = re.compile(r"( *)[]}]$")


def preview(stack: StackName = DEFAULT_STACK) -> None:
    """Show what up would change, field by field. Nothing is changed."""
    loaded = Stack.load(stack, output=Differences())
    refuse_unless_trial(loaded, "preview")
    loaded.engine.preview(diff=True)


class Differences:
    """Prints the lines of a preview, but of a resource that is updated only the fields that change."""

    def __init__(self) -> None:
        """Begin with the first line of a preview."""
        self._whole = False  # nothing is deployed: outputs have no signs then
        self._updated = False
        self._shown: set[int] = set()  # columns of the fields whose values are being shown, and end there

    def __call__(self, line: str) -> None:
        """Take the next line."""
        if resource := _RESOURCE.match(line):
            self._whole = self._whole or (resource[1] == "create" and "pulumi:pulumi:Stack" in line)
            self._updated = resource[1] == "update"
        elif not line.startswith(" ") or line.startswith("    --outputs"):
            self._updated = line.startswith("    --outputs")
        if self._whole or not self._updated or self._changes(line):
            print_line(line)

    def _changes(self, line: str) -> bool:
        if end := _END.match(line):
            column = len(end[1])
            shown = column in self._shown
            self._shown.discard(column)
            return shown
        if field := _FIELD.match(line):
            if field[2] and line.endswith(("{", "[")):
                self._shown.add(field.start(3))
            return bool(field[2])
        return True
