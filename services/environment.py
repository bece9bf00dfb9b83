"""What a stack decides about the services: where they run, and which of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Location(NamedTuple):
    """Where one service runs, if not at its container. None: as its line in services/ says."""

    host: str | None = None
    port: int | None = None


@dataclass(frozen=True)
class Environment:
    """Where the services of a stack run.

    Attributes:
        name: a tag and a meta value of each service.
        host: one address that stands for all container names; None: each service is at its container's name.
        locations: by service id, of services that are elsewhere in this stack.
        left_out: ids of the services that this stack does not have.
    """

    name: str
    host: str | None = None
    locations: Mapping[str, Location] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()
