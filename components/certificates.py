"""The certificate authority of a cluster, and the certificates of its nodes.

https://developer.hashicorp.com/consul/docs/security/encryption/tls
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address

import pulumi
import pulumi_tls as tls

from docker_hosts import DockerHost

# Every `up` in a certificate's last month renews it, and `preview` shows that.
_AUTHORITY_HOURS, _CERTIFICATE_HOURS, _RENEWAL_HOURS = 10 * 365 * 24, 365 * 24, 30 * 24


@dataclass(frozen=True)
class Certificate:
    """A certificate and its private key, as PEM text."""

    certificate: pulumi.Output[str]
    key: pulumi.Output[str]


@dataclass(frozen=True)
class CertifiedNode:
    """A node that gets a certificate.

    Attributes:
        container: its name on the Docker network.
        host_names: that the certificate contains. The first is the one that `verify_server_hostname` requires.
            https://developer.hashicorp.com/consul/docs/security/encryption/tls
        reached_at: more names and IP addresses at which its API is reached.
    """

    container: str
    host_names: list[str]
    reached_at: frozenset[str]


def certified_nodes(hosts: Sequence[DockerHost]) -> Sequence[CertifiedNode]:
    """Return the server and the agent of each host. A certificate names its own host alone: one more changes none."""
    servers = [
        _certified("server", host, host.names.server_container, host.names.server_node)
        for host in hosts
        if host.server_address
    ]
    agents = [_certified("client", host, host.names.agent_container, host.names.agent_node) for host in hosts]
    return [*servers, *agents]


def _certified(role: str, host: DockerHost, container: str, node: str) -> CertifiedNode:
    required = f"{role}.{host.names.datacenter}.consul"
    own_names = list(dict.fromkeys([required, container, node, "localhost"]))
    return CertifiedNode(container, own_names, host.reached_at)


def why_authorities_are_refused(before: Sequence[str], after: Sequence[str]) -> str | None:
    """Return why the authorities of running nodes cannot change like this, and what they can become; None if they can.

    Nodes are replaced one after the other. Meanwhile each has to trust the authority that signs for the others.
    https://developer.hashicorp.com/consul/docs/security/encryption/tls/rotate
    """
    old, new = before[0], after[0]
    if new in before and old in after:
        return None
    step = [*before, new] if new not in before else [new, *(each for each in before if each != new)]
    return (
        f"nodes that have the certificates of {list(after)} would not trust those that still have the ones of "
        f"{list(before)}: set it to {step} first"
    )


def create_authority(name: str, opts: pulumi.ResourceOptions) -> Certificate:
    """Declare an authority, valid for ten years."""
    key = _private_key(name, opts)
    authority = tls.SelfSignedCert(
        name,
        private_key_pem=key.private_key_pem,
        subject=tls.SelfSignedCertSubjectArgs(common_name=f"Consul of {pulumi.get_project()}"),
        is_ca_certificate=True,
        allowed_uses=["cert_signing", "crl_signing", "digital_signature"],
        validity_period_hours=_AUTHORITY_HOURS,
        opts=opts,
    )
    return Certificate(authority.cert_pem, key.private_key_pem)


def create_certificate(
    name: str, node: CertifiedNode, authority: Certificate, opts: pulumi.ResourceOptions
) -> Certificate:
    """Declare a node's certificate, valid for a year.

    Args:
        name: what the names of the resources begin with.
        node: whose it is.
        authority: signs the certificate.
        opts: as of every resource.
    """
    key, own_names = _private_key(name, opts), node.host_names
    addresses = sorted(host for host in node.reached_at if _is_address(host))
    request = tls.CertRequest(
        f"{name}-request",
        private_key_pem=key.private_key_pem,
        subject=tls.CertRequestSubjectArgs(common_name=own_names[0]),
        dns_names=list(dict.fromkeys([*own_names, *sorted(node.reached_at.difference(addresses))])),
        ip_addresses=addresses,
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


def _private_key(name: str, opts: pulumi.ResourceOptions) -> tls.PrivateKey:
    return tls.PrivateKey(f"{name}-key", algorithm="ECDSA", ecdsa_curve="P256", opts=opts)


def _is_address(host: str) -> bool:
    with suppress(ValueError):
        return bool(ip_address(host))
    return False
