"""`start-service`: starts the stand-in of a service again."""

from operations.command_line import ServiceName
from operations.output import print_line
from operations.sandbox.sandbox import stand_in_of
from operations.stack import Stack


def start_service(service: ServiceName) -> None:
    """Start the stand-in of one service again."""
    stack = Stack.load()
    started = stand_in_of(stack.sandbox, stack.service(service)).start()
    print_line(f"{service}: {'started' if started else 'was running'}")
