import base64
from collections.abc import Iterator
from functools import cache
from uuid import UUID

import pulumi
import pytest

from components.cluster_keys import ClusterKeys, ClusterKeysArgs
from consul_cluster.cluster_names import STAGING_NAMES
from consul_cluster.fingerprint import fingerprint
from docker_hosts import single_host
from tests.fake_consul import FakeConsul, running
from tests.unit.pulumi_mocks import Deployed, deploy, made_password, secret

SERVER = "https://127.0.0.1:8500"
HOST = single_host(STAGING_NAMES, "10.0.0.5", None, "https://10.0.0.5:8500", creates_server=True)
TYPE = "consul-staging:security:Keys"
COMPONENT = f"urn:pulumi:test::consul-staging::pulumi:pulumi:Stack${TYPE}::keys"
NODES = ("staging-consul", "consul-agent-shared")
MANAGEMENT = str(UUID(made_password("keys-management")))
GOSSIP = base64.b64encode(made_password("keys-gossip").encode()).decode()

# Parts of URNs: another one would replace a key that is in use.
BYTES = "random:index/randomPassword:RandomPassword"
PRIVATE_KEY = "tls:index/privateKey:PrivateKey"
AUTHORITY = "tls:index/selfSignedCert:SelfSignedCert"
REQUEST = "tls:index/certRequest:CertRequest"
CERTIFICATE = "tls:index/locallySignedCert:LocallySignedCert"
STASH = "pulumi:index:Stash"
REFUSE = "refuse-keys-authorities"

every_node = pytest.mark.parametrize("node", NODES)


def keys(servers: str = SERVER, name: str = "keys", opts: pulumi.ResourceOptions | None = None) -> Deployed:
    """Deploy the component; what it has is exported."""

    def program() -> None:
        made = ClusterKeys(name, ClusterKeysArgs(servers, [HOST]), opts)
        pulumi.export("gossip", made.gossip)
        pulumi.export("management", made.management)
        pulumi.export("ca", made.ca)
        for node, own in made.certificates.items():
            pulumi.export(node, {"certificate": own.certificate, "key": own.key})

    return deploy(program)


@cache
def made() -> Deployed:
    return keys()


# What is declared


def test_it_is_a_component_two_random_values_an_authority_and_a_certificate_for_each_node() -> None:
    assert {name: request.type for name, request in made().requests.items()} == {
        "keys": TYPE,
        "keys-management": BYTES,
        "keys-gossip": BYTES,
        "keys-handed-over": STASH,
        "keys-authorities": STASH,
        "keys-management-tokens": STASH,
        "keys-authority-key": PRIVATE_KEY,
        "keys-authority": AUTHORITY,
        "keys-staging-consul-key": PRIVATE_KEY,
        "keys-staging-consul-request": REQUEST,
        "keys-staging-consul-certificate": CERTIFICATE,
        "keys-consul-agent-shared-key": PRIVATE_KEY,
        "keys-consul-agent-shared-request": REQUEST,
        "keys-consul-agent-shared-certificate": CERTIFICATE,
    }


def test_all_else_is_the_components_child() -> None:
    assert {request.parent for name, request in made().requests.items() if name != "keys"} == {COMPONENT}


def test_the_component_registers_the_authoritys_certificate_alone_as_its_output() -> None:
    assert made().outputs[COMPONENT] == {"ca": "certificate keys-authority"}


def test_another_name_for_the_component_is_another_name_for_each_resource() -> None:
    names = {name.replace("keys", "other", 1) for name in made().requests}
    assert set(keys(name="other").requests) == names


def test_protect_reaches_every_resource() -> None:
    found = keys(opts=pulumi.ResourceOptions(protect=True))
    assert {name for name, request in found.requests.items() if request.protect} == set(found.requests)


