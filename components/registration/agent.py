"""Registrations over the agent's own API: the agent runs the checks, and each service is one resource.

The state refers to `AgentServiceProvider` by this module's path and the class's name: neither may ever change. The same
is true of the names of the inputs, such as `mark`, which is the owner.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
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

from components.child_options import child_options
from components.consul_connection import Connection
from components.provider_errors import send_user_errors_without_traceback
from components.registration.switching import UNSETTLED, stack_owner_prefix
from components.unanswered_requests import is_still_there
from consul_cluster.client import (
    NO_SERVERS,
    Consul,
    ConsulError,
    ForbiddenError,
    HiddenError,
    NoAnswerError,
    UnknownTokenError,
    UntrustedError,
)
from consul_cluster.drift import (
    COMPARED_FIELDS,
    OPTIONAL_FIELDS,
    catalog_matches,
    read_service,
    recognize,
    stated_fields,
)
from consul_cluster.ownership import definition_files_owner, with_owner
from docker_engine import OWN_ENGINE, DockerEngine, engine_answers
from services.consul_definition import definition, register_request
from services.field_types import OWNER_KEY, host_and_port
from services.model import Service
from services.roster import Roster

_IDENTITY = ("agent", "service_id")

# Seconds. An agent applies a new policy within a second (`policy_ttl`).
_POLICY_PAUSES = (0.5, 0.5, 1)
# An agent synchronizes a registration with the servers within milliseconds. If they did not answer it, it tries again
# after 15 to 30 s (`Consul.has_synchronized`). Short pauses first, so that a run does not get slower, then long ones,
# so that 40 services do not load the servers.
_CATALOG_PAUSES = (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, *[4] * 6)

# Since when the servers have not shown what was changed with an agent, by its address. This process serves one run: of
# 40 services that they do not show, those that come later do not wait anew.
_unseen_since: dict[str, float] = {}

# What this run has created, by the agent's address and the service's id. A run that fails after it removed a service
# from an agent, to register it with another one, leaves the original in the state as one that is to be deleted. If the
# change is taken back, the next run creates the service anew and then deletes the original.
_created: set[tuple[str, str]] = set()

# Within this time an agent tells the servers of a removal.
_AGENT_SECONDS = 0.5

Props = dict[str, Any]


class AgentServiceProvider(ResourceProvider):
    """Registers one service with a Consul agent as the program states it.

    https://developer.hashicorp.com/consul/api-docs/agent/service
    """

    serialize_as_secret_always = False  # it has no attributes

    def configure(self, _req: ConfigureRequest) -> None:
        """Send the message of an error without a stack trace."""
        send_user_errors_without_traceback()

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Compare the fields. Another agent or another id replaces the resource."""
        same_agent = olds.get("owned") and news.get("owned")  # the stack deploys only one: only its address changed
        changed = [
            key
            for key in (
                *_IDENTITY,
                "token",
                "removal",
                "ca",
                "owned",
                "drained_to",
                "engine",
                UNSETTLED,
                *COMPARED_FIELDS,
                *OPTIONAL_FIELDS,
            )
            if olds.get(key) != news.get(key)
        ]
        return DiffResult(
            changes=bool(changed),
            replaces=[key for key in _IDENTITY if key in changed and not (key == "agent" and same_agent)],
            # Both addresses can be of one agent: deleting last would then delete the new registration.
            delete_before_replace="agent" in changed,
        )

    def create(self, props: Props) -> CreateResult:
        """Register the service, or continue after an interrupted run of the same resource."""
        made = _apply(props)
        _created.add((props["agent"], props["service_id"]))
        return CreateResult(props["service_id"], made)

    def update(self, _id: str, olds: Props, news: Props) -> UpdateResult:
        """Change the service in place. If the agent has it already, send nothing: that would restart the check.

        The agent keeps the token of a registration, and sends the results of the checks to the servers with it.
        Therefore another token registers the service again. `pulumi stack rename` changes the owner.
        """
        return UpdateResult(_apply(news, before=olds))

    def read(self, id_: str, props: Props) -> ReadResult:
        """Return the service as the agent has it. If neither the agent nor the servers have it, the id is blank.

        An agent of the stack's own that does not answer may only be stopped, and has its services when it starts again.
        """
        try:
            current, is_known = _read_on_agent(id_, props)
        except NoAnswerError:
            if not _makes_agent_again(props):
                raise
            return ReadResult(id_, {**props, UNSETTLED: True})
        try:
            drained = _read_drained(props)
        except (NoAnswerError, UnknownTokenError, UntrustedError) as error:
            if not current and (isinstance(error, NoAnswerError) or not _makes_agent_again(props)):
                raise
            drained = None  # the server may have another address by now, or the stack another token, which is written
        if not (found := current or drained):
            return ReadResult(id_, {**props, UNSETTLED: True}) if is_known else ReadResult("", {})
        kept = {key: value for key, value in props.items() if key not in (*OPTIONAL_FIELDS, UNSETTLED)}
        unsettled = {UNSETTLED: True} if drained or _has_lost_servers(_remover(props)) else {}
        seen = {**kept, **recognize(found, stated_fields(props))}
        # As inputs too, where they differ: a preview compares the stated ones with them.
        return ReadResult(id_, {**seen, **unsettled}, None if stated_fields(seen) == stated_fields(props) else seen)

    def delete(self, id_: str, props: Props) -> None:
        """Deregister the service if this resource owns it, and wait until it is gone from the catalog."""
        if (props["agent"], id_) in _created:
            return
        if _read_drained(props):
            _remover(props, "drained_to").deregister(id_)
        consul = _remover(props)
        try:
            current = read_service(consul, id_)
        except NoAnswerError as error:
            if not _makes_agent_again(props):
                raise
            if is_still_there(error, props["agent"], _engine(props)):
                raise ConsulError(f"{id_} stays registered: {error}. Run it again when it answers") from None
            return  # the agent was removed, and the service with it
        if current and current["meta"].get(OWNER_KEY) != props["mark"]:
            return
        if current:
            consul.deregister(id_)
        _await_absence(consul, id_, props)


