"""`down`: destroys a stack, and stops what `up` started."""

from operations.command_line import DEFAULT_STACK, StackName
from operations.output import print_change
from operations.stack import Stack
from operations.up import refuse_unless_trial
from toolchain import ToolchainError


def down(stack: StackName = DEFAULT_STACK) -> None:
    """Destroy the stack, and stop what `up` started, and only that."""
    loaded = Stack.load(stack, output=print_change)
    refuse_unless_trial(loaded, "down")
    destroy(loaded)


def destroy(stack: Stack) -> None:
    """Destroy a stack, and stop the processes of its sandbox, also where there is no `pulumi` to destroy it with.

    Raises:
        toolchain.ToolchainError: there is none. The next run then sees that what the state has is gone.
    """
    stack.engine.unlock()
    try:
        _remove(stack)
    except ToolchainError:
        _stop(stack)
        raise
    _stop(stack)


def _remove(stack: Stack) -> None:
    if stack.sandbox and not stack.sandbox.agent_runs:
        stack.engine.print_line("consul: the agent is not running: there is nothing to deregister")
        stack.engine.forget()
    else:
        stack.engine.destroy()


def _stop(stack: Stack) -> None:
    if stack.sandbox:
        stack.engine.print_line(f"consul: {stack.sandbox.stop()} processes stopped")
