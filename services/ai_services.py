"""The services of the AI platform. To add, change or remove one, edit its line in `ai_services`."""

from datetime import timedelta
from functools import partial
from typing import Unpack

from services.checks import HttpCheck
from services.environment import Environment
from services.group import VERSION, Group, Options, refuse_single_values
from services.model import Service

AI = Group(
    kind="ai",
    title="AI services",
    suffix="_service",
    tags=(VERSION, "fastapi", "ai-service"),
    meta={"team": "ai-platform"},
    check=HttpCheck(path="/health", interval=timedelta(seconds=10), timeout=timedelta(seconds=5)),
)


def ai_service(environment: Environment, name: str, port: int | None, **options: Unpack[Options]) -> Service:
    """Return an AI service. Its name is also its `type` in the meta."""
    refuse_single_values(options)
    options["meta"] = {"type": name, **options.get("meta", {})}
    return AI.service(environment, name, port, **options)


def ai_services(environment: Environment) -> tuple[Service, ...]:
    """Return all AI services, by name without `_service` and by port."""
    ai = partial(ai_service, environment)
    return (
        ai("mcp", 8081),
        ai("model", 8082),
        ai("agent", 8083),
    )
