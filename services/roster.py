"""The platform's services (guide, "What Was Created"). To add one, add its line here: nothing else changes."""

import traceback
from collections.abc import Iterator

from pydantic import ValidationError

from services.group import Platform
from services.model import Service
from services.rules import Roster


class RosterError(Exception):
    """An entry below is malformed, or two of them want the same thing: says which line, and what would be right."""


def roster(environment: str = "staging", host: str | None = None) -> Roster:
    """Return the 40 services, checked.

    Args:
        environment: becomes a tag and a meta value of each.
        host: one address that stands for all the containers' names; without it each service is at its container's name.

    Raises:
        RosterError: an entry is malformed, or two of them want the same thing.
    """
    try:
        return Roster(services=_services(Platform(environment, host)))
    except ValidationError as error:
        raise RosterError("\n".join(_told(error))) from None


def _services(platform: Platform) -> tuple[Service, ...]:
    return (
        platform.user("account", 8201),
        platform.user("auth", 8202),
        platform.user("authorization", 8203),
        platform.user("session", 8204),
        platform.user("payment", 8207),
        platform.user("billing", 8216),
        platform.user("product", 8215),
        platform.user("order", 8105),
        platform.user("wallet", 8113),
        platform.user("event", 8101),
        platform.user("audit", 8102),
        platform.user("invitation", 8103),
        platform.user("notification", 8104),
        platform.user("organization", 8106),
        platform.user("ota", 8107),
        platform.user("storage", 8109),
        platform.user("task", 8110),
        platform.user("telemetry", 8111),
        platform.user("vault", 8112),
        platform.user("album", 8114),
        platform.user("calendar", 8115),
        platform.user("compliance", 8116),
        platform.user("location", 8117),
        platform.user("media", 8118),
        platform.user("memory", 8119),
        platform.user("weather", 8221),
        platform.user("device", 8220),
        # The guide counts 28 and lists 27: this is the platform's next one (design, "The roster").
        platform.user("document", 8227),
        platform.ai("mcp", 8081),
        platform.ai("model", 8082),
        platform.ai("agent", 8083),
        platform.grpc("minio", 50051, "storage"),
        platform.grpc("duckdb", 50052, "database"),
        platform.grpc("mqtt", 50053, "messaging"),
        platform.grpc("loki", 50054, "logging"),
        platform.grpc("redis", 50055, "cache"),
        platform.grpc("nats", 50056, "messaging"),
        platform.grpc("postgres", 50061, "database"),
        platform.grpc("qdrant", 50062, "vector-db"),
        platform.grpc("neo4j", 50063, "graph-db"),
    )


def _told(error: ValidationError) -> Iterator[str]:
    line = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == __file__][-1]
    for each in error.errors(include_url=False):
        if each["loc"]:
            field, what = ".".join(map(str, each["loc"])), each["msg"]
            yield f"services/roster.py, line {line}: {field}: {each['input']!r}: {what[0].lower()}{what[1:]}"
        else:  # of two entries, whose message names them
            yield str(each["ctx"]["error"])
