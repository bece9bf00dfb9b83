"""What every container of the project has in common."""

from collections.abc import Mapping
from typing import Any

# No container needs any of root's capabilities. https://docs.docker.com/engine/security/
HARDENED: Mapping[str, Any] = {
    "capabilities": {"drops": ["ALL"]},
    "security_opts": ["no-new-privileges=true"],
    "log_driver": "json-file",
    "log_opts": {"max-size": "10m", "max-file": "3"},
}
