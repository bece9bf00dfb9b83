"""Registrations over the agent's own API: the agent runs the checks, and each service is one resource.

The state refers to `AgentServiceProvider` by this module's path and its name: neither may ever change.
"""

import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import SimpleNamespace
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

from components.registration.handover import stack_owner
from services.consul_api import Consul, ConsulError, NoAnswerError
from services.held import held, in_step
from services.marks import marked, same_owners_files
from services.model import MARK, Service
from services.render import api, definition
from services.rules import Roster

_HELD = ("name", "address", "port", "tags", "meta", "checks")
_IDENTITY = ("agent", "service_id")

# The agent hands a registration to the servers within milliseconds, or after a retry when it has just lost them.
_CATALOG_PAUSES = (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 4)

Props = dict[str, Any]


class AgentServiceProvider(ResourceProvider):
    """Keeps one service of a Consul agent as the program states it.

    https://developer.hashicorp.com/consul/api-docs/agent/service
    """

    serialize_as_secret_always = False  # it holds nothing at all

    def configure(self, _req: ConfigureRequest) -> None:
        """Have Consul's refusals told in its words alone: the SDK's provider process sends a stack trace with each."""
        process = vars(sys.modules["__main__"])
        if "_abort_with_traceback" in process:
            process["traceback"] = SimpleNamespace(format_exc=_told)

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Compare by field. Another agent or id is a replacement."""
        changed = [key for key in (*_IDENTITY, "token", "ca_file", "owned", *_HELD) if olds.get(key) != news.get(key)]
        return DiffResult(
            changes=bool(changed),
            replaces=[key for key in _IDENTITY if key in changed],
            # Two addresses can be one agent, where deleting last would delete what was just created.
            delete_before_replace="agent" in changed,
        )

    def create(self, props: Props) -> CreateResult:
        """Register, or take up what an interrupted run of this very resource registered."""
        return CreateResult(props["service_id"], _apply(props))

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        """Change in place; send nothing where the agent already holds it, since that would restart the check."""
        return UpdateResult(_apply(news))

    def read(self, id_: str, props: Props) -> ReadResult:
        """Return what the agent really holds; a blank id where it holds nothing."""
        try:
            found = held(_agent(props), id_, patient=True)
        except NoAnswerError:
            if not props.get("owned"):
                raise
            found = None  # with the agent, which this run makes anew; what its volume then brings back is taken up
        return ReadResult(id_, {**props, **found}) if found else ReadResult("", {})

    def delete(self, id_: str, props: Props) -> None:
        """Deregister, if it still is ours, and see it leave the catalog."""
        consul = _agent(props)
        try:
            found = held(consul, id_)
        except NoAnswerError:
            if not props.get("owned"):
                raise
            return  # it is gone with the agent
        if found and found["meta"].get(MARK) != props["mark"]:
            return
        if found:
            consul.deregister(id_)
        _await_catalog(consul, id_, props["name"], None)


@dataclass(frozen=True)
class AgentEndpoint:
    """Where an agent's API answers.

    Attributes:
        address: `http://host:port` or `https://host:port`, as seen from where Pulumi runs.
        token: ACL token with `service:write` on what is registered; kept as a secret.
        ca_file: PEM file of the authority behind the API's certificate; None: the system's authorities.
        owned: the stack deploys the agent itself: one that is away is missing, and its registrations with it.
    """

    address: pulumi.Input[str]
    token: pulumi.Input[str] | None = field(default=None, repr=False)
    ca_file: str | None = None
    owned: bool = False


class AgentService(Resource, module="consul", name="AgentService"):
    """One service and its checks, registered with an agent."""

    service_id: pulumi.Output[str]
    agent: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        service: Service,
        agent: AgentEndpoint,
        adopt: bool = False,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the registration.

        Args:
            name: of the resource; it is part of the mark by which the resource knows its own, so that neither another
                stack's registration nor another resource's can be taken for it.
            service: what to register.
            agent: with which agent.
            adopt: take over the id where another party registered it, instead of stopping.
            opts: as of every resource.
        """
        mark = stack_owner() + name
        fields = definition(marked(service, mark))
        props = {
            "mark": mark,  # apart from the meta too, which a refresh replaces by what the agent holds
            "agent": agent.address,
            "token": pulumi.Output.secret(agent.token) if agent.token else None,
            "ca_file": agent.ca_file,
            "owned": agent.owned,
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
        agent: the agent that is to check them.
        adopt: take over ids that another party registered.
        moves: run when a service is created, to move it here from another registration of the stack.
    """

    roster: Roster
    agent: AgentEndpoint
    adopt: bool = False
    moves: pulumi.ResourceHookBinding | None = None


class AgentRegistration(pulumi.ComponentResource):
    """Every service of a roster, registered with one agent."""

    services: Mapping[str, AgentService]

    def __init__(self, name: str, args: AgentRegistrationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare one `AgentService` for each service, named after it."""
        super().__init__("consul-staging:registration:AgentRegistration", name, None, opts)
        # What a component depends on, its children do not wait for by themselves.
        child = pulumi.ResourceOptions(
            parent=self,
            depends_on=opts.depends_on if opts else None,
            hooks=args.moves,
        )
        self.services = {
            service.id: AgentService(f"{name}-{service.id}", service, args.agent, args.adopt, child)
            for service in args.roster.services
        }
        self.register_outputs({"service_ids": list(self.services)})


def _told() -> str:
    error = sys.exc_info()[1]
    return str(error) if isinstance(error, ConsulError) else traceback.format_exc()


def _apply(wanted: Props) -> Props:
    """Make the agent and the catalog hold what is wanted; returns it as the resource's new state."""
    consul, service_id = _agent(wanted), wanted["service_id"]
    fields = {**{key: wanted[key] for key in _HELD}, "port": int(wanted["port"])}  # the engine's numbers are floats
    found = held(consul, service_id)
    ours = (wanted["mark"], same_owners_files(wanted["mark"]))  # from its files too, before a stack moved to this
    if found and found["meta"].get(MARK) not in ours and not wanted["adopt"]:
        raise ConsulError(_taken(consul, service_id, found))
    if found != fields:
        consul.register(api({"id": service_id, **fields}))
    _await_catalog(consul, service_id, fields["name"], fields)
    return {**wanted, **fields}


def _taken(consul: Consul, service_id: str, found: Props) -> str:
    owner = found["meta"].get(MARK, "another party, not by Pulumi")
    return (
        f"service id {service_id!r} is already registered with the agent {consul.address} by {owner}, "
        f"at {found['address']}:{found['port']}. Deregister it there, or let this stack take it over: "
        "pulumi config set adopt true"
    )


@lru_cache
def _client(address: str, token: str | None, ca_file: str | None) -> Consul:
    return Consul(address, token, ca_file)


def _agent(props: Props) -> Consul:
    return _client(props["agent"], props.get("token"), props.get("ca_file"))


@lru_cache
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
            if in_step(consul.in_catalog(_node(consul), name, service_id), wanted):
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