class AgentService(Resource, module="consul", name="AgentService"):
    """One service and its checks, registered with an agent."""

    service_id: pulumi.Output[str]
    agent: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        service: Service,
        agent: Connection,
        *,
        adopt: bool = False,
        owned: bool = False,
        drained_to: str | None = None,
        removal: pulumi.Input[str] | None = None,
        engine: DockerEngine | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the registration.

        Args:
            name: of the resource. It is part of the owner, so that a registration of another stack or of another
                resource is never taken for this one.
            service: what to register.
            agent: the agent's API.
            adopt: take over an id that another party registered, instead of failing.
            owned: the stack deploys the agent itself: if the agent does not answer, it was removed with its services.
            drained_to: address of the server that checks the service while the agent is replaced, if that server
                outlives the stack.
            removal: ACL token with `service:write` on any name; kept as a secret. When a service is removed, the policy
                that registered it does not name it any more.
            engine: that the agent's container runs in, if it is one of several: an agent that does not answer is taken
                for removed only if its engine answers.
            opts: as of every resource.
        """
        owner = stack_owner_prefix() + name
        fields = definition(with_owner(service, owner))
        props = {
            "mark": owner,  # in addition to the meta, which a refresh replaces by the agent's
            "agent": agent.address,
            "token": agent.secret_token,
            "removal": pulumi.Output.secret(removal) if removal is not None else None,
            "ca": agent.ca,
            "owned": owned,
            "drained_to": drained_to,
            **({"engine": asdict(engine)} if engine else {}),
            "adopt": adopt,
            "service_id": fields.pop("id"),
            **fields,
        }
        super().__init__(AgentServiceProvider(), name, props, opts)


@dataclass(frozen=True)
class AgentRegistrationArgs:
    """Arguments of an `AgentRegistration`.

    Attributes:
        roster: the services.
        agent: the agent's API, with a token that has `service:write` on the services.
        adopt: take over ids that another party registered.
        owned: the stack deploys the agent itself.
        drained_to: address of the server that checks the services while the agent is replaced, if that server outlives
            the stack.
        removal: ACL token that removes services, if the stack creates the policies; kept as a secret.
        engine: that the agent's container runs in, if it is one of several.
        hooks: of each service: they move it from another registration of the stack.
    """

    roster: Roster
    agent: Connection
    adopt: bool = False
    owned: bool = False
    drained_to: str | None = None
    removal: pulumi.Input[str] | None = field(default=None, repr=False)
    engine: DockerEngine | None = None
    hooks: pulumi.ResourceHookBinding | None = None


class AgentRegistration(pulumi.ComponentResource):
    """Every service of a roster, registered with one agent."""

    services: Mapping[str, AgentService]

    def __init__(self, name: str, args: AgentRegistrationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare one `AgentService` for each service, named after it."""
        super().__init__("consul-staging:registration:AgentRegistration", name, None, opts)
        child = pulumi.ResourceOptions.merge(child_options(self, opts), pulumi.ResourceOptions(hooks=args.hooks))
        self.services = {
            service.id: AgentService(
                f"{name}-{service.id}",
                service,
                args.agent,
                adopt=args.adopt,
                owned=args.owned,
                drained_to=args.drained_to,
                removal=args.removal,
                engine=args.engine,
                opts=child,
            )
            for service in args.roster.services
        }
        self.register_outputs({"service_ids": list(self.services)})


