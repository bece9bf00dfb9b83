"""The secret of an ACL token, read once after the token was created.

The Consul provider's resource returns only the token's accessor, and the provider's function calls Consul in every
preview. But the preview of a pull request must not call Consul.

The state refers to `AclTokenSecretProvider` by this module's path and the class's name: neither may ever change.
"""

from typing import Any

import pulumi
from pulumi.dynamic import ConfigureRequest, CreateResult, DiffResult, Resource, ResourceProvider

from components.consul_connection import Connection
from components.provider_errors import send_user_errors_without_traceback
from consul_cluster.client import Consul

Props = dict[str, Any]


class AclTokenSecretProvider(ResourceProvider):
    """Reads the secret of the token that an accessor identifies.

    https://developer.hashicorp.com/consul/api-docs/acl/tokens#read-a-token
    """

    serialize_as_secret_always = False  # it has no attributes

    def configure(self, _req: ConfigureRequest) -> None:
        """Send the message of an error without a stack trace."""
        send_user_errors_without_traceback()

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Compare only the accessors: another address or another credential does not change the secret.

        Another accessor replaces the resource. Pulumi deletes an old token after the resources that depend on it: if
        this resource were updated in place, Pulumi could delete the token while other resources still use it.
        """
        another = olds["accessor"] != news["accessor"]
        return DiffResult(changes=another, replaces=["accessor"] if another else [])

    def create(self, props: Props) -> CreateResult:
        """Read the secret. The token with which it is read is in no output: it would stay there after its rotation."""
        kept = {key: value for key, value in props.items() if key != "token"}
        consul = Consul(props["servers"], props["token"], props["ca"])
        return CreateResult(props["accessor"], {**kept, "secret": consul.token_secret(props["accessor"])})


class AclTokenSecret(Resource, module="consul", name="AclTokenSecret"):
    """A token's secret.

    Attributes:
        secret: what is sent as `X-Consul-Token`.
    """

    secret: pulumi.Output[str]

    def __init__(
        self, name: str, servers: Connection, accessor: pulumi.Input[str], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare the secret.

        Args:
            name: of the resource.
            servers: the servers' API, with a token that may read tokens (`acl:write`).
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
        # A state of an earlier release has the token as an output.
        own = pulumi.ResourceOptions(additional_secret_outputs=["secret", "token"])
        super().__init__(AclTokenSecretProvider(), name, props, pulumi.ResourceOptions.merge(opts, own))
