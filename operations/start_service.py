"""`start-service`: starts the stand-in of a service again."""

from operations.command_line import DEFAULT_STACK, ServiceName, StackName
from operations.output import print_line
from operations.stack import Stack


def start_service(service: ServiceName, stack: StackName = DEFAULT_STACK) -> None:
    """Start the stand-in of one service again."""
    started = Stack.load(stack).stand_in(service).start()
    print_line(f"{service}: {'started' if started else 'was running'}")