def _apply(stated: Props, before: Props | None = None) -> Props:
    """Register a service as stated, wait until the catalog has it, and return the new state of the resource.

    Args:
        stated: the inputs.
        before: the state of the resource; None: it is created.
    """
    consul, service_id = _agent(stated), stated["service_id"]
    fields, current = stated_fields(stated), read_service(consul, service_id)
    # The stack's definition files own the service if the stack has just switched its registration.
    marks = {stated["mark"], *([before["mark"]] if before else [])}
    owners = marks | {definition_files_owner(mark) for mark in marks}
    if current and current["meta"].get(OWNER_KEY) not in owners and not stated["adopt"]:
        raise ConsulError(_conflict(consul, stated, current))
    current = current and recognize(current, fields)
    # With which token the agent keeps a service that no state knows, such as a lost one, it does not show.
    if current != fields or (before or {}).get("token") != stated.get("token"):
        if current == fields and not _on_agents(consul, stated["name"], service_id):
            # The servers have refused it with that token, and the agent tries again only what differs.
            _register(consul, register_request({"id": service_id, **fields, "tags": [*fields["tags"], "tried-again"]}))
        _register(consul, register_request({"id": service_id, **fields}))
    _await_presence(consul, service_id, fields)
    return {**stated, **fields}


def _register(consul: Consul, body: Props) -> None:
    """Register a service. An agent applies a new policy only after its `policy_ttl`: until then it refuses."""
    for pause in _POLICY_PAUSES:
        with suppress(ForbiddenError):
            return consul.register(body)
        time.sleep(pause)
    return consul.register(body)


def _conflict(consul: Consul, stated: Props, current: Props) -> str:
    owner = current["meta"].get(OWNER_KEY, "another party, not by Pulumi")
    at = host_and_port(current["address"], current["port"])
    _, project, stack, _ = stated["mark"].split("/")
    return (
        f"service id {stated['service_id']!r} is already registered with the agent {consul.address} by {owner}, "
        f"at {at}. Deregister it there, or let this stack take it over: {project}:adopt: true in Pulumi.{stack}.yaml"
    )


def _makes_agent_again(props: Props) -> bool:
    """Return whether an agent that does not answer is one that the stack deploys and has no more."""
    return bool(props.get("owned") and (not props.get("engine") or _engine_answers(_engine(props))))


def _engine(props: Props) -> DockerEngine:
    return DockerEngine(**props["engine"]) if props.get("engine") else OWN_ENGINE


@cache
def _engine_answers(engine: DockerEngine) -> bool:
    return engine_answers(engine)


@cache
def _has_lost_servers(agent: Consul) -> bool:
    return agent.has_lost_servers()


@cache
def _client(address: str, token: str | None, ca: str | None) -> Consul:
    return Consul(address, token, ca)


def _agent(props: Props) -> Consul:
    return _client(props["agent"], props.get("token"), props.get("ca"))


def _remover(props: Props, at: str = "agent") -> Consul:
    """Return a client that may read and remove a service, also if the policy for registrations does not name it."""
    return _client(props[at], props.get("removal") or props.get("token"), props.get("ca"))


