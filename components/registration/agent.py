"""Registrations over the agent's own API: the agent runs the checks, and each service is one resource.

The state refers to `AgentServiceProvider` by this module's path and its name: neither may ever change.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pulumi
from pulumi.dynamic import (
    ConfigureRequest,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)

from cluster.client import Consul, ConsulError, ForbiddenError, NoAnswerError
from cluster.drift import COMPARED_FIELDS, catalog_matches, read_service
from cluster.ownership import definition_files_owner, with_owner
from components.child_options import child_options
from components.endpoint import Endpoint
from components.provider_errors import send_user_errors_without_traceback
from components.registration.switching import stack_owner_prefix
from services.definition import definition, register_request
from services.model import OWNER_KEY, Service
from services.roster import Roster

_IDENTITY = ("agent", "service_id")

# The agent hands a registration to the servers within milliseconds, or after a retry when it has just lost them.
_POLICY_PAUSES = (0.5, 0.5, 1)  # a stack's own policy is known within a second
_CATALOG_PAUSES = (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 4)

Props = dict[str, Any]


class AgentServiceProvider(ResourceProvider):
    """Keeps one service of a Consul agent as the program states it.

    https://developer.hashicorp.com/consul/api-docs/agent/service
    """

    serialize_as_secret_always = False  # it holds nothing at all

    def configure(self, _req: ConfigureRequest) -> None:
        """Send the message of an error without a stack trace."""
        send_user_errors_without_traceback()

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Compare by field. Another agent or id is a replacement."""
        same_agent = olds.get("owned") and news.get("owned")  # at another address: the stack deploys only one
        changed = [
            key
            for key in (*_IDENTITY, "token", "removal", "ca", "owned", *COMPARED_FIELDS)
            if olds.get(key) != news.get(key)
        ]
        return DiffResult(
            changes=bool(changed),
            replaces=[key for key in _IDENTITY if key in changed and not (key == "agent" and same_agent)],
            # Two addresses can be one agent, where deleting last would delete what was just created.
            delete_before_replace="agent" in changed,
        )

    def create(self, props: Props) -> CreateResult:
        """Register, or take up what an interrupted run of this very resource registered."""
        return CreateResult(props["service_id"], _apply(props))

    def update(self, _id: str, olds: Props, news: Props) -> UpdateResult:
        """Change in place; send nothing where the agent already holds it, since that would restart the check.

        With a service the agent keeps the token that registered it, and hands its checks' results over with that.
        """
        return UpdateResult(_apply(news, anew=olds.get("token") != news.get("token")))

    def read(self, id_: str, props: Props) -> ReadResult:
        """Return what the agent really holds; a blank id where it holds nothing."""
        try:
            found = read_service(_remover(props), id_, await_run=True)
        except NoAnswerError:
            if not props.get("owned"):
                raise
            found = None  # with the agent, which this run makes anew; what its volume then brings back is taken up
        return ReadResult(id_, {**props, **found}) if found else ReadResult("", {})

    def delete(self, id_: str, props: Props) -> None:
        """Deregister, if it still is ours, and see it leave the catalog."""
        consul = _remover(props)
        try:
            found = read_service(consul, id_)
        except NoAnswerError:
            if not props.get("owned"):
                raise
            return  # it is gone with the agent
        if found and found["meta"].get(OWNER_KEY) != props["mark"]:
            return
        if found:
            consul.deregister(id_)
        _await_catalog(consul, id_, props["name"], None)


