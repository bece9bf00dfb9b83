"""What all services have in common, whichever group they belong to."""

from dataclasses import dataclass
from datetime import timedelta

from services.model import Check, HttpCheck, Kind, Service

VERSION = "v1"
DEREGISTER_AFTER = timedelta(seconds=90)


@dataclass(frozen=True)
class Environment:
    """Where the services of a stack run.

    Attributes:
        name: a tag and a meta value of each service.
        host: one address that stands for all container names; None: each service is at its container's name.
    """

    name: str
    host: str | None = None

    def service(self, kind: Kind, name: str, port: int, check: Check, tags: tuple[str, ...], **meta: str) -> Service:
        """Return a service in its container: `billing_service` runs in `isa-billing`."""
        container = f"isa-{name.removesuffix('_service').replace('_', '-')}"
        return Service(
            id=name,
            name=name,
            kind=kind,
            container=container,
            host=self.host or container,
            port=port,
            tags=tags,
            meta={"version": VERSION, "environment": self.name, **meta},
            checks=(check,),
        )


def http_check(service: str, path: str, interval: timedelta, timeout: timedelta) -> HttpCheck:
    """Return the one HTTP check of a service."""
    return HttpCheck(
        id=f"{service}-health",
        path=path,
        interval=interval,
        timeout=timeout,
        deregister_critical_service_after=DEREGISTER_AFTER,
    )
