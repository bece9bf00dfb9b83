"""`start-service`: starts the stand-in of a service again."""

from operations.command_line import DEFAULT_STACK, ServiceName, StackName
from operations.output import print_line
from operations.stack import Stack
from operations.undeployed import refuse_undeployed_address


def start_service(service: ServiceName, stack: StackName = DEFAULT_STACK) -> None:
    """Start the stand-in of one service again."""
    loaded = Stack.load(stack)
    stand_in = loaded.stand_in(service)
    refuse_undeployed_address(loaded, loaded.service(service))
    started = stand_in.start()
    print_line(f"{service}: {'started' if started else 'was running'}")
