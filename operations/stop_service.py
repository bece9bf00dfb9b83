"""`stop-service`: stops the stand-in of a service."""

from operations.command_line import DEFAULT_STACK, ServiceName, StackName
from operations.output import print_line
from operations.stack import Stack


def stop_service(service: ServiceName, stack: StackName = DEFAULT_STACK) -> None:
    """Stop the stand-in of one service: its check turns critical."""
    stopped = Stack.load(stack).stand_in(service).stop()
    print_line(f"{service}: {'stopped' if stopped else 'was not running'}")
