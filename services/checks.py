"""The kinds of checks by which Consul decides whether a service is healthy.

https://developer.hashicorp.com/consul/docs/services/configuration/checks-configuration-reference
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import parse_qsl

from pydantic import AfterValidator, Field, PlainSerializer, model_validator

from services.field_types import Duration, Frozen, Host, Port, identifier

# Consul raises shorter ones without a message.
DEREGISTER_FLOOR = timedelta(minutes=1)
SHORTEST_INTERVAL = timedelta(seconds=1)

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token of RFC 9110
_GRPC_SERVICE = re.compile(r"[A-Za-z0-9_.-]{1,200}")
_PATH = re.compile(r"/[!-~]*")
_SECRET = re.compile(r"auth|cookie|token|secret|passw|credential|api-?_?key|session", re.IGNORECASE)
_NO_SECRETS = (
    "looks secret, and would stand in plain text in state, preview and catalog: let the path answer without it, or use "
    "a TtlCheck, by which the service reports its own health"
)


def _runnable(value: timedelta) -> timedelta:
    if value < SHORTEST_INTERVAL:
        raise ValueError("must be at least 1 second: Consul runs no check more often")
    return value


def _above_floor(value: timedelta) -> timedelta:
    if value < DEREGISTER_FLOOR:
        raise ValueError("must be at least 1 minute: Consul looks no sooner")
    return value


def _path(value: str) -> str:
    if not _PATH.fullmatch(value):
        raise ValueError("must begin with / and have no spaces; a character that is not ASCII is written as %XX")
    for name, _ in parse_qsl(value.partition("?")[2].partition("#")[0], keep_blank_values=True):
        if _SECRET.search(name):
            raise ValueError(f"parameter {name!r} {_NO_SECRETS}")
    return value


def _grpc_service(value: str) -> str:
    if not _GRPC_SERVICE.fullmatch(value):
        raise ValueError("must be 1 to 200 of the characters A-Z a-z 0-9 - _ .")
    return value


def _header(value: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    for name, texts in value.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of an HTTP header")
        if _SECRET.search(name):
            raise ValueError(f"{name!r} {_NO_SECRETS}")
        if any(not text.isprintable() for text in texts):
            raise ValueError(f"a value of {name!r} has characters that cannot be printed")
    return MappingProxyType(dict(value))


Id = Annotated[str, AfterValidator(lambda value: value and identifier(value))]
Count = Annotated[int, Field(ge=0, le=1000, strict=True)]
Header = Annotated[Mapping[str, tuple[str, ...]], AfterValidator(_header), PlainSerializer(dict)]
Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class _Check(Frozen):
    """What every check has.

    Attributes:
        id: unique on the agent, because Consul keys checks by it. Blank: the service's id with the kind of check.
        name: that the UI shows. Blank: the service's name with the kind of check.
        deregister_critical_service_after: time in critical after which Consul removes the service; at least 1 minute.
            None: it is never removed.
    """

    id: Id = ""
    name: str = ""
    deregister_critical_service_after: Annotated[Duration, AfterValidator(_above_floor)] | None = timedelta(seconds=90)

    def _passes_in_time(self, first_pass: timedelta) -> None:
        """Refuse what Consul would remove while it is still well: each check begins in critical."""
        removal = self.deregister_critical_service_after
        if removal is not None and first_pass > removal:
            raise ValueError(
                f"a check begins in critical, and this one can take {first_pass.total_seconds():g} s until it passes: "
                f"Consul would remove the service after {removal.total_seconds():g} s. State "
                "deregister_critical_service_after=None, or a longer time"
            )


class _RunByAgent(_Check):
    """What every check has that the agent runs.

    Attributes:
        interval: between the end of one run and the start of the next; at least 1 second.
        timeout: of one run.
        port: that it connects to. None: the service's own.
        success_before_passing: runs in a row that have to pass before the check does; 0 and 1 are the same.
        failures_before_warning: runs in a row that have to fail before the check is in warning. None: it never is.
        failures_before_critical: runs in a row that have to fail before the check is critical; 0 and 1 are the same.
        use_tls: encrypts the connection: https, `grpc_use_tls`, `tcp_use_tls`.
        tls_server_name: that the certificate has to be for. None: the host's.
        tls_skip_verify: takes any certificate. Consul knows the system's authorities, and its own only with
            `enable_agent_tls_for_checks`.
    """

    interval: Annotated[Duration, AfterValidator(_runnable)] = timedelta(seconds=10)
    timeout: Duration = timedelta(seconds=5)
    port: Port | None = None
    success_before_passing: Count = 0
    failures_before_warning: Count | None = None
    failures_before_critical: Count = 0
    use_tls: bool = False
    tls_server_name: Host | None = None
    tls_skip_verify: bool = False

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if (self.tls_server_name or self.tls_skip_verify) and not self.use_tls:
            raise ValueError("tls_server_name and tls_skip_verify are for use_tls=True")
        if (self.failures_before_warning or 0) > self.failures_before_critical:
            raise ValueError("failures_before_warning must be at most failures_before_critical")
        self._passes_in_time(max(1, self.success_before_passing) * self.interval)
        return self

    @property
    def reports_within(self) -> timedelta:
        """Within which time a change of the service changes the check's status."""
        runs = max(1, self.success_before_passing, self.failures_before_critical)
        return runs * (self.interval + self.timeout)


class HttpCheck(_RunByAgent):
    """Passes when a request is answered by 2xx; 429 is a warning.

    Attributes:
        path: of the request, with a query if need be.
        method: of the request.
        header: of the request: values by name. A secret does not belong here: it would stand in plain text everywhere.
        body: of the request.
    """

    suffix: ClassVar[str] = "health"
    kind: Literal["http"] = "http"
    path: Annotated[str, AfterValidator(_path)] = "/health"
    method: Method = "GET"
    header: Header = Field(default_factory=lambda: MappingProxyType({}))
    body: str = ""


class TcpCheck(_RunByAgent):
    """Passes when the host and port accept a connection."""

    suffix: ClassVar[str] = "tcp"
    kind: Literal["tcp"] = "tcp"


class GrpcCheck(_RunByAgent):
    """Passes when a server's gRPC health protocol answers SERVING.

    https://github.com/grpc/grpc/blob/master/doc/health-checking.md

    Attributes:
        service: the gRPC service that is asked for, such as `storage.v1.Objects`. None: the whole server.
    """

    suffix: ClassVar[str] = "grpc"
    kind: Literal["grpc"] = "grpc"
    service: Annotated[str, AfterValidator(_grpc_service)] | None = None


class TtlCheck(_Check):
    """Passes while the service itself reports, with `PUT /v1/agent/check/pass/<id>` to the agent, that it is well.

    https://developer.hashicorp.com/consul/api-docs/agent/check#ttl-check-pass

    Attributes:
        ttl: time after a report at which the check turns critical.
    """

    suffix: ClassVar[str] = "ttl"
    kind: Literal["ttl"] = "ttl"
    ttl: Annotated[Duration, AfterValidator(_runnable)] = timedelta(seconds=30)

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        self._passes_in_time(self.ttl)
        return self

    @property
    def reports_within(self) -> timedelta:
        """Within which time a change of the service changes the check's status."""
        return self.ttl


Check = Annotated[HttpCheck | TcpCheck | GrpcCheck | TtlCheck, Field(discriminator="kind")]
