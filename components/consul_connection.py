"""The address of one of Consul's APIs, with the credentials for it."""

from dataclasses import dataclass, field

import pulumi

from consul_cluster.client import Consul
from consul_cluster.fingerprint import fingerprint


@dataclass(frozen=True)
class Connection:
    """The API of one agent or server.

    Attributes:
        address: `http://host:port` or `https://host:port`, as reached from the machine that runs Pulumi.
        token: ACL token; kept as a secret.
        ca: PEM text of the authority that signed the API's certificate; None: the system's authorities.
    """

    address: str
    token: pulumi.Input[str] | None = field(default=None, repr=False)
    ca: pulumi.Input[str] | None = None

    @property
    def secret_token(self) -> pulumi.Output[str] | None:
        """The token, as a secret."""
        return pulumi.Output.secret(self.token) if self.token is not None else None

    @property
    def token_fingerprint(self) -> pulumi.Output[str] | None:
        """What names the token in a state that outlives it."""
        return self.secret_token.apply(fingerprint) if self.secret_token else None

    @property
    def resources(self) -> pulumi.Output[list[pulumi.Resource]]:
        """What a resource has to depend on whose hook calls the API: those that create the token and the authority.

        With `--parallel 1`, the engine creates nothing else until a hook returns, and the hook would wait for them.
        """
        return pulumi.Output.all(self.token, self.ca).apply(lambda _: [])

    async def consul(self) -> Consul:
        """Return a client for a resource hook. It awaits the token and the authority, which other resources create."""
        token, ca = [await pulumi.Output.from_input(each).future() for each in (self.token, self.ca)]
        return Consul(self.address, token, ca)
