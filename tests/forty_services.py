"""Forty services of the tests' own, each spelled out as Consul is to show it.

The roster of the project may change in any valid way without a test failing: the tests bring these instead.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from services.ai_services import ai_service
from services.environment import Environment
from services.grpc_services import grpc_service
from services.model import Service
from services.roster import Roster
from services.user_services import USER

# group, name, port, container, and its role or type
_TABLE = """
user account_service        8201  isa-account
user auth_service           8202  isa-auth
user authorization_service  8203  isa-authorization
user session_service        8204  isa-session
user payment_service        8207  isa-payment
user billing_service        8216  isa-billing
user product_service        8215  isa-product
user order_service          8105  isa-order
user wallet_service         8113  isa-wallet
user event_service          8101  isa-event
user audit_service          8102  isa-audit
user invitation_service     8103  isa-invitation
user notification_service   8104  isa-notification
user organization_service   8106  isa-organization
user ota_service            8107  isa-ota
user storage_service        8109  isa-storage
user task_service           8110  isa-task
user telemetry_service      8111  isa-telemetry
user vault_service          8112  isa-vault
user album_service          8114  isa-album
user calendar_service       8115  isa-calendar
user compliance_service     8116  isa-compliance
user location_service       8117  isa-location
user media_service          8118  isa-media
user memory_service         8119  isa-memory
user weather_service        8221  isa-weather
user device_service         8220  isa-device
user document_service       8227  isa-document
ai   mcp_service            8081  isa-mcp            mcp
ai   model_service          8082  isa-model          model
ai   agent_service          8083  isa-agent          agent
grpc minio_grpc_service     50051 isa-minio-grpc     storage
grpc duckdb_grpc_service    50052 isa-duckdb-grpc    database
grpc mqtt_grpc_service      50053 isa-mqtt-grpc      messaging
grpc loki_grpc_service      50054 isa-loki-grpc      logging
grpc redis_grpc_service     50055 isa-redis-grpc     cache
grpc nats_grpc_service      50056 isa-nats-grpc      messaging
grpc postgres_grpc_service  50061 isa-postgres-grpc  database
grpc qdrant_grpc_service    50062 isa-qdrant-grpc    vector-db
grpc neo4j_grpc_service     50063 isa-neo4j-grpc     graph-db
"""


@dataclass(frozen=True)
class Line:
    """One service as Consul shows it in `staging`."""

    kind: str
    name: str
    port: int
    container: str
    role: str

    @property
    def short_name(self) -> str:
        """Its name as in the file of its group."""
        return self.name.removesuffix("_service").removesuffix("_grpc")

    @property
    def tags(self) -> list[str]:
        return {
            "user": ["v1", "fastapi", "user-microservice", "staging"],
            "ai": ["v1", "fastapi", "ai-service", "staging"],
            "grpc": ["v1", "grpc", "infrastructure", "staging", self.role],
        }[self.kind]

    @property
    def meta(self) -> dict[str, str]:
        common = {"version": "v1", "environment": "staging"}
        return {
            "user": {**common, "team": "user-platform"},
            "ai": {**common, "team": "ai-platform", "type": self.role},
            "grpc": {**common, "team": "infrastructure", "protocol": "grpc"},
        }[self.kind]

    @property
    def target(self) -> str:
        """What its check connects to."""
        where = f"{self.container}:{self.port}"
        return where if self.kind == "grpc" else f"http://{where}/health"

    @property
    def check_id(self) -> str:
        return f"{self.name}-tcp" if self.kind == "grpc" else f"{self.name}-health"

    @property
    def interval(self) -> timedelta:
        """Of its check; stated, so that a group of the project may have another one."""
        return timedelta(seconds=30 if self.kind == "grpc" else 10)

    @property
    def check(self) -> dict[str, Any]:
        """Its check in a definition file's spelling, but for its id and notes."""
        if self.kind == "grpc":
            own = {"name": f"{self.name} TCP", "tcp": self.target, "interval": "30s", "timeout": "3s"}
        else:
            own = {"name": f"{self.name} HTTP", "http": self.target, "interval": "10s", "timeout": "5s"}
        return {**own, "deregister_critical_service_after": "1m30s"}


def _line(text: str) -> Line:
    kind, name, port, container, role = (*text.split(), "")[:5]
    return Line(kind, name, int(port), container, role)


FORTY = tuple(_line(text) for text in _TABLE.strip().splitlines())


def forty_roster(
    environment: Environment | None = None,
    host: str | None = None,
    names: Collection[str] = (),
    interval: timedelta | None = None,
) -> Roster:
    """Return the forty services, or those of some names, built as the roster of the project is.

    Args:
        environment: as in `services.roster.load_roster`; None: staging.
        host: of staging, instead of the containers' names.
        names: of the services; all forty if none is given.
        interval: of every check; None: what its line states.
    """
    where = environment or Environment("staging", host)
    lines = [line for line in FORTY if not names or line.name in names]
    return Roster(services=tuple(_service(where, line, interval or line.interval) for line in lines))


def _service(environment: Environment, line: Line, interval: timedelta) -> Service:
    match line.kind:
        case "user":
            return USER.service(environment, line.short_name, line.port, interval=interval)
        case "ai":
            return ai_service(environment, line.short_name, line.port, interval=interval)
    return grpc_service(environment, line.short_name, line.port, line.role, interval=interval)
