"""The secret of an ACL token, read once when the token is made.

The Consul provider's resource has the token's accessor alone, and its function asks Consul in every preview: the
preview of a pull request must reach no Consul.

The state refers to `AclTokenSecretProvider` by this module's path and its name: neither may ever change.
"""

from typing import Any

import pulumi
from pulumi.dynamic import ConfigureRequest, CreateResult, DiffResult, Resource, ResourceProvider

from cluster.client import Consul
from components.endpoint import Endpoint
from components.provider_errors import send_user_errors_without_traceback

Props = dict[str, Any]


class AclTokenSecretProvider(ResourceProvider):
    """Holds what a token's accessor stands for.

    https://developer.hashicorp.com/consul/api-docs/acl/tokens#read-a-token
    """

    serialize_as_secret_always = False  # it holds nothing at all

    def configure(self, _req: ConfigureRequest) -> None:
        """Send the message of an error without a stack trace."""
        send_user_errors_without_traceback()

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Compare the accessors, and nothing else: how Consul is reached is not what is held.

        Another token's secret is another resource. The engine deletes at the end of a run, at once what nothing else
        that it deletes depends on: were this one changed in place, it would delete the token beside what uses it still.
        """
        another = olds["accessor"] != news["accessor"]
        return DiffResult(changes=another, replaces=["accessor"] if another else [])

    def create(self, props: Props) -> CreateResult:
        """Read the secret."""
        consul = Consul(props["servers"], props["token"], props["ca"])
        return CreateResult(props["accessor"], {**props, "secret": consul.token_secret(props["accessor"])})


class AclTokenSecret(Resource, module="consul", name="AclTokenSecret"):
    """A token's secret.

    Attributes:
        secret: what is sent as `X-Consul-Token`.
    """

    secret: pulumi.Output[str]

    def __init__(
        self, name: str, servers: Endpoint, accessor: pulumi.Input[str], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare it.

        Args:
            name: of the resource.
            servers: their API, with a token that may read tokens (`acl:write`).
            accessor: the token's id.
            opts: as of every resource.
        """
        props = {
            "accessor": accessor,
            "servers": servers.address,
            "token": servers.secret_token,
            "ca": servers.ca,
            "secret": None,
        }
        own = pulumi.ResourceOptions(additional_secret_outputs=["secret", "token"])
        super().__init__(AclTokenSecretProvider(), name, props, pulumi.ResourceOptions.merge(opts, own))
