"""Which components a stack gets, and how they depend on each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pulumi

from components import preflight
from components.acl_tokens import AclTokens, AclTokensArgs
from components.cluster_keys import ClusterKeys, ClusterKeysArgs
from components.consul_agent import ConsulAgent, ConsulAgentArgs
from components.consul_connection import Connection
from components.consul_container import Publish, Secured
from components.consul_esm import ConsulEsm, ConsulEsmArgs
from components.consul_server import ConsulServer, ConsulServerArgs
from components.dead_node import remove_dead_node
from components.joined_cluster import JoinedCluster
from components.network import Network, NetworkArgs
from components.registration.agent import AgentRegistration, AgentRegistrationArgs
from components.registration.catalog import CatalogRegistration, CatalogRegistrationArgs
from components.registration.draining import Draining
from components.registration.files import FilesRegistration, FilesRegistrationArgs
from components.registration.switching import ServiceLocations, switch_to_agent, switch_to_catalog
from components.stand_in_containers import StandIns, StandInsArgs
from consul_cluster.acl_rules import agent_tokens, group_rules, server_tokens, token_rules
from consul_cluster.agent_configuration import ESM_NODE
from consul_cluster.client import Consul
from consul_cluster.joining import node_rights, registration_rights
from services.roster import Roster
from settings import Settings

Tokens = Mapping[str, pulumi.Output[str]]


@dataclass(frozen=True)
class Access:
    """How Consul is reached, and with which rights.

    Attributes:
        servers: the servers' API, with the token of highest rights that the stack has.
        ca: PEM text of the authority behind the APIs' certificates.
        given: the access token that the settings give.
        keys: the keys of a cluster that the stack secures; None: it does not.
        tokens: the access tokens that the stack makes, by name.
        service_tokens: the same of the services, by group.
    """

    servers: Connection
    ca: pulumi.Input[str] | None
    given: str | None = field(repr=False)
    keys: ClusterKeys | None
    tokens: Tokens = field(default_factory=dict, repr=False)
    service_tokens: Tokens = field(default_factory=dict, repr=False)

    def token(self, name: str) -> pulumi.Input[str] | None:
        """Return the token of a name: the one that the stack makes, else the one that is given."""
        return self.tokens.get(name, self.given)

    @property
    def own_ca(self) -> pulumi.Output[str] | None:
        """The authority of a cluster that the stack secures: another one that is given is not for its containers."""
        return self.keys.ca if self.keys else None


@dataclass(frozen=True)
class Plan:
    """What is deployed, and how far: what each step below needs to know.

    Attributes:
        settings: what the stack decides.
        roster: the services.
        access: how Consul is reached.
    """

    settings: Settings
    roster: Roster
    access: Access

    @property
    def locations(self) -> ServiceLocations:
        """Where the services of the stack can be registered."""
        address, access = self.settings.agent_address, self.access
        agent = Connection(address, access.token("registration"), access.ca) if address else None
        return ServiceLocations(agent, access.servers, self.settings.external_node, self.roster, self.settings.names)


@dataclass(frozen=True)
class Deployment:
    """What a deployed stack shows.

    Attributes:
        ca: the authority of a cluster that the stack secures.
        tokens: its access tokens by name, `management` among them.
        service_tokens: those of the services, by group.
    """

    ca: pulumi.Output[str] | None
    tokens: Tokens = field(repr=False)
    service_tokens: Tokens = field(repr=False)


def deploy(settings: Settings, roster: Roster) -> Deployment:
    """Declare everything that a stack consists of."""
    plan = Plan(settings, roster, _access(settings))
    if settings.docker:
        plan = _deploy_on_docker(plan)
    else:
        preflight.refuse_missing_rights([_registration_rights(plan, settings.agent_address or "")])
        _register_with_agent(plan, [])
    access = plan.access
    tokens = {"management": access.keys.management, **access.tokens} if access.keys else {}
    return Deployment(access.own_ca, tokens, access.service_tokens)


def _access(settings: Settings) -> Access:
    if settings.stage == "off":
        servers = Connection(settings.server_address, settings.agent_token, settings.ca)
        return Access(servers, settings.ca, settings.agent_token, None)
    keys = ClusterKeys("keys", ClusterKeysArgs(settings.server_address, settings.hosts, settings.names))
    return Access(keys.servers, keys.ca, None, keys)


def _deploy_on_docker(plan: Plan) -> Plan:
    """Declare network, server, tokens, agent and registrations; return the plan with the tokens."""
    settings = plan.settings
    _report_preflight(plan)
    network = Network("network", NetworkArgs(settings.names.network, existing=settings.network == "existing")).name
    server = [_deploy_server(plan, network)] if settings.server == "created" else []
    if settings.stand_ins:
        StandIns("standins", StandInsArgs(plan.roster, network))
    if plan.access.keys:
        made = _make_tokens(plan, server)
        access = replace(plan.access, tokens=made.tokens, service_tokens=made.service_tokens)
        plan = replace(plan, access=access)
    agent = _deploy_agent(plan, network, server)
    consul = [*server, agent]
    match settings.registration:
        case "agent":
            registration = [_register_with_agent(plan, consul)]
        case "catalog":
            registration = [_register_in_catalog(plan, network, consul)]
        case "files":
            registration = []
    _write_files(plan, network, agent, [*consul, *registration])
    return plan


def _after(resources: Sequence[pulumi.Resource]) -> pulumi.ResourceOptions:
    """Return the option to be created after other resources, and destroyed before them."""
    return pulumi.ResourceOptions(depends_on=resources)


def _report_preflight(plan: Plan) -> None:
    settings, existing = plan.settings, plan.settings.server == "existing"
    names, server_publish = settings.names, None if existing else settings.server_publish
    published = {names.agent_container: settings.agent_publish, names.server_container: server_publish}
    preflight.report(
        preflight.Prerequisites(
            network=names.network if settings.network == "existing" else None,
            server=names.server_container if existing else None,
            server_api=Consul(settings.server_address, ca=settings.ca) if existing else None,
            datacenter=names.datacenter,
            services=[] if settings.stand_ins else [service.container for service in plan.roster.services],
            images=[settings.consul_image, *([settings.esm_image] if settings.registration == "catalog" else [])],
            ports={name: (at[0], at[1]) for name, at in published.items() if at},
            rights=_rights(plan) if existing else [],
        )
    )


def _rights(plan: Plan) -> Sequence[preflight.TokenRights]:
    """Return the rights that the tokens which are given need with the existing server."""
    settings = plan.settings
    server = Consul(settings.server_address, settings.node_token, settings.ca)
    node = preflight.TokenRights("nodeToken", settings.node_token is not None, server, node_rights(settings.names))
    return [node, _registration_rights(plan, settings.server_address)]


def _registration_rights(plan: Plan, address: str) -> preflight.TokenRights:
    settings = plan.settings
    needed = registration_rights(settings.registration, plan.roster, settings.names, settings.external_node)
    consul = Consul(address, settings.agent_token, settings.ca)
    return preflight.TokenRights("agentToken", settings.agent_token is not None, consul, needed)


def _deploy_server(plan: Plan, network: pulumi.Output[str]) -> ConsulServer:
    settings, keys = plan.settings, plan.access.keys
    secured = Secured(settings.stage, keys, server_tokens(keys.management)) if keys else None
    publish = Publish(*settings.server_publish)
    return ConsulServer("server", ConsulServerArgs(settings.consul_image, network, publish, secured, settings.names))


def _make_tokens(plan: Plan, server: Sequence[pulumi.Resource]) -> AclTokens:
    settings = plan.settings
    rules = token_rules(
        plan.roster, settings.external_node, settings.registration == "catalog", settings.names.agent_node
    )
    args = AclTokensArgs(
        plan.access.servers, rules, group_rules(plan.roster), settings.token_generations, settings.names.datacenter
    )
    return AclTokens("acl", args, _after(server))


def _deploy_agent(plan: Plan, network: pulumi.Output[str], server: Sequence[pulumi.Resource]) -> ConsulAgent:
    settings, keys, tokens = plan.settings, plan.access.keys, plan.access.tokens
    publish = Publish(*settings.agent_publish) if settings.agent_publish else None
    secured = Secured(settings.stage, keys, agent_tokens(tokens)) if keys else _joined(settings)
    own = replace(plan.access.servers, token=settings.node_token) if settings.node_token else plan.access.servers
    hooks = remove_dead_node(own, settings.names.agent_node)
    args = ConsulAgentArgs(settings.consul_image, network, publish, secured, _draining(plan), hooks, settings.names)
    return ConsulAgent("agent", args, _after(server))


def _joined(settings: Settings) -> JoinedCluster | None:
    """Return the keys of a Consul that others secured, if any are given."""
    tokens = {"agent": settings.node_token, "registration": settings.agent_token if settings.node_token else None}
    joined = JoinedCluster(
        settings.gossip_key,
        settings.cluster_ca,
        settings.agent_certificate,
        settings.agent_certificate_key,
        {name: token for name, token in tokens.items() if token},
    )
    return joined if joined != JoinedCluster() else None


def _draining(plan: Plan) -> Draining | None:
    """Return how the services leave the agent while its container is replaced; only those over its API can."""
    locations = plan.locations
    if not locations.agent or plan.settings.registration != "agent":
        return None
    # Services that the roster no longer has leave too: only the token for removal may write them.
    return Draining(replace(locations.agent, token=plan.access.token("removal")), locations)


def _register_with_agent(plan: Plan, consul: Sequence[pulumi.Resource]) -> pulumi.Resource:
    settings, locations = plan.settings, plan.locations
    assert locations.agent  # noqa: S101 - settings without its address are refused
    hooks = switch_to_agent(locations) if settings.docker else None
    removal = plan.access.tokens.get("removal")
    drained_to = settings.server_address if settings.docker and settings.server == "existing" else None
    args = AgentRegistrationArgs(
        plan.roster, locations.agent, settings.adopt, settings.docker, drained_to, removal, hooks
    )
    return AgentRegistration("registration", args, _after(consul))


def _register_in_catalog(plan: Plan, network: pulumi.Output[str], consul: Sequence[pulumi.Resource]) -> pulumi.Resource:
    settings, access = plan.settings, plan.access
    esm_args = ConsulEsmArgs(settings.esm_image, network, access.token("esm"), access.own_ca, settings.names)
    esm = ConsulEsm("esm", esm_args, _after(consul))
    servers = Connection(settings.server_address, access.token("registration"), access.ca)
    hooks = switch_to_catalog(plan.locations)
    args = CatalogRegistrationArgs(
        plan.roster, servers, settings.external_node, ESM_NODE, hooks, settings.names.datacenter
    )
    return CatalogRegistration("registration", args, _after([*consul, esm]))


def _write_files(plan: Plan, network: pulumi.Output[str], agent: ConsulAgent, after: Sequence[pulumi.Resource]) -> None:
    """Declare the agent's files. With another registration they have no services, so that none stays in them."""
    access, files = plan.access, plan.settings.registration == "files"
    roster = plan.roster if files else Roster(services=())
    hooks = switch_to_agent(plan.locations) if files else None
    token = access.tokens.get("reload", plan.settings.node_token)
    args = FilesRegistrationArgs(roster, agent, network, token, access.own_ca, hooks, plan.settings.names)
    FilesRegistration("files", args, _after(after))
