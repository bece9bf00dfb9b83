"""Which components a stack gets, and how they depend on each other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pulumi
import pulumi_docker as docker

from components import preflight
from components.consul_agent import ConsulAgent, ConsulAgentArgs
from components.consul_connection import Connection
from components.consul_container import Secured
from components.consul_esm import ConsulEsm, ConsulEsmArgs
from components.consul_server import ConsulServer, ConsulServerArgs
from components.consul_template import ConsulTemplate, ConsulTemplateArgs
from components.dead_node import remove_dead_node
from components.deployment_plan import Access, Host, Plan, Tokens
from components.joined_cluster import JoinedCluster
from components.kv_configuration import KvConfiguration, KvConfigurationArgs
from components.monitoring import Monitoring, MonitoringArgs
from components.network import Network, NetworkArgs
from components.prerequisites import prerequisites, registration_token
from components.registration.agent import AgentRegistration, AgentRegistrationArgs
from components.registration.draining import Draining
from components.registration.files import FilesRegistration, FilesRegistrationArgs
from components.registration.switching import switch_to_agent, switch_to_catalog
from components.server_replacement import ServerReplacement
from components.stand_in_containers import StandIns, StandInsArgs
from consul_cluster.acl_rules import agent_tokens, group_rules, server_tokens, token_rules
from consul_cluster.agent_configuration import ESM_NODE
from consul_cluster.template_files import read_templates
from docker_engine import DockerEngine
from monitoring.monitored_cluster import monitored_cluster
from services.roster import Roster
from settings import Settings
from stack_roster import by_host

if TYPE_CHECKING:
    from components.acl_tokens import AclTokens

# The packages of the providers for keys, tokens and the catalog take 0.2 s to import, and most stacks need none of
# them: therefore the imports in functions.


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
    hosts = tuple(_hosts(settings, roster))
    _run_preflight(settings, roster, hosts)  # first: what is declared before a refusal is deployed all the same
    plan = Plan(settings, roster, _access(settings), hosts)
    if settings.docker:
        plan = _deploy_on_docker(plan)
    else:
        _register_with_agent(plan, plan.hosts[0], [])
        _write_configuration(plan, [])
    access = plan.access
    tokens = {"management": access.keys.management, **access.tokens} if access.keys else {}
    return Deployment(access.own_ca, tokens, access.service_tokens)


def _run_preflight(settings: Settings, roster: Roster, hosts: Sequence[Host]) -> None:
    if settings.docker:
        preflight.report([prerequisites(settings, roster, host) for host in hosts])
    else:
        preflight.refuse_unfit_agent(registration_token(settings, roster, settings.agent_address or ""))


def _access(settings: Settings) -> Access:
    if settings.stage == "off":
        servers = Connection(settings.server_address, settings.agent_token, settings.ca)
        return Access(servers, settings.ca, settings.agent_token, None)
    from components.cluster_keys import ClusterKeys, ClusterKeysArgs  # noqa: PLC0415

    args = ClusterKeysArgs(
        settings.server_address, settings.docker_hosts, settings.authorities, settings.management_tokens
    )
    keys = ClusterKeys("keys", args)
    return Access(keys.servers, keys.ca, None, keys)


def _hosts(settings: Settings, roster: Roster) -> Iterator[Host]:
    rosters = by_host(roster, settings)
    for host in settings.docker_hosts:
        services, engine = rosters[host.name], host.engine
        if host.name:
            provider = docker.Provider(host.of("docker"), host=engine.host, cert_path=engine.certificates)
            yield Host(host, services, provider)
        else:  # Pulumi's default provider uses the same engine
            yield Host(replace(host, engine=DockerEngine(pulumi.Config("docker").get("host"))), services)


def _deploy_on_docker(plan: Plan) -> Plan:
    """Declare network, servers, tokens, agents and registrations; return the plan with the tokens."""
    settings = plan.settings
    network = _deploy_network(plan)
    servers = _deploy_servers(plan, network)
    for host in plan.hosts if settings.stand_ins else ():
        args = StandInsArgs(host.roster, network, host.docker.engine)
        StandIns(host.of("standins"), args, pulumi.ResourceOptions(provider=host.provider))
    if keys := plan.access.keys:
        made = _make_tokens(plan, keys.management_tokens, servers)
        access = replace(plan.access, tokens=made.tokens, service_tokens=made.service_tokens)
        plan = replace(plan, access=access)
    agents = {host.docker.name: _deploy_agent(plan, host, network, servers) for host in plan.hosts}
    consul = [*servers, *agents.values()]
    for host in plan.hosts:
        match settings.registration:
            case "agent":
                registration = [_register_with_agent(plan, host, consul)]
            case "catalog":
                registration = [_register_in_catalog(plan, host, network, consul)]
            case "files":
                registration = []
        _write_files(plan, host, network, agents[host.docker.name], [*consul, *registration])
        if settings.templates:
            _deploy_templates(plan, host, network, [*consul, *registration])
    _write_configuration(plan, servers)
    if settings.monitoring:
        _deploy_monitoring(plan, network, consul)
    return plan


def _after(resources: Sequence[pulumi.Resource]) -> pulumi.ResourceOptions:
    """Return the option to be created after other resources, and destroyed before them."""
    return pulumi.ResourceOptions(depends_on=resources)


def _deploy_network(plan: Plan) -> pulumi.Output[str]:
    settings, first = plan.settings, plan.hosts[0]
    args = NetworkArgs(
        settings.names.network,
        existing=settings.network == "existing",
        overlay=bool(settings.hosts),
        engine=first.docker.engine,
    )
    return Network("network", args, pulumi.ResourceOptions(provider=first.provider)).name


def _deploy_servers(plan: Plan, network: pulumi.Output[str]) -> list[pulumi.Resource]:
    """Declare the servers, each after those of the hosts whose names come after its own.

    So the servers that a running cluster gets in addition, whose hosts get such names, are there before its own are
    replaced.
    """
    hosts = [host for host in plan.hosts if host.docker.server_address]
    servers: list[pulumi.Resource] = []
    for host in reversed(hosts):
        args = replace(
            _server_args(plan, host, network),
            servers=len(hosts),
            replacement=_replacement(plan, host, hosts) if host.docker.name else None,
            awaits_leader=host is hosts[0],
        )
        servers.append(ConsulServer(host.of("server"), args, host.after(servers)))
    return servers


def _server_args(plan: Plan, host: Host, network: pulumi.Output[str]) -> ConsulServerArgs:
    settings, keys, publish = plan.settings, plan.access.keys, host.docker.server_publish
    assert publish  # noqa: S101 - hosts without a server are left out
    secured = Secured(settings.stage, keys, server_tokens(keys.management)) if keys else None
    return ConsulServerArgs(
        settings.consul_image,
        network,
        publish,
        secured,
        host.docker.names,
        engine=host.docker.engine,
        telemetry=settings.monitoring,
    )


def _replacement(plan: Plan, host: Host, hosts: Sequence[Host]) -> ServerReplacement:
    return ServerReplacement(
        host.docker.names.server_node, {each.docker.names.server_node: plan.servers(each) for each in hosts}
    )


def _make_tokens(
    plan: Plan, management: Sequence[pulumi.Output[str]], servers: Sequence[pulumi.Resource]
) -> "AclTokens":
    from components.acl_tokens import AclTokens, AclTokensArgs  # noqa: PLC0415

    settings = plan.settings
    nodes = [host.docker.names.agent_node for host in plan.hosts]
    rules = token_rules(
        plan.roster,
        settings.external_node,
        settings.registration == "catalog",
        nodes,
        kv_configuration=settings.kv_configuration,
        monitored_nodes=monitored_cluster(settings).nodes if settings.monitoring else (),
        templates=settings.templates is not None,
    )
    args = AclTokensArgs(
        plan.access.servers,
        management,
        rules,
        group_rules(plan.roster),
        settings.token_generations,
        settings.names.datacenter,
    )
    return AclTokens("acl", args, _after(servers))


def _deploy_agent(
    plan: Plan, host: Host, network: pulumi.Output[str], servers: Sequence[pulumi.Resource]
) -> ConsulAgent:
    settings, keys, tokens, names = plan.settings, plan.access.keys, plan.access.tokens, host.docker.names
    secured = Secured(settings.stage, keys, agent_tokens(tokens)) if keys else _joined(settings)
    drains_to = plan.servers(host)
    own = replace(drains_to, token=settings.node_token) if settings.node_token else drains_to
    args = ConsulAgentArgs(
        settings.consul_image,
        network,
        host.docker.agent_publish,
        secured,
        _draining(plan, host),
        remove_dead_node(own, names.agent_node),
        names,
        host.docker.engine,
    )
    return ConsulAgent(host.of("agent"), args, host.after(servers))


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


def _draining(plan: Plan, host: Host) -> Draining | None:
    """Return how the services leave the agent while its container is replaced; only those over its API can."""
    locations = plan.locations(host)
    if not locations.agent or plan.settings.registration != "agent":
        return None
    # Services that the roster no longer has leave too: only the token for removal may write them.
    return Draining(replace(locations.agent, token=plan.access.token("removal")), locations)


def _register_with_agent(plan: Plan, host: Host, consul: Sequence[pulumi.Resource]) -> pulumi.Resource:
    settings, locations = plan.settings, plan.locations(host)
    assert locations.agent  # noqa: S101 - settings without its address are refused
    args = AgentRegistrationArgs(
        host.roster,
        locations.agent,
        settings.adopt,
        settings.docker,
        drained_to=_drained_to(settings),
        removal=plan.access.tokens.get("removal"),
        engine=host.docker.engine if host.docker.name else None,
        hooks=_moves_to_agent(plan, host) if settings.docker else None,
    )
    return AgentRegistration(host.of("registration"), args, _after(consul))


def _drained_to(settings: Settings) -> str | None:
    """Return the address of the server that has the services of a drained agent, if it outlives the stack."""
    outlives = settings.docker and settings.server == "existing" and settings.server_address != settings.agent_address
    return settings.server_address if outlives else None


def _moves_to_agent(plan: Plan, host: Host) -> pulumi.ResourceHookBinding:
    """Return the hooks that move services to a host's agent from where else the stack has registered them."""
    # Definition files alone need no API of servers of others here: over it, nothing was registered then.
    away = plan.settings.registration == "files" and plan.settings.server == "existing"
    switch = switch_to_agent(host.of("move-to-agent"), plan.locations(host), servers_may_be_away=away)
    if not host.docker.name:
        return switch
    return pulumi.ResourceHookBinding.merge(switch, plan.moving.before_creation(host.of("move-from-host")))


