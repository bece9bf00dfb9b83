"""The keys of a secured Consul: gossip key, management token, and a certificate for each of its nodes."""

from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from uuid import UUID

import pulumi
import pulumi_random as random
import pulumi_tls as tls

from cluster.agent_configuration import AGENT_NODE, SERVER_NODE
from cluster.security_stages import certificate_host_names
from components.endpoint import Endpoint
from components.hooks import stash

# A certificate's last month: any `up` within it makes the next one, and `preview` shows that it will.
_AUTHORITY_HOURS, _CERTIFICATE_HOURS, _RENEWAL_HOURS = 10 * 365 * 24, 365 * 24, 30 * 24


@dataclass(frozen=True)
class ClusterKeysArgs:
    """What the keys are for.

    Attributes:
        servers: the servers' API.
        hosts: names and IP addresses at which the APIs are reached, apart from their nodes' names.
    """

    servers: str
    hosts: frozenset[str]

    @property
    def addresses(self) -> list[str]:
        """Those that are IP addresses."""
        return sorted(host for host in self.hosts if _is_address(host))

    @property
    def names(self) -> list[str]:
        """Those that are names."""
        return sorted(host for host in self.hosts if not _is_address(host))


@dataclass(frozen=True)
class Certificate:
    """A node's certificate and its private key, as PEM text."""

    certificate: pulumi.Output[str]
    key: pulumi.Output[str]


class ClusterKeys(pulumi.ComponentResource):
    """Everything secret that a cluster begins with; all of it is made once, and stays until it is replaced.

    Attributes:
        gossip: the key of the cluster's own traffic.
        management: the token that may do everything, which the servers create from their configuration.
        ca: the authority's certificate.
        servers: the servers' API, with the management token.
        certificates: by node.
    """

    gossip: pulumi.Output[str]
    management: pulumi.Output[str]
    ca: pulumi.Output[str]
    servers: Endpoint
    certificates: Mapping[str, Certificate]

    def __init__(self, name: str, args: ClusterKeysArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the keys."""
        super().__init__("consul-staging:security:Keys", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        # Consul wants its tokens to be UUIDs.
        management = random.RandomPassword(
            f"{name}-management",
            length=32,
            lower=False,
            upper=False,
            numeric=False,
            override_special="0123456789abcdef",
            opts=child,
        )
        self.management = management.result.apply(_uuid)
        authority_key = _private_key(f"{name}-authority", child)
        authority = tls.SelfSignedCert(
            f"{name}-authority",
            private_key_pem=authority_key.private_key_pem,
            subject=tls.SelfSignedCertSubjectArgs(common_name=f"Consul of {pulumi.get_project()}"),
            is_ca_certificate=True,
            allowed_uses=["cert_signing", "crl_signing", "digital_signature"],
            validity_period_hours=_AUTHORITY_HOURS,
            opts=child,
        )
        self.ca = authority.cert_pem
        self.servers = Endpoint(args.servers, self.management, self.ca)
        # 32 letters and digits: 190 bits. A RandomBytes has its value in plain text as its id, as a RandomUuid has.
        gossip = random.RandomPassword(f"{name}-gossip", length=32, special=False, opts=child)
        self.gossip = _handed_over(f"{name}-handed-over", gossip.result.apply(_base64), self.servers, child)
        self.certificates = {
            node: _certificate(f"{name}-{node}", node, args, Certificate(self.ca, authority_key.private_key_pem), child)
            for node in (SERVER_NODE, AGENT_NODE)
        }
        self.register_outputs({"ca": self.ca})


def _handed_over(
    name: str, key: pulumi.Output[str], servers: Endpoint, opts: pulumi.ResourceOptions
) -> pulumi.Output[str]:
    """Return a gossip key once the cluster knows it: agents that start with another one could not speak to the rest."""

    async def hand_over(_before: str, after: str) -> None:
        (await servers.consul()).replace_gossip_key(after)

    known: pulumi.Output[str] = stash(name, key, "hand-over-gossip-key", hand_over, opts).input
    return known


def _is_address(host: str) -> bool:
    with suppress(ValueError):
        return bool(ip_address(host))
    return False


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()


def _uuid(digits: str) -> str:
    return str(UUID(digits))


def _private_key(name: str, opts: pulumi.ResourceOptions) -> tls.PrivateKey:
    return tls.PrivateKey(f"{name}-key", algorithm="ECDSA", ecdsa_curve="P256", opts=opts)


def _certificate(
    name: str, node: str, args: ClusterKeysArgs, authority: Certificate, opts: pulumi.ResourceOptions
) -> Certificate:
    key = _private_key(name, opts)
    request = tls.CertRequest(
        f"{name}-request",
        private_key_pem=key.private_key_pem,
        subject=tls.CertRequestSubjectArgs(common_name=certificate_host_names(node)[0]),
        dns_names=list(dict.fromkeys([*certificate_host_names(node), *args.names])),
        ip_addresses=args.addresses,
        opts=opts,
    )
    signed = tls.LocallySignedCert(
        f"{name}-certificate",
        cert_request_pem=request.cert_request_pem,
        ca_private_key_pem=authority.key,
        ca_cert_pem=authority.certificate,
        allowed_uses=["digital_signature", "key_encipherment", "server_auth", "client_auth"],
        validity_period_hours=_CERTIFICATE_HOURS,
        early_renewal_hours=_RENEWAL_HOURS,
        opts=opts,
    )
    return Certificate(signed.cert_pem, key.private_key_pem)
