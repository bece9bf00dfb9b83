"""The states of stacks that earlier releases deployed, so that a test sees what today's code would change in them.

A folder a release, named after its commit; a file a stack. Each holds four services, so that it stays small. Secrets
are replaced: passwords are numbers, and private keys say whose they were. How a release adds its own: docs/releases.md.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from services.ai_services import ai_service
from services.environment import Environment
from services.grpc_services import grpc_service
from services.roster import Roster
from services.user_services import USER

_SECRET = "4dabf18193072939515e22adb298388d"  # noqa: S105 - Pulumi's sign of a secret

Fields = dict[str, Any]

_DOCKER = {
    "agentAddress": "http://127.0.0.1:8501",
    "serverAddress": "http://127.0.0.1:8500",
    "network": "created",
    "server": "created",
    "standIns": "true",
    "security": "off",
}
_HTTPS = {"agentAddress": "https://127.0.0.1:8501", "serverAddress": "https://127.0.0.1:8500", "security": "on"}

CONFIGS: Mapping[str, Mapping[str, str]] = {
    "local": {
        "agentAddress": "http://127.0.0.2:8500",
        "serverAddress": "http://127.0.0.1:8500",
        "serviceHost": "127.0.0.3",
        "docker": "false",
    },
    "docker-local-agent": {**_DOCKER, "registration": "agent"},
    "docker-local-catalog": {**_DOCKER, "registration": "catalog"},
    "docker-local-files": {**_DOCKER, "registration": "files"},
    "docker-local-secured": {**_DOCKER, **_HTTPS},
}
"""The config of each stack, by the name of its file."""


def roster(host: str | None = None) -> Roster:
    """Return the services of every state here."""
    where = Environment("staging", host)
    return Roster(
        services=(
            USER.service(where, "account", 8201, interval=timedelta(seconds=10)),
            USER.service(where, "billing", 8216, interval=timedelta(seconds=10)),
            ai_service(where, "mcp", 8081, interval=timedelta(seconds=10)),
            grpc_service(where, "minio", 50051, "storage", interval=timedelta(seconds=30)),
        )
    )


@dataclass(frozen=True)
class DeployedState:
    """The state of one stack as a release left it."""

    file: Path

    def __str__(self) -> str:
        return f"{self.file.parent.name} {self.file.stem}"

    @property
    def stack(self) -> str:
        return "local" if self.file.stem == "local" else "docker-local"

    @property
    def config(self) -> Mapping[str, str]:
        return CONFIGS[self.file.stem]

    @property
    def roster(self) -> Roster:
        return roster(self.config.get("serviceHost"))

    @cached_property
    def resources(self) -> Mapping[str, Fields]:
        """Every resource by URN, with its secrets in plain text, but for those that the engine makes by itself."""
        listed = json.loads(self.file.read_text())["deployment"]["resources"]
        own = [each for each in listed if not each["urn"].split("::")[-2].startswith(("pulumi:prov", "pulumi:pulumi:"))]
        return {each["urn"]: plain(each) for each in own}

    def pickled_providers(self) -> set[bytes]:
        """Return the dynamic providers as the state has them."""
        texts = {each["inputs"].get("__provider") for each in self.resources.values() if each.get("inputs")}
        return {base64.b64decode(text) for text in texts if text}


def plain(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a value of a state or of a request with its secrets in plain text."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    if _SECRET in value:
        return plain(json.loads(value["plaintext"]) if "plaintext" in value else value["value"])
    return {key: plain(each) for key, each in value.items()}


STATES = tuple(DeployedState(file) for file in sorted(Path(__file__).parent.glob("*/*.json")))
