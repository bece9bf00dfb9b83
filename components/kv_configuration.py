"""The services' configuration in Consul's KV store: one resource an entry.

`consul.Keys` of the Consul provider writes over an entry that another party has written, and removes it later. Here
each write and each removal is conditional: Consul refuses it if the entry has changed since it was read. The flags of
an entry name the stack that wrote it.
https://www.pulumi.com/registry/packages/consul/api-docs/keys/

The state refers to `KvEntryProvider` by this module's path and the class's name: neither may ever change.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
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
from components.registration.switching import stack_owner_prefix
from components.unanswered_requests import is_still_there
from consul_cluster.client import Consul, ConsulError, KvEntry, NoAnswerError, UnknownTokenError, UntrustedError
from consul_cluster.ownership import kv_flags
from services.configuration_values import has_value

_COMPARED = ("value", "flags", "servers", "token", "removal", "ca", "owned")
_SERVERS_GONE = (NoAnswerError, UnknownTokenError, UntrustedError)
_MAX_SHOWN = 60  # characters of a value, in a message

Props = dict[str, Any]


class KvEntryProvider(ResourceProvider):
    """Keeps one entry of Consul's KV store as the program states it.

    https://developer.hashicorp.com/consul/api-docs/kv
    """

    serialize_as_secret_always = False  # it has no attributes

    def configure(self, _req: ConfigureRequest) -> None:
        """Send the message of an error without a stack trace."""
        send_user_errors_without_traceback()

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Compare the fields. Another key replaces the resource."""
        another = olds["key"] != news["key"]
        changed = another or any(olds.get(name) != news.get(name) for name in _COMPARED)
        return DiffResult(changes=changed, replaces=["key"] if another else [])

    def create(self, props: Props) -> CreateResult:
        """Write the entry, or take over what an interrupted run of the same stack has written."""
        return CreateResult(props["key"], _write(props))

    def update(self, _id: str, olds: Props, news: Props) -> UpdateResult:
        """Change the value in place. `pulumi stack rename` changes the flags."""
        return UpdateResult(_write(news, olds))

    def read(self, id_: str, props: Props) -> ReadResult:
        """Return the value as Consul has it. If Consul does not have the entry, the id is blank."""
        try:
            entry = _consul(props, "removal").kv_entry(id_)
        except _SERVERS_GONE as error:
            if not props["owned"] and not isinstance(error, UnknownTokenError):
                raise
            return ReadResult(id_, props)  # this run makes the servers again, or writes it with another token
        if not entry:
            return ReadResult("", {})
        if has_value(entry.text, props["value"]):
            return ReadResult(id_, props)
        found = {**props, "value": entry.text}
        return ReadResult(id_, found, found)  # as inputs too: a preview compares the stated ones with them

    def delete(self, id_: str, props: Props) -> None:
        """Remove the entry, if nobody but this stack has written it."""
        consul = _consul(props, "removal")
        try:
            entry = consul.kv_entry(id_)
            if entry and entry.flags == int(props["flags"]) and not consul.delete_kv_entry(entry):
                raise _at_the_same_time(consul, id_)
        except _SERVERS_GONE as error:
            if not props["owned"] or is_still_there(error, props["servers"]):
                raise


class KvEntryResource(Resource, module="consul", name="KvEntry"):
    """One entry of Consul's KV store."""

    def __init__(
        self, name: str, key: str, value: str, args: "KvConfigurationArgs", opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare the entry; its value is a text in JSON."""
        removal = pulumi.Output.secret(args.removal) if args.removal is not None else None
        props = {
            "key": key,
            "value": value,
            "flags": str(kv_flags(stack_owner_prefix())),
            "servers": args.servers.address,
            "token": args.servers.secret_token,
            "removal": removal,
            "ca": args.servers.ca,
            "owned": args.owned,
            "adopt": args.adopt,
        }
        super().__init__(KvEntryProvider(), name, props, opts)


@dataclass(frozen=True)
class KvConfigurationArgs:
    """Arguments of a `KvConfiguration`.

    Attributes:
        entries: texts in JSON, by key.
        servers: their API, with a token that has `key:write` on the keys.
        removal: ACL token with `key:write` on any key, for those that the program no longer states; kept as a secret.
        owned: the stack deploys the servers itself: if none answers, this run makes them again.
        adopt: take over keys that another party wrote, instead of failing.
    """

    entries: Mapping[str, str]
    servers: Connection
    removal: pulumi.Input[str] | None = field(default=None, repr=False)
    owned: bool = False
    adopt: bool = False


class KvConfiguration(pulumi.ComponentResource):
    """The values of all services, each one resource."""

    def __init__(self, name: str, args: KvConfigurationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare one entry for each value, named after its key."""
        super().__init__("consul-staging:kv:KvConfiguration", name, None, opts)
        child = child_options(self, opts)
        for key, value in args.entries.items():
            KvEntryResource(f"{name}-{key}", key, value, args, child)
        self.register_outputs({"keys": list(args.entries)})


def _write(stated: Props, before: Props | None = None) -> Props:
    """Write an entry as stated, and return the new state of the resource.

    Raises:
        ConsulError: another party has written the key, or writes it at the same time.
    """
    consul, key = _consul(stated, "token"), stated["key"]
    current = consul.kv_entry(key)
    own = {int(each["flags"]) for each in (stated, before) if each}
    if current and current.flags not in own and not stated["adopt"]:
        if has_value(current.text, stated["value"]):
            return stated  # who wrote it keeps it; there is nothing to change
        raise ConsulError(
            f"KV key {key!r} on {consul.address}: another party wrote {_shown(current.text)}, and this stack states "
            f"{_shown(stated['value'])}. Take it out of services/, or remove it there (`consul kv delete {key}`), or "
            "let this stack take it over: adopt: true in its file, Pulumi.<stack>.yaml"
        )
    wanted = KvEntry(key, stated["value"], int(stated["flags"]), current.index if current else 0)
    if current != wanted and not consul.write_kv_entry(wanted):
        raise _at_the_same_time(consul, key)
    return stated


def _shown(value: str) -> str:
    return value if len(value) <= _MAX_SHOWN else f"{value[:_MAX_SHOWN]}..."


def _at_the_same_time(consul: Consul, key: str) -> ConsulError:
    return ConsulError(f"KV key {key!r} on {consul.address}: another party wrote it at the same time; try again")


def _consul(props: Props, token: str) -> Consul:
    return Consul(props["servers"], props.get(token) or props.get("token"), props.get("ca"))
