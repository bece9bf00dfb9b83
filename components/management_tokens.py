"""The tokens with all rights. One is the servers' own; a second one can be valid while it replaces the first.

https://developer.hashicorp.com/consul/docs/agent/config/config-files#acl_tokens_initial_management
"""

import re
from collections.abc import Sequence
from uuid import UUID

import pulumi
import pulumi_random as random

from components.consul_connection import Connection
from components.resource_hooks import stash
from consul_cluster.client import Consul, ConsulError, NoAnswerError
from consul_cluster.fingerprint import fingerprint

_FINGERPRINT = re.compile("[0-9a-f]{64}")  # the states of earlier releases have the token itself


def create_management_token(name: str, opts: pulumi.ResourceOptions) -> pulumi.Output[str]:
    """Declare a token with all rights. Consul requires that it is a UUID."""
    digits = random.RandomPassword(
        name, length=32, lower=False, upper=False, numeric=False, override_special="0123456789abcdef", opts=opts
    )
    return digits.result.apply(lambda text: str(UUID(text)))


def why_management_tokens_are_refused(before: Sequence[str], after: Sequence[str]) -> str | None:
    """Return why the servers' own token cannot change like this, and what the tokens can become; None if they can.

    While the servers are replaced one after the other, those that lead may know only the token of before.
    """
    if after[0] in before:
        return None
    return f"the servers would not know the token {after[0]} yet: set it to {[*before, after[0]]} first"


def register_management_tokens(
    name: str, tokens: Sequence[pulumi.Output[str]], servers: Connection, opts: pulumi.ResourceOptions
) -> pulumi.Stash:
    """Declare the resource that creates the tokens, and deletes those that they replace: Consul would keep both.

    It has to depend on the servers.

    Args:
        name: of the resource.
        tokens: all that are valid. The servers create the first one from their configuration.
        servers: the servers' API, with the first token.
        opts: as of every resource.
    """

    async def create_others(consul: Consul) -> None:
        for secret in [await token.future() or "" for token in tokens[1:]]:
            if not consul.token_with(fingerprint(secret)):
                consul.create_management_token(secret)

    async def before_creation(_args: pulumi.ResourceHookArgs) -> None:
        await create_others(await servers.consul())

    async def replace(before: str, after: str) -> None:
        consul = await servers.consul()
        try:
            await create_others(consul)
            known = {each if _FINGERPRINT.fullmatch(each) else fingerprint(each) for each in before.split()}
            for old in sorted(known.difference(after.split())):
                if found := consul.token_with(old):
                    consul.delete_token(found["AccessorID"])
        except NoAnswerError as error:  # the old one would stay valid, and no later run would know of it
            raise ConsulError(f"the management tokens are not replaced: {error}") from None

    hooks = pulumi.ResourceHookBinding(
        before_create=[pulumi.ResourceHook("create-management-tokens", before_creation)] if tokens[1:] else None
    )
    fingerprints = pulumi.Output.all(*tokens).apply(lambda every: " ".join(map(fingerprint, every)))
    own = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(hooks=hooks))
    return stash(name, fingerprints, "replace-management-tokens", replace, own)
