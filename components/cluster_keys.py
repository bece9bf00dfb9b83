"""The keys of a secured Consul: gossip key, management token, and a certificate for each of its nodes."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_random as random

from components.certificates import (
    Certificate,
    certified_nodes,
    create_authority,
    create_certificate,
    why_authorities_are_refused,
)
from components.child_options import after
from components.consul_connection import Connection
from components.management_tokens import create_management_token, why_management_tokens_are_refused
from components.resource_hooks import stash, stepwise_stash
from consul_cluster.fingerprint import fingerprint
from docker_hosts import DockerHost


@dataclass(frozen=True)
class ClusterKeysArgs:
    """What the keys are for.

    Attributes:
        servers: address of the servers' API.
        hosts: whose servers and agents get a certificate.
        authorities: names of the authorities that every node trusts. The first one signs the certificates.
        management_tokens: names of the tokens with all rights. The first one is the servers' own.
    """

    servers: str
    hosts: Sequence[DockerHost]
    authorities: Sequence[str] = ("1",)
    management_tokens: Sequence[str] = ("1",)


class ClusterKeys(pulumi.ComponentResource):
    """The secrets that a cluster starts with. Each is created once, and stays until its resource is replaced.

    Attributes:
        gossip: the key that encrypts the traffic between the nodes.
        management: the servers' own token, with all rights.
        management_tokens: all that are valid, that one first.
        ca: the authorities' certificates, as PEM text.
        servers: the servers' API, with the management token.
        certificates: by container.
    """

    gossip: pulumi.Output[str]
    management: pulumi.Output[str]
    management_tokens: Sequence[pulumi.Output[str]]
    ca: pulumi.Output[str]
    servers: Connection
    certificates: Mapping[str, Certificate]

    def __init__(self, name: str, args: ClusterKeysArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the keys."""
        super().__init__("consul-staging:security:Keys", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        known = stepwise_stash(
            f"{name}-management-tokens",
            list(args.management_tokens),
            "managementTokens",
            why_management_tokens_are_refused,
            child,
        )
        self.management_tokens = [
            create_management_token(_of_generation(f"{name}-management", generation), after(child, [known]))
            for generation in args.management_tokens
        ]
        self.management = self.management_tokens[0]
        step = stepwise_stash(
            f"{name}-authorities", list(args.authorities), "authorities", why_authorities_are_refused, child
        )
        authorities = [
            create_authority(_of_generation(f"{name}-authority", generation), after(child, [step]))
            for generation in args.authorities
        ]
        self.ca = pulumi.Output.all(*(each.certificate for each in authorities)).apply("".join)
        self.servers = Connection(args.servers, self.management, self.ca)
        # 32 letters and digits: 190 bits. The id of a RandomBytes or of a RandomUuid is its value, in plain text.
        gossip = random.RandomPassword(f"{name}-gossip", length=32, special=False, opts=child)
        # "handed-over" is in deployed states.
        self.gossip = _distribute(f"{name}-handed-over", gossip.result.apply(_base64), self.servers, child)
        self.certificates = {
            node.container: create_certificate(f"{name}-{node.container}", node, authorities[0], child)
            for node in certified_nodes(args.hosts)
        }
        self.register_outputs({"ca": self.ca})


def _of_generation(name: str, generation: str) -> str:
    """Return the name of a generation's resource; the first one's is in deployed states."""
    return name if generation == "1" else f"{name}-{generation}"


def _distribute(
    name: str, key: pulumi.Output[str], servers: Connection, opts: pulumi.ResourceOptions
) -> pulumi.Output[str]:
    """Return a gossip key once every node has it: an agent that starts with another key cannot join."""

    async def replace(_old: str, _new: str) -> None:
        (await servers.consul()).replace_gossip_key(await key.future() or "")

    own = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=servers.resources))
    distributed = stash(name, key.apply(fingerprint), "replace-gossip-key", replace, own)
    return pulumi.Output.all(key, distributed.input).apply(lambda both: str(both[0]))


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()
