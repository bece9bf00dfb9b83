"""The program: settings in, components, outputs."""

import pulumi

import settings
from components.registration.agent import AgentEndpoint, AgentRegistration, AgentRegistrationArgs
from services.render import summary
from services.roster import roster

stack = settings.of_stack()
services = roster(stack.environment, stack.service_host)
agent = AgentEndpoint(stack.agent_address, stack.agent_token, stack.agent_ca_file)
AgentRegistration("registration", AgentRegistrationArgs(services, agent, stack.adopt))

pulumi.export("services", {kind: summary(services.of_kind(kind)) for kind in ("user", "ai", "grpc")})
pulumi.export("agent", stack.agent_address)
pulumi.export("server", stack.server_address)
pulumi.export("ui", f"{stack.server_address}/ui")
