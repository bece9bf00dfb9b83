"""What the platform's services have in common, by the guide's three groups (design, "The roster")."""

from dataclasses import dataclass
from datetime import timedelta

from services.model import Check, HttpCheck, Kind, Service, TcpCheck

VERSION = "v1"
DEREGISTER_AFTER = timedelta(seconds=90)


@dataclass(frozen=True)
class Platform:
    """Builds the services of one environment.

    Attributes:
        environment: becomes a tag and a meta value of each.
        host: one address that stands for all the containers' names; None: each service is at its container's name.
    """

    environment: str
    host: str | None = None

    def user(self, name: str, port: int, interval: timedelta = timedelta(seconds=10)) -> Service:
        """Return a user microservice: `/health` over HTTP, in 5 s."""
        tags = (VERSION, "fastapi", "user-microservice", self.environment)
        return self._service("user", f"{name}_service", port, _http(name, interval), tags, team="user-platform")

    def ai(self, name: str, port: int, interval: timedelta = timedelta(seconds=10)) -> Service:
        """Return a service of the AI platform: `/health` over HTTP, in 5 s."""
        tags = (VERSION, "fastapi", "ai-service", self.environment)
        return self._service("ai", f"{name}_service", port, _http(name, interval), tags, team="ai-platform", type=name)

    def grpc(self, name: str, port: int, role: str, interval: timedelta = timedelta(seconds=30)) -> Service:
        """Return a gRPC infrastructure service, whose port accepts a connection in 3 s. Its role is its last tag."""
        tags = (VERSION, "grpc", "infrastructure", self.environment, role)
        check = TcpCheck(
            id=f"{name}_grpc_service-tcp",
            interval=interval,
            timeout=timedelta(seconds=3),
            deregister_critical_service_after=DEREGISTER_AFTER,
        )
        return self._service("grpc", f"{name}_grpc_service", port, check, tags, team="infrastructure", protocol="grpc")

    def _service(self, kind: Kind, name: str, port: int, check: Check, tags: tuple[str, ...], **meta: str) -> Service:
        container = f"isa-{name.removesuffix('_service').replace('_', '-')}"
        return Service(
            id=name,
            name=name,
            kind=kind,
            container=container,
            host=self.host or container,
            port=port,
            tags=tags,
            meta={"version": VERSION, "environment": self.environment, **meta},
            checks=(check,),
        )


def _http(name: str, interval: timedelta) -> HttpCheck:
    return HttpCheck(
        id=f"{name}_service-health",
        interval=interval,
        timeout=timedelta(seconds=5),
        deregister_critical_service_after=DEREGISTER_AFTER,
    )
