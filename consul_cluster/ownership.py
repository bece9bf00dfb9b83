"""Ownership: which resource of which stack registered a service.

The owner is kept in the meta of the service, and in the flags of an entry of the KV store. The program never changes
or removes what it does not own.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from services.field_types import OWNER_KEY
from services.model import Service
from services.roster import Roster

DEFINITION_FILES = "definition-files"
"""Stands for the resource's name in the owner of what an agent reads from its definition files."""


def owner_prefix(project: str, stack: str) -> str:
    """Return what the owners of all services of a stack begin with."""
    return f"pulumi/{project}/{stack}/"


def definition_files_owner(owner: str) -> str:
    """Return the owner that the same stack's definition files have."""
    return f"{owner.rpartition('/')[0]}/{DEFINITION_FILES}"


def kv_flags(prefix: str) -> int:
    """Return the flags of the KV entries that a stack wrote. Those that other parties wrote have others, mostly 0.

    https://developer.hashicorp.com/consul/api-docs/kv#flags

    Args:
        prefix: what the stack's owners begin with.
    """
    return int.from_bytes(hashlib.sha256(prefix.encode()).digest()[:6])


def is_owned_by(meta: Mapping[str, str] | None, prefix: str) -> bool:
    """Return whether a service or a node with this meta belongs to a stack. A node's is null where it is empty."""
    return (meta or {}).get(OWNER_KEY, "").startswith(prefix)


def with_owner(service: Service, owner: str) -> Service:
    """Return a service whose meta names its owner."""
    return service.model_copy(update={"meta": {**service.meta, OWNER_KEY: owner}})


def roster_with_owner(roster: Roster, owner: str) -> Roster:
    """Return a roster in which all services have one owner."""
    return Roster(services=tuple(with_owner(service, owner) for service in roster.services))


def without_owner(services: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, int], str]:
    """Return the ids of the registrations without an owner, by their names and ports.

    A service that registers itself may remove, when it starts, what else its agent has of its name and port.

    Args:
        services: what an agent has, by id, in the form of `consul_cluster.drift.read_services`.
    """
    return {
        (found["name"], found["port"]): service_id
        for service_id, found in services.items()
        if OWNER_KEY not in found["meta"]
    }
