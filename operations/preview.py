"""`preview`: what a deployment of a stack on this machine would change."""

from operations.command_line import DEFAULT_STACK, StackName
from operations.stack import Stack
from operations.up import refuse_unless_trial


def preview(stack: StackName = DEFAULT_STACK) -> None:
    """Show what up would change, field by field. Nothing is changed."""
    loaded = Stack.load(stack)
    refuse_unless_trial(loaded, "preview")
    loaded.engine.preview(diff=True)
