"""The program: settings and services in, components deployed, outputs exported."""

import signal

import pulumi

import settings
import stack_roster
from components.deployment import Deployment, deploy
from errors import UserError
from services.consul_definition import summary
from services.roster import Roster


def export(stack: settings.Settings, roster: Roster, deployment: Deployment) -> None:
    """Export each service, the addresses, and what clients of a secured cluster need."""
    for service in roster.services:  # an output each: a preview shows those that change, and these whole
        pulumi.export(f"service/{service.id}", summary(service))
    pulumi.export("agent", stack.agent_address)
    pulumi.export("server", stack.server_address)
    pulumi.export("ui", f"{stack.server_address}/ui")
    if stack.prometheus_publish:
        pulumi.export("prometheus", stack.prometheus_address)
    if deployment.ca:
        pulumi.export("ca", deployment.ca)
        pulumi.export("tokens", deployment.tokens)
        pulumi.export("serviceTokens", deployment.service_tokens)


def main() -> None:
    """Deploy the stack that the engine has chosen."""
    try:
        stack = settings.of_stack()
        roster = stack_roster.load(stack)
        deployment = deploy(stack, roster)
    except UserError as error:
        raise pulumi.RunError(str(error)) from None
    export(stack, roster, deployment)


if __name__ == "__main__":
    # The program has this process for itself. When a resource fails, the engine interrupts the program, and Python
    # would print a stack trace below the error of the resource: the user needs the error alone.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
main()
