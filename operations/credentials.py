"""Where the commands get their access token, and the authority behind the certificates of Consul's APIs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from consul_cluster.client import Consul
from errors import UserError
from settings import Settings

Role = Literal["verify", "registration", "removal", "management"]
"""What a command does to a secured Consul: read it, register services, remove what the stack left behind, or all."""


class NotDeployedError(UserError):
    """The stack secures its Consul, and was not deployed yet."""


@dataclass(frozen=True)
class Credentials:
    """What Consul's APIs ask for.

    Attributes:
        token: access token; None: none is sent.
        ca: PEM text of the authority; None: the system's.
    """

    token: str | None = field(repr=False)
    ca: str | None

    def client(self, address: str) -> Consul:
        """Return a client of the API at an address."""
        return Consul(address, self.token, self.ca)


def credentials(
    settings: Settings, given_token: str | None, role: Role, outputs: Callable[[], Mapping[str, Any]]
) -> Credentials:
    """Return the credentials of a command.

    A stack that secures its Consul has token and authority in its outputs, which are read only then.

    Args:
        settings: of the stack.
        given_token: access token that the user gives; it replaces the stack's own.
        role: which of the stack's own tokens is used.
        outputs: gets the outputs of the stack, with secrets in plain text.

    Raises:
        NotDeployedError: the outputs have no tokens.
    """
    if settings.stage == "off":
        return Credentials(given_token, settings.ca)
    made = outputs()
    if "tokens" not in made:
        raise NotDeployedError("the stack has no tokens yet, and its Consul is to ask for them: deploy it")
    return Credentials(given_token or made["tokens"][role], made["ca"])
