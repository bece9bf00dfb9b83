"""The program: settings in, components, outputs."""

import pulumi

import settings
from components.agent import ConsulAgent, ConsulAgentArgs
from components.network import Network, NetworkArgs
from components.registration.agent import AgentEndpoint, AgentRegistration, AgentRegistrationArgs
from components.server import ConsulServer, ConsulServerArgs
from components.standins import StandIns, StandInsArgs
from services.render import summary
from services.roster import roster

NETWORK = "staging_staging-network"

stack = settings.of_stack()
services = roster(stack.environment, stack.service_host)
first: list[pulumi.Resource] = []

if stack.docker:
    network = Network("network", NetworkArgs(NETWORK, existing=stack.network == "existing")).name
    if stack.server == "created":
        first.append(ConsulServer("server", ConsulServerArgs(stack.consul_image, network, stack.server_publish)))
    if stack.stand_ins:
        StandIns("standins", StandInsArgs(services, network))
    agent_args = ConsulAgentArgs(stack.consul_image, network, stack.agent_publish)
    first.append(ConsulAgent("agent", agent_args, pulumi.ResourceOptions(depends_on=list(first))))

endpoint = AgentEndpoint(stack.agent_address, stack.agent_token, stack.agent_ca_file, owned=stack.docker)
AgentRegistration(
    "registration",
    AgentRegistrationArgs(services, endpoint, stack.adopt),
    pulumi.ResourceOptions(depends_on=first),
)

pulumi.export("services", {kind: summary(services.of_kind(kind)) for kind in ("user", "ai", "grpc")})
pulumi.export("agent", stack.agent_address)
pulumi.export("server", stack.server_address)
pulumi.export("ui", f"{stack.server_address}/ui")