def _read_on_agent(id_: str, props: Props) -> tuple[Props | None, bool]:
    """Return the service as its agent has it, and whether the servers may show one that the agent does not have."""
    try:
        current = read_service(_remover(props), id_, await_run=True)
        return current, not current and _is_known_by_servers(props)
    except (UnknownTokenError, UntrustedError):
        if not _makes_agent_again(props):
            raise
        return None, False  # this run makes token or authority again, and adopts what the agent has


def _read_drained(props: Props) -> Props | None:
    """Return the service as the server has it, if an interrupted run has drained the agent and has not ended that."""
    drained = read_service(_remover(props, "drained_to"), props["service_id"]) if props.get("drained_to") else None
    return drained if drained and drained["meta"].get(OWNER_KEY) == props["mark"] else None


def _is_known_by_servers(props: Props) -> bool:
    """Return whether the servers may show a service that its agent does not have: it could not tell them of a removal.

    At its next full look at the catalog, an agent removes it there, up to minutes later.
    https://developer.hashicorp.com/consul/docs/architecture/anti-entropy
    """
    try:
        return bool(_owned_on_agents(_remover(props), props))
    except NoAnswerError:
        raise
    except ConsulError:  # no server answers
        return True


def _owned_on_agents(consul: Consul, props: Props) -> list[dict[str, Any]]:
    """Return what the servers hold of a service that a resource owns."""
    entries = _on_agents(consul, props["name"], props["service_id"])
    return [entry for entry in entries if entry["Service"]["Meta"].get(OWNER_KEY) == props["mark"]]


def _await_presence(consul: Consul, service_id: str, stated: Props) -> None:
    """Wait until the catalog has a service as stated: an agent also accepts what the servers then refuse.

    Raises:
        ConsulError: the catalog has it otherwise, or the agent has no servers.
    """

    def is_registered() -> bool:
        return any(catalog_matches(entry, stated) for entry in _on_agents(consul, stated["name"], service_id))

    _await_catalog(
        consul.address,
        is_registered,
        f"the agent {consul.address} accepted the change to {service_id!r}, but the servers do not show it",
    )


def _await_absence(consul: Consul, service_id: str, props: Props) -> None:
    """Wait until the catalog does not have a service of this owner.

    An agent whose own token may not tell the servers leaves it there. Then it is removed there too.

    Raises:
        ConsulError: the catalog still has it, or the agent has no servers.
    """

    def gone() -> bool:
        owned = _owned_on_agents(consul, props)
        if owned and time.monotonic() - started > _AGENT_SECONDS:
            for entry in owned:
                consul.deregister_from_catalog(entry["Node"]["Node"], service_id)
        return not owned

    started = time.monotonic()
    _await_catalog(
        consul.address, gone, f"the agent {consul.address} removed {service_id!r}, but the servers still show it"
    )


def _on_agents(consul: Consul, name: str, service_id: str) -> list[dict[str, Any]]:
    """Return what the servers hold of a service, except on an external node, which is a stack's own.

    `registration: catalog` registers the service there, with the same owner.
    """
    entries = consul.instances(name, service_id)
    return [entry for entry in entries if OWNER_KEY not in (entry["Node"]["Meta"] or {})]


def _await_catalog(agent: str, condition: Callable[[], bool], message: str) -> None:
    refusal: ConsulError | None = None
    patience = sum(_CATALOG_PAUSES)
    since = _unseen_since.setdefault(agent, time.monotonic())
    for pause in _CATALOG_PAUSES:
        time.sleep(pause)
        try:
            if condition():
                _unseen_since.pop(agent, None)
                return
            refusal = None
        except HiddenError:
            raise
        except ConsulError as error:  # an agent that has just started may not have joined yet
            refusal = error
        if time.monotonic() - since >= patience:
            break
    if refusal and NO_SERVERS in str(refusal):
        raise ConsulError(
            f"{refusal}. If that stays so, restart the agent: it then looks for the servers by their names"
        )
    raise refusal or ConsulError(
        f"{message} after {patience:.0f} s: a token may lack service:write, or the agent has lost the "
        "servers; its log says which. The next run completes it"
    )
