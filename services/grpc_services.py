"""The gRPC infrastructure services. To add, change or remove one, edit its line in `grpc_services`."""

from datetime import timedelta
from functools import partial

from services.environment import DEREGISTER_AFTER, VERSION, Environment
from services.model import Service, TcpCheck

INTERVAL, TIMEOUT = timedelta(seconds=30), timedelta(seconds=3)


def grpc_service(environment: Environment, name: str, port: int, role: str, interval: timedelta = INTERVAL) -> Service:
    """Return a gRPC service, which a TCP check watches. Its role, such as `storage`, is its last tag."""
    service = f"{name}_grpc_service"
    tags = (VERSION, "grpc", "infrastructure", environment.name, role)
    check = TcpCheck(
        id=f"{service}-tcp",
        interval=interval,
        timeout=TIMEOUT,
        deregister_critical_service_after=DEREGISTER_AFTER,
    )
    return environment.service("grpc", service, port, check, tags, team="infrastructure", protocol="grpc")


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
