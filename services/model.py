"""What is registered: a service, where it listens, and how Consul checks it.

Pure data, validated when it is built. Nothing here knows Pulumi, Docker or a network.
"""

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

from pydantic import AfterValidator, Field, PlainSerializer, ValidationInfo, field_validator

from services.checks import Check, TtlCheck
from services.configuration_values import KvConfiguration
from services.field_types import Frozen, Host, Identifier, Meta, Port, host_and_port


class Weights(Frozen):
    """How often Consul's DNS names an instance, next to others of the same name.

    https://developer.hashicorp.com/consul/docs/services/configuration/services-configuration-reference#weights

    Attributes:
        passing: 1 to 65535.
        warning: 0 to 65535.
    """

    passing: Annotated[int, Field(ge=1, le=65535, strict=True)] = 1
    warning: Annotated[int, Field(ge=0, le=65535, strict=True)] = 1


class TaggedAddress(Frozen):
    """Another address of a service, for clients that ask for it by its tag."""

    address: Host
    port: Port


def _tags(value: tuple[str, ...]) -> tuple[str, ...]:
    for tag, count in Counter(value).items():
        if count > 1:
            raise ValueError(f"{tag!r} is there {count} times: with those of its group, each must be there once")
        if not tag.isprintable():
            raise ValueError(f"{tag!r} has characters that cannot be printed")
    return value


def _tagged_addresses(value: Mapping[str, TaggedAddress]) -> Mapping[str, TaggedAddress]:
    return MappingProxyType(dict(value))


TaggedAddresses = Annotated[
    Mapping[Identifier, TaggedAddress], AfterValidator(_tagged_addresses), PlainSerializer(dict)
]


class Service(Frozen):
    """One service: what Consul shows, and where the agent finds it.

    Attributes:
        id: unique on the agent.
        name: what clients look up. Several instances of one name have an id each.
        kind: the group that it belongs to.
        container: the Docker container that it runs in.
        host: name or address that clients and the agent connect to: the container, unless the stack says otherwise.
        port: 1 to 65535; None: it listens on none, and its checks are TTL checks or name a port.
        tags: by which clients tell instances apart.
        meta: what clients need to know beside it; at most 512 bytes a value.
        checks: at least one.
        weights: for Consul's DNS.
        tagged_addresses: by tag, such as `lan` and `wan`.
        enable_tag_override: other parties may change the tags in the catalog, and they stay as these left them.
        same_address_as: id of the service whose host and port it shares on purpose, such as under its old name.
        configuration: its own values in Consul's KV store, by key without its name (docs/kv-configuration.md).
        line: of its group's file, for messages; None: it stands in none.
    """

    id: Identifier
    name: Identifier
    kind: Identifier
    container: Host
    host: Host
    port: Port | None
    tags: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], AfterValidator(_tags)]
    meta: Meta
    checks: Annotated[tuple[Check, ...], Field(min_length=1)]
    weights: Weights = Weights()
    tagged_addresses: TaggedAddresses = Field(default_factory=lambda: MappingProxyType({}))
    enable_tag_override: bool = False
    same_address_as: Identifier | None = None
    configuration: KvConfiguration = Field(default_factory=lambda: MappingProxyType({}))
    line: int | None = None

    @field_validator("checks")
    @classmethod
    def _named_and_reachable(cls, checks: tuple[Check, ...], info: ValidationInfo) -> tuple[Check, ...]:
        service_id, has_port = info.data.get("id", ""), info.data.get("port", "is malformed") is not None
        for check in checks:
            if not (has_port or isinstance(check, TtlCheck) or check.port):
                raise ValueError(f"the {check.kind} check needs a port: the service has none")
        return tuple(
            check if check.id else check.model_copy(update={"id": f"{service_id}-{check.suffix}"}) for check in checks
        )

    @property
    def place(self) -> str:
        """The file and the line that state it."""
        return f"services/{self.kind}_services.py" + (f", line {self.line}" if self.line else "")

    @property
    def address(self) -> str:
        """`host:port`, as a client would write it."""
        return host_and_port(self.host, self.port)
