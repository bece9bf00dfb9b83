"""The program: settings in, components, outputs."""

import pulumi

import settings
from components import found
from components.agent import ConsulAgent, ConsulAgentArgs
from components.esm import ConsulEsm, ConsulEsmArgs
from components.network import Network, NetworkArgs
from components.registration import handover
from components.registration.agent import AgentEndpoint, AgentRegistration, AgentRegistrationArgs
from components.registration.catalog import CatalogEndpoint, CatalogRegistration, CatalogRegistrationArgs
from components.registration.files import FilesRegistration, FilesRegistrationArgs
from components.server import ConsulServer, ConsulServerArgs
from components.standins import StandIns, StandInsArgs
from services.agent_config import ESM_NODE, SERVER_NODE
from services.consul_api import Consul
from services.render import summary
from services.roster import roster
from services.rules import Roster

NETWORK = "staging_staging-network"

stack = settings.of_stack()
services = roster(stack.environment, stack.service_host)
no_services = Roster(services=())
places = handover.Places(
    Consul(stack.agent_address, stack.agent_token, stack.agent_ca_file) if stack.agent_address else None,
    Consul(stack.server_address, stack.agent_token, stack.agent_ca_file),
    stack.external_node,
    services,
)
first: list[pulumi.Resource] = []
registered: pulumi.Resource


def after(*resources: pulumi.Resource) -> pulumi.ResourceOptions:
    """Return the option to wait for resources, and to be destroyed before them."""
    return pulumi.ResourceOptions(depends_on=resources)


if stack.docker:
    found.tell(
        found.Expected(
            NETWORK if stack.network == "existing" else None,
            SERVER_NODE if stack.server == "existing" else None,
            [] if stack.stand_ins else [service.container for service in services.services],
        )
    )
    network = Network("network", NetworkArgs(NETWORK, existing=stack.network == "existing")).name
    if stack.server == "created":
        first.append(ConsulServer("server", ConsulServerArgs(stack.consul_image, network, stack.server_publish)))
    if stack.stand_ins:
        StandIns("standins", StandInsArgs(services, network))
    agent = ConsulAgent("agent", ConsulAgentArgs(stack.consul_image, network, stack.agent_publish), after(*first))
    first.append(agent)

match stack.registration:
    case "agent" if stack.agent_address:
        endpoint = AgentEndpoint(stack.agent_address, stack.agent_token, stack.agent_ca_file, owned=stack.docker)
        moves = handover.to_agent(places) if stack.docker else None
        agent_args = AgentRegistrationArgs(services, endpoint, stack.adopt, moves)
        registered = AgentRegistration("registration", agent_args, after(*first))
    case "catalog":
        esm = ConsulEsm("esm", ConsulEsmArgs(stack.esm_image, network, stack.agent_token), after(*first))
        servers = CatalogEndpoint(stack.server_address, stack.agent_token, stack.agent_ca_file)
        catalog_args = CatalogRegistrationArgs(
            services, servers, stack.external_node, ESM_NODE, handover.to_catalog(places)
        )
        registered = CatalogRegistration("registration", catalog_args, after(*first, esm))
    case "files":
        files_args = FilesRegistrationArgs(services, agent, network, handover.to_agent(places))
        FilesRegistration("files", files_args, after(*first))
if stack.docker and stack.registration != "files":  # they are emptied when what they held is held otherwise
    FilesRegistration("files", FilesRegistrationArgs(no_services, agent, network), after(*first, registered))

pulumi.export("services", {kind: summary(services.of_kind(kind)) for kind in ("user", "ai", "grpc")})
pulumi.export("agent", stack.agent_address)
pulumi.export("server", stack.server_address)
pulumi.export("ui", f"{stack.server_address}/ui")
