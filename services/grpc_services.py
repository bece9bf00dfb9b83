"""The gRPC infrastructure services. To add, change or remove one, edit its line in `grpc_services`."""

from datetime import timedelta
from functools import partial
from typing import Unpack

from services.checks import TcpCheck
from services.environment import Environment
from services.group import VERSION, Group, Options, refuse_single_values
from services.model import Service

GRPC = Group(
    kind="grpc",
    title="gRPC infrastructure",
    suffix="_grpc_service",
    tags=(VERSION, "grpc", "infrastructure"),
    meta={"team": "infrastructure", "protocol": "grpc"},
    # GrpcCheck, with the same arguments, asks them over gRPC's health protocol.
    check=TcpCheck(interval=timedelta(seconds=30), timeout=timedelta(seconds=3)),
)


def grpc_service(
    environment: Environment, name: str, port: int | None, role: str, **options: Unpack[Options]
) -> Service:
    """Return a gRPC service. Its role, such as `storage`, is a tag."""
    refuse_single_values(options)
    options["tags"] = (role, *options.get("tags", ()))
    return GRPC.service(environment, name, port, **options)


def grpc_services(environment: Environment) -> tuple[Service, ...]:
    """Return all gRPC services, by name without `_grpc_service`, by port and by role."""
    grpc = partial(grpc_service, environment)
    return (
        grpc("minio", 50051, "storage"),
        grpc("duckdb", 50052, "database"),
        grpc("mqtt", 50053, "messaging"),
        grpc("loki", 50054, "logging"),
        grpc("redis", 50055, "cache"),
        grpc("nats", 50056, "messaging"),
        grpc("postgres", 50061, "database"),
        grpc("qdrant", 50062, "vector-db"),
        grpc("neo4j", 50063, "graph-db"),
    )
