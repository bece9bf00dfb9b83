"""`down`: destroys a stack, and stops what `up` started."""

from operations.command_line import DEFAULT_STACK, StackName
from operations.output import print_change
from operations.stack import Stack
from operations.up import refuse_unless_trial


def down(stack: StackName = DEFAULT_STACK) -> None:
    """Destroy the stack, and stop what `up` started, and only that."""
    loaded = Stack.load(stack, output=print_change)
    refuse_unless_trial(loaded, "down")
    destroy(loaded)


def destroy(stack: Stack) -> None:
    """Destroy a stack, and stop the processes of its sandbox."""
    engine, sandbox = stack.engine, stack.sandbox
    engine.unlock()
    if sandbox and not sandbox.agent_process.running:
        engine.print_line("consul: the agent is not running: there is nothing to deregister")
        engine.forget()
    else:
        engine.destroy()
    if sandbox:
        engine.print_line(f"consul: {sandbox.stop()} processes stopped")