def test_what_is_made_waits_for_what_it_is_made_of_and_for_nothing_else() -> None:
    certificate = "keys-staging-consul-certificate"
    assert {name: made().waits_for(name) for name in made().requests if "agent" not in name} == {
        "keys": set(),
        "keys-management-tokens": set(),
        "keys-management": {"keys-management-tokens"},
        "keys-gossip": set(),
        "keys-handed-over": {"keys-gossip", "keys-management", "keys-authority"},
        "keys-authorities": set(),
        "keys-authority-key": {"keys-authorities"},
        "keys-authority": {"keys-authorities", "keys-authority-key"},
        "keys-staging-consul-key": set(),
        "keys-staging-consul-request": {"keys-staging-consul-key"},
        certificate: {"keys-authority", "keys-authority-key", "keys-staging-consul-request"},
    }


# The authorities


def trusting(*authorities: str) -> Deployed:
    def program() -> None:
        pulumi.export("ca", ClusterKeys("keys", ClusterKeysArgs(SERVER, [HOST], authorities)).ca)

    return deploy(program)


def test_every_node_trusts_all_authorities_and_the_first_one_signs() -> None:
    found = trusting("2", "1")
    assert found.sent_exports["ca"] == "certificate keys-authority-2certificate keys-authority"
    signers = {name: found.inputs(f"keys-{name}-certificate")["caCertPem"] for name in NODES}
    assert signers == dict.fromkeys(NODES, "certificate keys-authority-2")


@pytest.mark.parametrize(
    ("before", "after", "first"),
    [
        (["1"], ["2"], ["1", "2"]),
        (["1"], ["2", "1"], ["1", "2"]),
        (["1", "2"], ["2"], ["2", "1"]),
        (["1", "2"], ["3"], ["1", "2", "3"]),
    ],
)
def test_authorities_that_nodes_do_not_trust_yet_or_still_need_are_refused_in_a_preview_too(
    before: list[str], after: list[str], first: list[str]
) -> None:
    assert REFUSE in made().previewed
    assert made().call(REFUSE, {"input": before}, input=after) == (
        f"Pulumi.stack.yaml: authorities: nodes that have the certificates of {after} would not trust those that still "
        f"have the ones of {before}: set it to {first} first"
    )


@pytest.mark.parametrize(
    ("before", "after"), [(["1"], ["1", "2"]), (["1", "2"], ["2", "1"]), (["2", "1"], ["2"]), (["2", "1"], ["1", "2"])]
)
def test_each_step_of_a_replacement_of_the_authority_is_taken_and_can_be_taken_back(
    before: list[str], after: list[str]
) -> None:
    assert made().call(REFUSE, {"input": before}, input=after) == ""


# The random values


def test_the_gossip_key_is_made_of_32_letters_and_digits() -> None:
    assert made().inputs("keys-gossip") == {"length": 32, "special": False}


def test_the_management_token_is_made_of_32_hexadecimal_digits() -> None:
    assert made().inputs("keys-management") == {
        "length": 32,
        "lower": False,
        "upper": False,
        "numeric": False,
        "overrideSpecial": "0123456789abcdef",
    }


def test_the_management_token_is_a_uuid_made_of_its_digits_and_a_secret() -> None:
    # Consul takes no other; a RandomUuid would have it as its id, in plain text.
    assert made().sent_exports["management"] == secret(MANAGEMENT)


def test_the_gossip_key_is_32_bytes_in_base64_and_a_secret() -> None:
    assert made().sent_exports["gossip"] == secret(GOSSIP)
    assert len(base64.b64decode(GOSSIP)) == 32


# The certificates' names


def test_a_certificate_names_the_hosts_at_which_the_apis_are_reached() -> None:
    host = single_host(
        STAGING_NAMES, "::1", "https://consul.example:8501", "https://localhost:8500", creates_server=True
    )
    found = deploy(lambda: ClusterKeys("keys", ClusterKeysArgs(SERVER, [host]))).inputs("keys-staging-consul-request")
    assert found["dnsNames"] == ["server.dc1.consul", "staging-consul", "localhost", "consul.example"]
    assert found["ipAddresses"] == ["127.0.0.1", "::1"]


# The authority


def test_the_authority_is_exactly_this() -> None:
    assert made().sent("keys-authority") == {
        "privateKeyPem": secret("private keys-authority-key"),
        "subject": {"commonName": "Consul of consul-staging"},
        "isCaCertificate": True,
        "allowedUses": ["cert_signing", "crl_signing", "digital_signature"],
        "validityPeriodHours": 87600,
    }


