"""Registrations in the servers' catalog by the Consul provider, on a node without an agent: consul-esm runs the checks.

On the agent's own node they would disappear: its anti-entropy removes every service that the agent does not know.
https://developer.hashicorp.com/consul/docs/architecture/anti-entropy
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_consul as consul

from components.acl_tokens import consul_provider
from components.child_options import child_options
from components.consul_connection import Connection
from components.registration.switching import refuse_foreign_node, stack_owner_prefix
from consul_cluster.agent_configuration import EXTERNAL_NODE_META
from consul_cluster.cluster_names import STAGING_NAMES
from consul_cluster.ownership import with_owner
from services.consul_definition import definition
from services.field_types import OWNER_KEY
from services.model import Service
from services.roster import Roster


@dataclass(frozen=True)
class CatalogRegistrationArgs:
    """Arguments of a `CatalogRegistration`.

    Attributes:
        roster: the services.
        servers: the servers' API, with a token that has `node:write` and `service:write`.
        node: name of the external node; no agent may have it.
        address: of the node. Consul requires one; it is never used, since each service has its own address.
        hooks: of each service: they move it from another registration of the stack.
        datacenter: of the servers.
    """

    roster: Roster
    servers: Connection
    node: str
    address: str
    hooks: pulumi.ResourceHookBinding | None = None
    datacenter: str = STAGING_NAMES.datacenter


class CatalogRegistration(pulumi.ComponentResource):
    """Every service of a roster, registered on one external node."""

    services: Mapping[str, consul.Service]

    def __init__(self, name: str, args: CatalogRegistrationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the provider, the node, and one `consul.Service` for each service, named after it."""
        super().__init__("consul-staging:registration:CatalogRegistration", name, None, opts)
        provider = consul_provider(f"{name}-consul", args.servers, args.datacenter, pulumi.ResourceOptions(parent=self))
        child = child_options(self, opts, provider)
        node = _node(f"{name}-node", args, child)
        each = pulumi.ResourceOptions.merge(
            child,
            pulumi.ResourceOptions(
                hooks=args.hooks,
                ignore_changes=["checks[*].status"],  # consul-esm sets it
                delete_before_replace=True,
            ),
        )
        self.services = {
            service.id: _service(f"{name}-{service.id}", service, node.name, each) for service in args.roster.services
        }
        self.register_outputs({"service_ids": list(self.services)})


def _node(name: str, args: CatalogRegistrationArgs, opts: pulumi.ResourceOptions) -> consul.Node:
    async def refuse(_args: pulumi.ResourceHookArgs) -> None:
        refuse_foreign_node(await args.servers.consul(), args.node, prefix)

    prefix = stack_owner_prefix()
    hooks = pulumi.ResourceHookBinding(before_create=[pulumi.ResourceHook("refuse-anothers-node", refuse)])
    own = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(hooks=hooks))
    return consul.Node(
        name, name=args.node, address=args.address, meta={**EXTERNAL_NODE_META, OWNER_KEY: prefix + name}, opts=own
    )


def _service(name: str, service: Service, node: pulumi.Input[str], opts: pulumi.ResourceOptions) -> consul.Service:
    fields = definition(with_owner(service, stack_owner_prefix() + name))
    return consul.Service(
        name,
        service_id=fields["id"],
        name=fields["name"],
        node=node,
        address=fields["address"],
        port=fields["port"],
        tags=fields["tags"],
        meta=fields["meta"],
        checks=[_check(check_id, check) for check_id, check in fields["checks"].items()],
        weights=fields.get("weights"),
        opts=opts,
    )


def _check(check_id: str, check: Mapping[str, Any]) -> consul.ServiceCheckArgs:
    # The provider's own default is to deregister after 30 s.
    fields = {"deregister_critical_service_after": "0s", **check}
    headers = fields.pop("header", {})
    listed = [consul.ServiceCheckHeaderArgs(name=name, values=values) for name, values in headers.items()]
    return consul.ServiceCheckArgs(check_id=check_id, headers=listed or None, **fields)