def _register_in_catalog(
    plan: Plan, host: Host, network: pulumi.Output[str], consul: Sequence[pulumi.Resource]
) -> pulumi.Resource:
    from components.registration.catalog import CatalogRegistration, CatalogRegistrationArgs  # noqa: PLC0415

    settings, access, names, engine = plan.settings, plan.access, host.docker.names, host.docker.engine
    esm_args = ConsulEsmArgs(settings.esm_image, network, access.token("esm"), access.own_ca, names, engine)
    esm = ConsulEsm("esm", esm_args, _after(consul))
    servers = Connection(settings.server_address, access.token("registration"), access.ca)
    hooks = switch_to_catalog(plan.locations(host))
    args = CatalogRegistrationArgs(plan.roster, servers, settings.external_node, ESM_NODE, hooks, names.datacenter)
    return CatalogRegistration("registration", args, _after([*consul, esm]))


def _write_files(
    plan: Plan, host: Host, network: pulumi.Output[str], agent: ConsulAgent, after: Sequence[pulumi.Resource]
) -> None:
    """Declare the agent's files. With another registration they have no services, so that none stays in them."""
    access, files = plan.access, plan.settings.registration == "files"
    args = FilesRegistrationArgs(
        host.roster if files else Roster(services=()),
        agent,
        network,
        access.tokens.get("reload", plan.settings.node_token),
        access.own_ca,
        _moves_to_agent(plan, host) if files else None,
        host.docker.names,
        host.docker.engine,
    )
    FilesRegistration(host.of("files"), args, host.after(after))


