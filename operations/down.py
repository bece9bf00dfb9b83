"""`down`: destroys a stack, and stops what `up` started."""

from operations.command_line import DEFAULT_STACK, StackName
from operations.stack import Stack


def down(stack: StackName = DEFAULT_STACK) -> None:
    """Destroy the stack, and stop what `up` started, and only that."""
    destroy(Stack.load(stack))


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
