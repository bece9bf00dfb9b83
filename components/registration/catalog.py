"""Registrations in the servers' catalog by the Consul provider, on a node without an agent: consul-esm runs the checks.

On the agent's own node they would vanish: its anti-entropy removes there what it does not know itself.
https://developer.hashicorp.com/consul/docs/architecture/anti-entropy
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pulumi
import pulumi_consul as consul

from components.registration.handover import stack_owner
from services.agent_config import DATACENTER, EXTERNAL
from services.consul_api import Consul, ConsulError
from services.marks import marked
from services.model import MARK, Service
from services.render import definition
from services.rules import Roster


@dataclass(frozen=True)
class CatalogEndpoint:
    """Where the servers' API answers.

    Attributes:
        address: `http://host:port` or `https://host:port`, as seen from where Pulumi runs.
        token: ACL token with `node:write` and `service:write`; kept as a secret.
        ca_file: PEM file of the authority behind the API's certificate; None: the system's authorities.
    """

    address: str
    token: str | None = field(default=None, repr=False)
    ca_file: str | None = None


@dataclass(frozen=True)
class CatalogRegistrationArgs:
    """What a `CatalogRegistration` registers, and where.

    Attributes:
        roster: the services, checked to stand side by side.
        servers: whose catalog it is.
        node: name of the external node; not one of an agent.
        address: what the node is reached at, where a service has no address of its own; each has one.
        moves: run when a service is created, to move it here from another registration of the stack.
    """

    roster: Roster
    servers: CatalogEndpoint
    node: str
    address: str
    moves: pulumi.ResourceHookBinding | None = None


class CatalogRegistration(pulumi.ComponentResource):
    """Every service of a roster, on one external node."""

    services: Mapping[str, consul.Service]

    def __init__(self, name: str, args: CatalogRegistrationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the provider, the node, and one `consul.Service` for each service, named after it."""
        super().__init__("consul-staging:registration:CatalogRegistration", name, None, opts)
        provider = _provider(f"{name}-consul", args.servers, pulumi.ResourceOptions(parent=self))
        # What a component depends on, its children do not wait for by themselves.
        child = pulumi.ResourceOptions(parent=self, provider=provider, depends_on=opts.depends_on if opts else None)
        node = _node(f"{name}-node", args, child)
        each = pulumi.ResourceOptions.merge(
            child,
            pulumi.ResourceOptions(
                hooks=args.moves,
                ignore_changes=["checks[*].status"],  # is for consul-esm to say
                delete_before_replace=True,
            ),
        )
        self.services = {
            service.id: _service(f"{name}-{service.id}", service, node.name, each) for service in args.roster.services
        }
        self.register_outputs({"service_ids": list(self.services)})


def _provider(name: str, servers: CatalogEndpoint, opts: pulumi.ResourceOptions) -> consul.Provider:
    parts = urlsplit(servers.address)
    return consul.Provider(
        name,
        address=parts.netloc,
        scheme=parts.scheme,
        datacenter=DATACENTER,
        ca_file=servers.ca_file,
        token=pulumi.Output.secret(servers.token) if servers.token else None,
        opts=opts,
    )


def _node(name: str, args: CatalogRegistrationArgs, opts: pulumi.ResourceOptions) -> consul.Node:
    servers = Consul(args.servers.address, args.servers.token, args.servers.ca_file)

    def refuse_anothers(_args: pulumi.ResourceHookArgs) -> None:  # the provider would take it, and later delete it
        found = servers.catalog_node(args.node)
        if found and (found["Node"]["Meta"] or {}).get(MARK) != mark:
            raise ConsulError(f"the catalog has a node {args.node!r} of another party: set externalNode to a free name")

    mark = stack_owner() + name
    hooks = pulumi.ResourceHookBinding(before_create=[pulumi.ResourceHook("refuse-anothers-node", refuse_anothers)])
    own = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(hooks=hooks))
    return consul.Node(name, name=args.node, address=args.address, meta={**EXTERNAL, MARK: mark}, opts=own)


def _service(name: str, service: Service, node: pulumi.Input[str], opts: pulumi.ResourceOptions) -> consul.Service:
    fields = definition(marked(service, stack_owner() + name))
    return consul.Service(
        name,
        service_id=fields["id"],
        name=fields["name"],
        node=node,
        address=fields["address"],
        port=fields["port"],
        tags=fields["tags"],
        meta=fields["meta"],
        checks=[consul.ServiceCheckArgs(check_id=check_id, **check) for check_id, check in fields["checks"].items()],
        opts=opts,
    )
