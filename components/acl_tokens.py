"""The ACL policies and tokens of a secured Consul. Each token has only the rights that it needs."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pulumi
import pulumi_consul as consul

from components.acl_secret import AclTokenSecret
from components.child_options import child_options
from components.consul_connection import Connection
from components.interrupted_creation import remove_policy
from components.resource_hooks import stash
from consul_cluster.acl_rules import Rules
from consul_cluster.client import ConsulError, NoAnswerError
from consul_cluster.cluster_names import STAGING_NAMES
from consul_cluster.fingerprint import fingerprint

_FINGERPRINT = re.compile("[0-9a-f]{64}")  # the states of earlier releases have the token itself


@dataclass(frozen=True)
class AclTokensArgs:
    """Arguments of `AclTokens`.

    Attributes:
        servers: the servers' API, with the management token.
        rules: the rules of each token's policy, by the token's name.
        groups: the rules of the services' own tokens, by group.
        generations: names of the services' tokens that are valid, the newest last. While the services of a group get a
            new one, two are.
        datacenter: of the servers.
    """

    servers: Connection
    rules: Mapping[str, Rules]
    groups: Mapping[str, Rules] = field(default_factory=dict)
    generations: Sequence[str] = ("1",)
    datacenter: str = STAGING_NAMES.datacenter


class AclTokens(pulumi.ComponentResource):
    """A policy and a token for each name, and for each group of services a policy and a token of each generation.

    Attributes:
        tokens: the tokens' secrets, by name.
        service_tokens: the secrets of the services' newest tokens, by group.
    """

    tokens: Mapping[str, pulumi.Output[str]]
    service_tokens: Mapping[str, pulumi.Output[str]]

    def __init__(self, name: str, args: AclTokensArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the provider, the policies and the tokens."""
        super().__init__("consul-staging:security:Acl", name, None, opts)
        own = pulumi.ResourceOptions(parent=self)
        provider = consul_provider(f"{name}-consul", args.servers, args.datacenter, own)
        child = child_options(self, opts, provider)
        _revoke_old_management_token(f"{name}-management", args.servers, child_options(self, opts))
        self.tokens = {}
        for token, rules in args.rules.items():
            policy = _policy(f"{name}-{token}", token, rules, args.servers, child)
            self.tokens[token] = _token(f"{name}-{token}", policy, args.servers, child)
        self.service_tokens = {}
        for group, rules in args.groups.items():
            policy = _policy(f"{name}-services-{group}", f"services-{group}", rules, args.servers, child)
            for generation in args.generations:
                token = f"{name}-services-{group}-{generation}"
                self.service_tokens[group] = _token(token, policy, args.servers, child)
        self.register_outputs({"tokens": list(self.tokens)})


def _revoke_old_management_token(name: str, servers: Connection, opts: pulumi.ResourceOptions) -> None:
    """Declare the resource that deletes a management token when another one replaces it. Consul would keep both."""

    async def revoke(old: str, _new: str) -> None:
        consul = await servers.consul()
        try:
            found = consul.token_with(old if _FINGERPRINT.fullmatch(old) else fingerprint(old))
            if found and found["AccessorID"] != consul.own_accessor():
                consul.delete_token(found["AccessorID"])
        except NoAnswerError as error:  # it would stay valid, and no later run would know of it
            raise ConsulError(f"the old management token is not revoked: {error}") from None

    stash(name, servers.token_fingerprint, "revoke-management-token", revoke, opts)


def consul_provider(name: str, servers: Connection, datacenter: str, opts: pulumi.ResourceOptions) -> consul.Provider:
    """Declare the Consul provider for the servers' API."""
    parts = urlsplit(servers.address)
    return consul.Provider(
        name,
        address=parts.netloc,
        scheme=parts.scheme,
        datacenter=datacenter,
        ca_pem=servers.ca,
        token=servers.secret_token,
        opts=opts,
    )


def _policy(name: str, role: str, rules: Rules, servers: Connection, opts: pulumi.ResourceOptions) -> consul.AclPolicy:
    hooks = pulumi.ResourceHookBinding(before_create=[remove_policy(f"{name}-remove-policy", servers)])
    return consul.AclPolicy(
        f"{name}-policy",
        name=f"{pulumi.get_project()}-{role}",
        rules=json.dumps(rules, indent=2),
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(hooks=hooks)),
    )


def _token(
    name: str, policy: consul.AclPolicy, servers: Connection, opts: pulumi.ResourceOptions
) -> pulumi.Output[str]:
    token = consul.AclToken(f"{name}-token", description=policy.name, policies=[policy.name], opts=opts)
    child = pulumi.ResourceOptions(parent=opts.parent)
    return AclTokenSecret(f"{name}-secret", servers, token.id, child).secret
