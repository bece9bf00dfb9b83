"""The user microservices. To add, change or remove one, edit its line in `user_services`."""

from datetime import timedelta
from functools import partial

from services.checks import HttpCheck
from services.environment import Environment
from services.group import VERSION, Group
from services.model import Service

USER = Group(
    kind="user",
    title="User microservices",
    suffix="_service",
    tags=(VERSION, "fastapi", "user-microservice"),
    meta={"team": "user-platform"},
    check=HttpCheck(path="/health", interval=timedelta(seconds=10), timeout=timedelta(seconds=5)),
)


def user_services(environment: Environment) -> tuple[Service, ...]:
    """Return all user microservices, by name without `_service` and by port."""
    user = partial(USER.service, environment)
    return (
        user("account", 8201),
        user("auth", 8202),
        user("authorization", 8203),
        user("session", 8204),
        user("payment", 8207),
        user("billing", 8216),
        user("product", 8215),
        user("order", 8105),
        user("wallet", 8113),
        user("event", 8101),
        user("audit", 8102),
        user("invitation", 8103),
        user("notification", 8104),
        user("organization", 8106),
        user("ota", 8107),
        user("storage", 8109),
        user("task", 8110),
        user("telemetry", 8111),
        user("vault", 8112),
        user("album", 8114),
        user("calendar", 8115),
        user("compliance", 8116),
        user("location", 8117),
        user("media", 8118),
        user("memory", 8119),
        user("weather", 8221),
        user("device", 8220),
        user("document", 8227),  # completes the platform's 28 user services, of which its own list names 27
    )