class AgentService(Resource, module="consul", name="AgentService"):
    """One service and its checks, registered with an agent."""

    service_id: pulumi.Output[str]
    agent: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        service: Service,
        agent: Endpoint,
        *,
        adopt: bool = False,
        owned: bool = False,
        removal: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the registration.

        Args:
            name: of the resource; it is part of the mark by which the resource knows its own, so that neither another
                stack's registration nor another resource's can be taken for it.
            service: what to register.
            agent: with which agent.
            adopt: take over the id where another party registered it, instead of stopping.
            owned: the stack deploys the agent itself: one that is away is missing, and its registrations with it.
            removal: ACL token with `service:write` on any name; kept as a secret. By the time that a service is
                removed, the stack's own policy for registrations names it no more.
            opts: as of every resource.
        """
        mark = stack_owner_prefix() + name
        fields = definition(with_owner(service, mark))
        props = {
            "mark": mark,  # apart from the meta too, which a refresh replaces by what the agent holds
            "agent": agent.address,
            "token": agent.secret_token,
            "removal": pulumi.Output.secret(removal) if removal is not None else None,
            "ca": agent.ca,
            "owned": owned,
            "adopt": adopt,
            "service_id": fields.pop("id"),
            **fields,
        }
        super().__init__(AgentServiceProvider(), name, props, opts)


@dataclass(frozen=True)
class AgentRegistrationArgs:
    """What an `AgentRegistration` registers, and where.

    Attributes:
        roster: the services, checked to stand side by side.
        agent: the API of the agent that is to check them, with a token that has `service:write` on them.
        adopt: take over ids that another party registered.
        owned: the stack deploys the agent itself.
        removal: ACL token that removes services, where the stack makes the policies; kept as a secret.
        moves: run when a service is created, to move it here from another registration of the stack.
    """

    roster: Roster
    agent: Endpoint
    adopt: bool = False
    owned: bool = False
    removal: pulumi.Input[str] | None = field(default=None, repr=False)
    moves: pulumi.ResourceHookBinding | None = None


class AgentRegistration(pulumi.ComponentResource):
    """Every service of a roster, registered with one agent."""

    services: Mapping[str, AgentService]

    def __init__(self, name: str, args: AgentRegistrationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare one `AgentService` for each service, named after it."""
        super().__init__("consul-staging:registration:AgentRegistration", name, None, opts)
        child = pulumi.ResourceOptions.merge(child_options(self, opts), pulumi.ResourceOptions(hooks=args.moves))
        self.services = {
            service.id: AgentService(
                f"{name}-{service.id}",
                service,
                args.agent,
                adopt=args.adopt,
                owned=args.owned,
                removal=args.removal,
                opts=child,
            )
            for service in args.roster.services
        }
        self.register_outputs({"service_ids": list(self.services)})


def _apply(wanted: Props, anew: bool = False) -> Props:
    """Make the agent and the catalog hold what is wanted; returns it as the resource's new state."""
    consul, service_id = _agent(wanted), wanted["service_id"]
    fields = {
        **{key: wanted[key] for key in COMPARED_FIELDS},
        "port": int(wanted["port"]),
    }  # the engine's numbers are floats
    found = read_service(consul, service_id)
    ours = (wanted["mark"], definition_files_owner(wanted["mark"]))  # from its files too, before a stack moved to this
    if found and found["meta"].get(OWNER_KEY) not in ours and not wanted["adopt"]:
        raise ConsulError(_taken(consul, service_id, found))
    if anew or found != fields:
        _register(consul, register_request({"id": service_id, **fields}))
    _await_catalog(consul, service_id, fields["name"], fields)
    return {**wanted, **fields}


def _register(consul: Consul, body: Props) -> None:
    """Register; an agent knows of what a policy allows only after its `policy_ttl`."""
    for pause in _POLICY_PAUSES:
        with suppress(ForbiddenError):
            return consul.register(body)
        time.sleep(pause)
    return consul.register(body)


def _taken(consul: Consul, service_id: str, found: Props) -> str:
    owner = found["meta"].get(OWNER_KEY, "another party, not by Pulumi")
    return (
        f"service id {service_id!r} is already registered with the agent {consul.address} by {owner}, "
        f"at {found['address']}:{found['port']}. Deregister it there, or let this stack take it over: "
        "pulumi config set adopt true"
    )


@cache
def _client(address: str, token: str | None, ca: str | None) -> Consul:
    return Consul(address, token, ca)


def _agent(props: Props) -> Consul:
    return _client(props["agent"], props.get("token"), props.get("ca"))


def _remover(props: Props) -> Consul:
    """Return what reads and removes a service that the policy behind its own token may name no more."""
    return _client(props["agent"], props.get("removal") or props.get("token"), props.get("ca"))


@cache
def _node(consul: Consul) -> str:
    return consul.node()


def _await_catalog(consul: Consul, service_id: str, name: str, wanted: Props | None) -> None:
    """Return once the servers hold what the agent holds: an agent answers 200 to what the servers then refuse.

    Raises:
        ConsulError: they do not, or the agent has no servers.
    """
    refusal: ConsulError | None = None
    for pause in _CATALOG_PAUSES:
        time.sleep(pause)
        try:
            if catalog_matches(consul.in_catalog(_node(consul), name, service_id), wanted):
                return
            refusal = None
        except ConsulError as error:  # an agent that has just started may not have joined yet
            refusal = error
    still, token = ("do not show it", "service:write") if wanted else ("still show it", "node:write")
    raise refusal or ConsulError(
        f"the agent {consul.address} accepted the change to {service_id!r}, but the servers {still} after "
        f"{sum(_CATALOG_PAUSES):.0f} s: a token may lack {token}, or the agent has lost the servers; its log says "
        "which. The next run completes it"
    )
