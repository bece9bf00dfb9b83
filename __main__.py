"""The program: settings in, components, outputs."""

from collections.abc import Mapping
from dataclasses import replace

import pulumi

import settings
from cluster.acl_rules import agent_tokens, server_tokens, token_rules
from cluster.agent_configuration import ESM_NODE, SERVER_NODE
from components import preflight as found
from components.acl_tokens import AclTokens, AclTokensArgs
from components.cluster_keys import ClusterKeys, ClusterKeysArgs
from components.consul_agent import ConsulAgent, ConsulAgentArgs
from components.consul_container import Publish, Secured
from components.consul_esm import ConsulEsm, ConsulEsmArgs
from components.consul_server import ConsulServer, ConsulServerArgs
from components.endpoint import Endpoint
from components.network import Network, NetworkArgs
from components.registration import switching as handover
from components.registration.agent import AgentRegistration, AgentRegistrationArgs
from components.registration.catalog import CatalogRegistration, CatalogRegistrationArgs
from components.registration.draining import Draining
from components.registration.files import FilesRegistration, FilesRegistrationArgs
from components.stand_ins import StandIns, StandInsArgs
from services.definition import summary
from services.roster import Roster, RosterError, load_roster

NETWORK = "staging_staging-network"

stack = settings.of_stack()
try:
    services = load_roster(stack.environment, stack.service_host)
except RosterError as error:
    raise pulumi.RunError(str(error)) from None
first: list[pulumi.Resource] = []
registered: pulumi.Resource


def after(*resources: pulumi.Resource) -> pulumi.ResourceOptions:
    """Return the option to wait for resources, and to be destroyed before them."""
    return pulumi.ResourceOptions(depends_on=resources)


keys = None
tokens: Mapping[str, pulumi.Output[str]] = {}
if stack.stage != "off":
    keys = ClusterKeys("keys", ClusterKeysArgs(stack.server_address, stack.hosts))
own_ca = keys.ca if keys else None  # of what the stack deploys; another one may be given for what it does not
ca = keys.ca if keys else stack.ca
servers = keys.servers if keys else Endpoint(stack.server_address, stack.agent_token, ca)

if stack.docker:
    found.report(
        found.Prerequisites(
            NETWORK if stack.network == "existing" else None,
            SERVER_NODE if stack.server == "existing" else None,
            [] if stack.stand_ins else [service.container for service in services.services],
        )
    )
    network = Network("network", NetworkArgs(NETWORK, existing=stack.network == "existing")).name
    if stack.server == "created":
        publish = Publish(*stack.server_publish)
        secured = Secured(stack.stage, keys, server_tokens(keys.management)) if keys else None
        server_args = ConsulServerArgs(stack.consul_image, network, publish, secured)
        first.append(ConsulServer("server", server_args))
    if stack.stand_ins:
        StandIns("standins", StandInsArgs(services, network))
if keys:
    rules = token_rules(services, stack.external_node, esm=stack.registration == "catalog")
    tokens = AclTokens("acl", AclTokensArgs(servers, rules), after(*first)).tokens

registration_token = tokens.get("registration", stack.agent_token)
agent_api = Endpoint(stack.agent_address, registration_token, ca) if stack.agent_address else None
places = handover.ServiceLocations(agent_api, servers, stack.external_node, services)

if stack.docker:
    parking = None
    if agent_api and stack.registration == "agent":
        # What the roster has dropped is moved, and then removed, too: the registration's policy names it no more.
        parking = Draining(replace(agent_api, token=tokens.get("removal", stack.agent_token)), places)
    agent_publish = Publish(*stack.agent_publish) if stack.agent_publish else None
    secured = Secured(stack.stage, keys, agent_tokens(tokens)) if keys else None
    agent_args = ConsulAgentArgs(stack.consul_image, network, agent_publish, secured, parking)
    agent = ConsulAgent("agent", agent_args, after(*first))
    first.append(agent)

match stack.registration:
    case "agent" if agent_api:
        moves = handover.switch_to_agent(places) if stack.docker else None
        args = AgentRegistrationArgs(services, agent_api, stack.adopt, stack.docker, tokens.get("removal"), moves)
        registered = AgentRegistration("registration", args, after(*first))
    case "catalog":
        esm_args = ConsulEsmArgs(stack.esm_image, network, tokens.get("esm", stack.agent_token), own_ca)
        esm = ConsulEsm("esm", esm_args, after(*first))
        catalog = Endpoint(stack.server_address, registration_token, ca)
        catalog_args = CatalogRegistrationArgs(
            services, catalog, stack.external_node, ESM_NODE, handover.switch_to_catalog(places)
        )
        registered = CatalogRegistration("registration", catalog_args, after(*first, esm))
if stack.docker:  # the files are emptied when what they held is held otherwise
    files = stack.registration == "files"
    files_args = FilesRegistrationArgs(
        services if files else Roster(services=()),
        agent,
        network,
        tokens.get("reload"),
        own_ca,
        handover.switch_to_agent(places) if files else None,
    )
    FilesRegistration("files", files_args, after(*first) if files else after(*first, registered))

pulumi.export("services", {kind: summary(services.of_kind(kind)) for kind in ("user", "ai", "grpc")})
pulumi.export("agent", stack.agent_address)
pulumi.export("server", stack.server_address)
pulumi.export("ui", f"{stack.server_address}/ui")
if keys:
    pulumi.export("ca", keys.ca)
    pulumi.export("tokens", {"management": keys.management, **tokens})
