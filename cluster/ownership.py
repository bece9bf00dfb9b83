"""The mark in a service's meta: which resource of which stack registered it. What bears no mark of ours is not ours."""

from collections.abc import Mapping

from services.model import OWNER_KEY, Service

DEFINITION_FILES = "definition-files"
"""Stands for a resource's name in the mark of what the agent read from its definition files."""


def owner_prefix(project: str, stack: str) -> str:
    """Return what the marks of all resources of a stack begin with."""
    return f"pulumi/{project}/{stack}/"


def definition_files_owner(mark: str) -> str:
    """Return the mark of the definition files of the stack that another mark is of."""
    return f"{mark.rpartition('/')[0]}/{DEFINITION_FILES}"


def is_owned_by(meta: Mapping[str, str] | None, owned: str) -> bool:
    """Whether a meta has a mark of this owner. The catalog's is null where a service was registered without any."""
    return (meta or {}).get(OWNER_KEY, "").startswith(owned)


def with_owner(service: Service, mark: str) -> Service:
    """Return a service with a mark in its meta."""
    return service.model_copy(update={"meta": {**service.meta, OWNER_KEY: mark}})
