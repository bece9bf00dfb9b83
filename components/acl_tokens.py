"""The ACL policies and tokens of a secured Consul. Each token has only the rights that it needs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pulumi
import pulumi_consul as consul

from components.acl_secret import AclTokenSecret
from components.child_options import child_options
from components.consul_connection import Connection
from components.interrupted_creation import remove_policy
from components.management_tokens import register_management_tokens
from consul_cluster.acl_rules import Rules
from consul_cluster.cluster_names import STAGING_NAMES


@dataclass(frozen=True)
class AclTokensArgs:
    """Arguments of `AclTokens`.

    Attributes:
        servers: the servers' API, with the first management token.
        management: the management tokens that are valid.
        rules: the rules of each token's policy, by the token's name.
        groups: the rules of the services' own tokens, by group.
        generations: names of the services' tokens that are valid, the newest last. While the services of a group get a
            new one, two are.
        datacenter: of the servers.
    """

    servers: Connection
    management: Sequence[pulumi.Output[str]]
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
        register_management_tokens(f"{name}-management", args.management, args.servers, child_options(self, opts))
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