def _write_configuration(plan: Plan, servers: Sequence[pulumi.Resource]) -> None:
    """Declare the services' values in the KV store, if the stack has them."""
    settings, access = plan.settings, plan.access
    if not settings.kv_configuration:
        return
    args = KvConfigurationArgs(
        plan.roster.kv_configuration,
        replace(access.servers, token=access.token("configuration")),
        access.servers.token,
        owned=settings.docker and settings.server == "created",
        adopt=settings.adopt,
    )
    KvConfiguration("kv", args, _after(servers))


def _deploy_templates(plan: Plan, host: Host, network: pulumi.Output[str], after: Sequence[pulumi.Resource]) -> None:
    settings, access = plan.settings, plan.access
    args = ConsulTemplateArgs(
        settings.consul_template_image,
        network,
        read_templates(settings.templates),
        access.token("templates"),
        access.own_ca,
        host.docker.names,
        host.docker.engine,
    )
    ConsulTemplate("consul-template", args, host.after(after))


def _deploy_monitoring(plan: Plan, network: pulumi.Output[str], consul: Sequence[pulumi.Resource]) -> None:
    settings, access = plan.settings, plan.access
    args = MonitoringArgs(
        settings.prometheus_image,
        settings.consul_exporter_image,
        network,
        monitored_cluster(settings),
        plan.roster,
        settings.prometheus_publish,
        access.token("monitoring"),
        access.own_ca,
        plan.hosts[0].docker.engine,
    )
    Monitoring("monitoring", args, _after(consul))
