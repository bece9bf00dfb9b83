"""The services of the AI platform. To add, change or remove one, edit its line in `ai_services`."""

from datetime import timedelta
from functools import partial

from services.environment import VERSION, Environment, http_check
from services.model import Service

HEALTH_PATH = "/health"
INTERVAL, TIMEOUT = timedelta(seconds=10), timedelta(seconds=5)


def ai_service(environment: Environment, name: str, port: int, interval: timedelta = INTERVAL) -> Service:
    """Return an AI service, which an HTTP check watches. Its name is also its `type` in the meta."""
    service = f"{name}_service"
    tags = (VERSION, "fastapi", "ai-service", environment.name)
    check = http_check(service, HEALTH_PATH, interval, TIMEOUT)
    return environment.service("ai", service, port, check, tags, team="ai-platform", type=name)


def ai_services(environment: Environment) -> tuple[Service, ...]:
    """Return all AI services, by name without `_service` and by port."""
    ai = partial(ai_service, environment)
    return (
        ai("mcp", 8081),
        ai("model", 8082),
        ai("agent", 8083),
    )