def test_the_authoritys_certificate_is_no_secret() -> None:
    assert made().sent_exports["ca"] == "certificate keys-authority"


# The certificates


@pytest.mark.parametrize("name", ["authority", *NODES])
def test_a_private_key_is_exactly_this(name: str) -> None:
    assert made().inputs(f"keys-{name}-key") == {"algorithm": "ECDSA", "ecdsaCurve": "P256"}


@pytest.mark.parametrize(
    ("node", "names"),
    [
        ("staging-consul", ["server.dc1.consul", "staging-consul", "localhost"]),
        ("consul-agent-shared", ["client.dc1.consul", "consul-agent-shared", "localhost"]),
    ],
)
def test_a_certificate_is_requested_for_exactly_these_names_and_addresses(node: str, names: list[str]) -> None:
    assert made().sent(f"keys-{node}-request") == {
        "privateKeyPem": secret(f"private keys-{node}-key"),
        "subject": {"commonName": names[0]},
        "dnsNames": names,
        "ipAddresses": ["10.0.0.5", "127.0.0.1"],
    }


@every_node
def test_a_certificate_is_signed_exactly_so(node: str) -> None:
    assert made().sent(f"keys-{node}-certificate") == {
        "certRequestPem": f"request keys-{node}-request",
        "caPrivateKeyPem": secret("private keys-authority-key"),
        "caCertPem": "certificate keys-authority",
        "allowedUses": ["digital_signature", "key_encipherment", "server_auth", "client_auth"],
        "validityPeriodHours": 8760,
        "earlyRenewalHours": 720,
    }


@every_node
def test_a_nodes_certificate_comes_with_its_own_private_key_as_a_secret(node: str) -> None:
    assert made().sent_exports[node] == {
        "certificate": f"certificate keys-{node}-certificate",
        "key": secret(f"private keys-{node}-key"),
    }


# Another gossip key, while the cluster runs


@pytest.fixture(name="servers")
def _servers() -> Iterator[FakeConsul]:
    with running(FakeConsul()) as consul:
        yield consul


HOOK = "replace-gossip-key"


def handed_over(address: str) -> str:
    """What is said when the engine is about to update the key that the cluster has."""
    return keys(address).call(HOOK, {"input": secret(fingerprint("before"))}, input=secret(fingerprint(GOSSIP)))


def test_the_state_knows_by_its_fingerprint_which_key_was_handed_over() -> None:
    # The first one would stay there for good, after its rotation too.
    assert made().sent("keys-handed-over") == {"input": secret(fingerprint(GOSSIP))}


def test_a_key_is_handed_over_before_it_is_another_and_not_when_it_is_the_first() -> None:
    bound = {name: made().bound(name) for name in made().requests}
    assert {name: hooks for name, hooks in bound.items() if hooks} == {
        "keys-handed-over": {"before_update": [HOOK]},
        "keys-authorities": {"before_update": [REFUSE]},
        "keys-management-tokens": {"before_update": ["refuse-keys-management-tokens"]},
    }


def test_a_new_key_is_installed_and_then_used(servers: FakeConsul) -> None:
    # The other way round, no member would know the key that it is to send with.
    assert handed_over(servers.address) == ""
    assert servers.wrote == [
        ("consul", "POST /v1/operator/keyring", {"Key": GOSSIP}),
        ("consul", "/v1/operator/keyring", {"Key": GOSSIP}),
    ]


def test_a_new_key_is_sent_to_the_servers_with_the_management_token(servers: FakeConsul) -> None:
    handed_over(servers.address)
    assert servers.tokens == {MANAGEMENT}


@pytest.mark.usefixtures("_no_pauses")
def test_where_nobody_answers_a_new_key_is_handed_to_nobody() -> None:
    # The nodes start with it.
    assert handed_over("http://127.0.0.1:9") == ""


def test_servers_that_refuse_a_new_key_stop_the_change_with_consuls_own_words_and_use_none(
    servers: FakeConsul,
) -> None:
    servers.refuses_next = [(403, "Permission denied")]
    assert handed_over(servers.address) == (
        f"POST {servers.address}/v1/operator/keyring: Consul answers 403: Permission denied"
    )
    assert servers.wrote == []
