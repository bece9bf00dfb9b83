"""`stop-service`: stops the stand-in of a service."""

from operations.command_line import ServiceName
from operations.output import print_line
from operations.sandbox.sandbox import stand_in_of
from operations.stack import Stack


def stop_service(service: ServiceName) -> None:
    """Stop the stand-in of one service: its check turns critical."""
    stack = Stack.load()
    stopped = stand_in_of(stack.sandbox, stack.service(service)).stop()
    print_line(f"{service}: {'stopped' if stopped else 'was not running'}")
