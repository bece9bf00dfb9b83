"""`preview`: what a deployment of a stack on this machine would change."""

import re

from operations.command_line import DEFAULT_STACK, StackName
from operations.output import print_line
from operations.stack import Stack
from operations.up import refuse_unless_trial

_RESOURCE = re.compile(r" *\S* ?\S+:\S+:\S+: \(([a-z-]+)\)$")
_FIELD = re.compile(r"( *)([-+~] )?(\[\d+\]|[^\s\[]\S*) *: ")
_EMPTY = re.compile(r': (\[\]|\{\}|0|false|"")$')
_END = re.compile(r"( *)[]}]$")


def preview(stack: StackName = DEFAULT_STACK) -> None:
    """Show what up would change, field by field. Nothing is changed."""
    loaded = Stack.load(stack, output=Differences())
    refuse_unless_trial(loaded, "preview")
    loaded.engine.preview(diff=True)


class Differences:
    """Prints the lines of a preview, but of a resource that is updated only the fields that change.

    Of a resource that is refreshed it prints nothing if the provider only adds empty fields, as Docker's does to each
    container in the first refresh after it was created.
    """

    def __init__(self) -> None:
        """Begin with the first line of a preview."""
        self._whole = False  # nothing is deployed: outputs have no signs then
        self._updated = False
        self._refreshed: list[str] = []  # lines of the resource that is being refreshed
        self._shown: set[int] = set()  # columns of the fields whose values are being shown, and end there

    def __call__(self, line: str) -> None:
        """Take the next line."""
        resource = _RESOURCE.match(line)
        if resource or not line.startswith(" "):
            self._end_of_refreshed()
        if self._refreshed or (resource and resource[1] == "refresh"):
            self._refreshed.append(line)
            return
        if resource:
            self._whole = self._whole or (resource[1] == "create" and "pulumi:pulumi:Stack" in line)
            self._updated = resource[1] == "update"
        elif not line.startswith(" ") or line.startswith("    --outputs"):
            self._updated = line.startswith("    --outputs")
        if self._whole or not self._updated or self._changes(line):
            print_line(line)

    def _end_of_refreshed(self) -> None:
        if any(_tells(line) for line in self._refreshed[1:]):
            for line in self._refreshed:
                print_line(line)
        self._refreshed.clear()

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


def _tells(line: str) -> bool:
    """Return whether a line of a refreshed resource shows a difference, and not an empty field that was added."""
    field = _FIELD.match(line)
    sign = field[2].strip() if field and field[2] else ""
    return sign == "-" or (sign == "~" and not line.endswith(("{", "["))) or (sign == "+" and not _EMPTY.search(line))
