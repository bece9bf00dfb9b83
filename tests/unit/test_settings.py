import json
import re
from pathlib import Path
from typing import Any

import pulumi
import pytest
import trustme
import yaml
from pydantic import ValidationError

import settings
import settings_reference
from consul_cluster.cluster_names import STAGING_NAMES, ClusterNames
from docker_hosts import DockerHost, Publish
from services.environment import Location
from settings import Settings, SettingsError, load
from settings_reference import descriptions
from tests.unit.authorities import AUTHORITY, AUTHORITY_FILE
from tests.unit.pulumi_mocks import deploy

ROOT = Path(__file__).parents[2]
LEAST = {"agentAddress": "http://127.0.0.1:8501", "serverAddress": "http://127.0.0.1:8500"}
TOKEN = "5c1b2b5e-consul-acl-token"  # noqa: S105 - no real one
GOSSIP_KEY = "b25lLWdvc3NpcC1rZXktb2YtMzItYnl0ZXMtaW4tYWw="


SECURED = {
    "agentAddress": "https://127.0.0.1:8501",
    "serverAddress": "https://127.0.0.1:8500",
    "server": "created",
    "security": "on",
}


def of(**config: str) -> Settings:
    return load({**LEAST, **config}, "Pulumi.test.yaml")


def refusal(config: dict[str, Any]) -> str:
    with pytest.raises(SettingsError) as caught:
        load(config, "Pulumi.test.yaml")
    return str(caught.value)


# Each key


def test_the_agents_address_is_kept() -> None:
    assert of(agentAddress="https://consul.example:8501", docker="false").agent_address == "https://consul.example:8501"


def test_the_servers_address_is_kept() -> None:
    assert of(serverAddress="https://consul.example:8500").server_address == "https://consul.example:8500"


@pytest.mark.parametrize("address", ["http://[::1]:8501", "http://consul-agent-shared:8501", "http://127.0.0.1:1"])
def test_an_address_of_any_host_is_accepted(address: str) -> None:
    assert of(agentAddress=address).agent_address == address


@pytest.mark.parametrize("key", ["agentAddress", "serverAddress"])
def test_a_slash_that_ends_an_address_is_dropped(key: str) -> None:
    # Paths are appended to it.
    found = of(**{key: "http://127.0.0.1:8555/"})
    assert "http://127.0.0.1:8555" in (found.agent_address, found.server_address)


def test_a_token_is_kept() -> None:
    assert of(agentToken=TOKEN).agent_token == TOKEN


def test_the_authority_is_what_its_file_has() -> None:
    assert of(agentCaFile=str(AUTHORITY_FILE)).ca == AUTHORITY


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_of_an_authority_with_a_comment_in_other_letters_the_certificate_is_taken(
    tmp_path: Path, encoding: str
) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes("# für das System\n".encode(encoding) + AUTHORITY_FILE.read_bytes())
    assert of(agentCaFile=str(file)).ca == AUTHORITY


@pytest.mark.parametrize(
    "content", [b"", b"no certificate", b"\x30\x82\x01\x0a\x02\x82", b"-----BEGIN CERTIFICATE-----\nMIIB\n"]
)
def test_a_file_without_a_certificate_in_pem_form_is_refused_with_what_makes_one(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "ca.der"
    file.write_bytes(content)
    assert refusal({**LEAST, "agentCaFile": str(file)}) == (
        f"Pulumi.test.yaml: agentCaFile: '{file}' must have a certificate in PEM form, which it has not: "
        f"openssl x509 -in {file} -inform der -out ca.pem makes one of a DER file"
    )


@pytest.mark.parametrize("environment", ["production", "eu-1", "x" * 63])
def test_an_environment_is_kept(environment: str) -> None:
    assert of(environment=environment).environment == environment


@pytest.mark.parametrize("host", ["127.0.0.3", "::1", "docker.example"])
def test_a_service_host_is_kept(host: str) -> None:
    assert of(serviceHost=host).service_host == host


@pytest.mark.parametrize(("text", "meant"), [("true", True), ("false", False)])
def test_adopt_is_the_boolean_that_pulumi_writes_as_text(text: str, meant: bool) -> None:
    assert of(adopt=text).adopt is meant


@pytest.mark.parametrize("registration", ["agent", "catalog", "files"])
def test_a_way_to_register_is_kept(registration: str) -> None:
    assert of(registration=registration).registration == registration


@pytest.mark.parametrize(("key", "field"), [("docker", "docker"), ("standIns", "stand_ins")])
@pytest.mark.parametrize(("text", "meant"), [("true", True), ("false", False)])
def test_docker_and_stand_ins_are_booleans_that_pulumi_writes_as_text(
    key: str, field: str, text: str, meant: bool
) -> None:
    assert getattr(of(**{key: text}), field) is meant


@pytest.mark.parametrize("key", ["network", "server"])
@pytest.mark.parametrize("provided", ["created", "existing"])
def test_the_network_and_the_server_are_created_or_exist(key: str, provided: str) -> None:
    assert getattr(of(**{key: provided}, security="off"), key) == provided


@pytest.mark.parametrize(
    "image",
    [
        "hashicorp/consul:1.18.0",
        "consul:1.15.4",
        "my_mirror/consul:1.17.2",
        "registry.example:5000/mirror/hashicorp/consul:1.17.2",
        "hashicorp/consul:1.17.2-ubi_1",
        "hashicorp/consul:latest-1.17",
        f"hashicorp/consul:1.17.2@sha256:{'0a' * 32}",
    ],
)
def test_an_image_with_an_exact_tag_is_kept(image: str) -> None:
    assert of(consulImage=image).consul_image == image
    assert of(esmImage=image).esm_image == image


@pytest.mark.parametrize("node", ["platform-external", "external_1", "x" * 63])
def test_an_external_node_is_kept(node: str) -> None:
    assert of(registration="catalog", externalNode=node).external_node == node


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.5", "::1"])
def test_an_address_to_publish_on_is_kept(address: str) -> None:
    assert of(publishOn=address).publish_on == address


def test_an_address_to_publish_on_is_written_in_its_shortest_form() -> None:
    # Two ways to write one address must be no change of a container.
    assert of(publishOn="0:0:0:0:0:0:0:1").publish_on == "::1"


# The node that the services are registered on


@pytest.mark.parametrize(
    ("registration", "node"),
    [("agent", "consul-agent-shared"), ("files", "consul-agent-shared"), ("catalog", "platform-external")],
)
def test_the_services_are_registered_on_the_agents_node_or_on_the_external_one(registration: str, node: str) -> None:
    assert of(registration=registration, externalNode="platform-external").node == node


# Where the nodes are published


def host(**config: str) -> DockerHost:
    """The one host of a stack that names none and creates its server."""
    [found] = of(**{"server": "created", "security": "off", **config}).docker_hosts
    return found


def test_the_agent_is_published_on_loopback_at_the_port_of_its_address() -> None:
    assert host(agentAddress="http://consul.example:8555").agent_publish == Publish("127.0.0.1", 8555)


def test_the_server_is_published_on_loopback_at_the_port_of_its_address() -> None:
    assert host(**{**SECURED, "serverAddress": "https://consul.example:8556"}).server_publish == Publish(
        "127.0.0.1", 8556, https=True
    )


def test_an_agent_with_an_https_address_is_published_as_https() -> None:
    assert host(**SECURED).agent_publish == Publish("127.0.0.1", 8501, https=True)


def test_an_agent_without_an_address_is_not_published() -> None:
    assert host(registration="files", agentAddress="").agent_publish is None


def test_both_are_published_on_the_address_that_the_stack_gives() -> None:
    found = host(publishOn="10.0.0.5")
    assert (found.agent_publish, found.server_publish) == (Publish("10.0.0.5", 8501), Publish("10.0.0.5", 8500))


# What is not set


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("registration", "agent"),
        ("agent_token", None),
        ("agent_ca_file", None),
        ("environment", "staging"),
        ("service_host", None),
        ("adopt", False),
        ("docker", True),
        ("sandbox", False),
        ("network", "existing"),
        ("server", "existing"),
        ("stand_ins", False),
        ("consul_image", "hashicorp/consul:1.17.2"),
        ("esm_image", "hashicorp/consul-esm:0.9.0"),
        ("external_node", "staging-external"),
        ("templates", None),
        ("consul_template_image", "hashicorp/consul-template:0.41.1"),
        ("security", None),
        ("publish_on", "127.0.0.1"),
        ("kv_configuration", False),
    ],
)
def test_a_key_that_is_left_out_has_its_default(field: str, value: object) -> None:
    assert getattr(of(), field) == value


@pytest.mark.parametrize(
    ("key", "field"),
    [
        ("agentAddress", "agent_address"),
        ("agentToken", "agent_token"),
        ("agentCaFile", "agent_ca_file"),
        ("serviceHost", "service_host"),
        ("templates", "templates"),
        ("security", "security"),
    ],
)
def test_an_empty_text_is_not_set(key: str, field: str) -> None:
    # Pulumi cannot declare a key without a default as optional.
    assert getattr(of(registration="files", **{key: ""}), field) is None


def test_registration_files_needs_no_address_of_the_agents() -> None:
    assert load({"registration": "files", "serverAddress": "http://127.0.0.1:8500"}, "").agent_address is None


def test_the_projects_file_gives_every_key_its_default() -> None:
    declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    given = {key: str(what["default"]).lower() for key, what in declared.items() if "default" in what}
    assert load({**given, **LEAST}, "Pulumi.test.yaml") == of()


def test_the_projects_file_describes_todays_settings() -> None:
    assert settings_reference.PROJECT.read_text() == settings_reference.project(), "run `make docs`"


def test_the_page_of_the_configuration_describes_todays_settings() -> None:
    assert settings_reference.PAGE.read_text() == settings_reference.page(), "run `make docs`"


def test_every_setting_is_described() -> None:
    described = {key for key, text in descriptions().items() if text.endswith(".")}
    assert described == {field.alias for field in Settings.model_fields.values()}


@pytest.mark.parametrize("written", ["[1, 2]", '["1", "2"]'])
def test_the_generations_of_the_services_tokens_are_names(written: str) -> None:
    assert of(tokenGenerations=written).token_generations == ("1", "2")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="Instance is frozen"):
        of().environment = "production"  # type: ignore[misc]


def test_a_cluster_has_the_guides_names_unless_the_stack_says_otherwise() -> None:
    assert of().names == STAGING_NAMES
    own = {"datacenter": "east", "agentNode": "agent-node", "serverNode": "server-node", "networkName": "backend"}
    assert of(**own).names == ClusterNames("east", "agent-node", "agent-node", "server-node", "server-node", "backend")
    named = of(**own, agentContainer="agent.1", serverContainer="server.1").names
    assert (named.agent_container, named.server_container) == ("agent.1", "server.1")


def test_a_stack_says_which_services_it_has_and_where() -> None:
    places = {"a": "10.0.0.7:9216", "b": ":9217", "c": "isa-c", "d": "[::1]:80"}
    found = of(leaveOut='["weather_service"]', locations=json.dumps(places), serviceHost="127.0.0.3").services
    assert found.left_out == {"weather_service"}
    assert found.host == "127.0.0.3"
    assert found.locations == {
        "a": Location("10.0.0.7", 9216),
        "b": Location(None, 9217),
        "c": Location("isa-c", None),
        "d": Location("::1", 80),
    }


# What is wrong

URL = "must be http://HOST:PORT or https://HOST:PORT, and nothing else"
NO_HOST = "is neither a host name nor an IP address"
NO_INTERFACE = "is every interface, not a host: give the address that clients connect to"
NAME = "must be 1 to 63 letters, digits and dashes"
BOOLEAN = "must be true or false"
PROVIDED = "input should be 'created' or 'existing'"
EXACT_TAG = "must be an image with an exact tag, such as hashicorp/consul:1.17.2, and not latest"
DIGEST = "0a" * 32
INTERFACE = "must be an IP address of the Docker host, such as 127.0.0.1"
KEYS = (
    "datacenter, agentNode, agentContainer, serverNode, serverContainer, networkName, "
    "registration, agentAddress, agentToken, agentCaFile, nodeToken, gossipKey, clusterCaFile, agentCertificateFile, "
    "agentCertificateKey, serverAddress, environment, serviceHost, locations, "
    "leaveOut, adopt, docker, sandbox, network, server, standIns, consulImage, esmImage, externalNode, templates, "
    "consulTemplateImage, security, tokenGenerations, authorities, managementTokens, publishOn, kvConfiguration, "
    "hosts, monitoring, prometheusAddress, prometheusImage, consulExporterImage"
)
GENERATIONS = "must be one name or more, each once, such as [1, 2]"
REGISTRATION = "input should be 'agent', 'catalog' or 'files'"
STAGE = "input should be 'off', 'accepted', 'sent' or 'on'"
IDENTIFIER = "must be 1 to 63 of the characters A-Z a-z 0-9 - _"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("datacenter", "dc.1", "'dc.1' must be 1 to 63 of the characters A-Z a-z 0-9 - _"),
        ("agentNode", "a b", "'a b' must be 1 to 63 of the characters A-Z a-z 0-9 - _"),
        ("agentNode", "Staging-Consul", "'Staging-Consul' must be another name than the server's"),
        ("agentContainer", "staging-consul", "'staging-consul' must be another name than the server's"),
        (
            "networkName",
            "-net",
            "'-net' must be 2 to 63 of the characters A-Z a-z 0-9 - _ . and begin with none of - _ .",
        ),
        ("leaveOut", "billing_service", "'billing_service': must be a list"),
        ("leaveOut", '["a b"]', "'a b' must be 1 to 63 of the characters A-Z a-z 0-9 - _"),
        ("locations", "[]", "must be a map"),
        ("tokenGenerations", "1", "must be a list"),
        ("locations", '{"a": ""}', "'' must be HOST:PORT, HOST or :PORT, such as 10.0.0.7:8216"),
        ("locations", '{"a": ":0"}', "':0' must be HOST:PORT, HOST or :PORT, such as 10.0.0.7:8216"),
        ("locations", '{"a": ":65536"}', "':65536' must be HOST:PORT, HOST or :PORT, such as 10.0.0.7:8216"),
        ("locations", '{"a": "b:c:1"}', "'b:c:1' must be HOST:PORT, HOST or :PORT, such as 10.0.0.7:8216"),
        ("locations", '{"a": "10.0.0.300:1"}', f"'10.0.0.300' {NO_HOST}"),
        ("serverAddress", "", f"'' {URL}"),
        ("agentAddress", "127.0.0.1:8501", f"'127.0.0.1:8501' {URL}"),
        ("agentAddress", "consul", f"'consul' {URL}"),
        ("agentAddress", "ftp://127.0.0.1:8501", f"'ftp://127.0.0.1:8501' {URL}"),
        ("agentAddress", "http://127.0.0.1", f"'http://127.0.0.1' {URL}"),
        ("agentAddress", "http://:8501", f"'http://:8501' {URL}"),
        ("agentAddress", "http://127.0.0.1:0", f"'http://127.0.0.1:0' {URL}"),
        ("agentAddress", "http://127.0.0.1:65536", f"'http://127.0.0.1:65536' {URL}"),
        ("agentAddress", "http://127.0.0.1:08501", f"'http://127.0.0.1:08501' {URL}"),
        ("agentAddress", "http://127.0.0.1:http", f"'http://127.0.0.1:http' {URL}"),
        ("agentAddress", "http://127.0.0.1:8501/v1", f"'http://127.0.0.1:8501/v1' {URL}"),
        ("agentAddress", "http://127.0.0.1:8501?dc=dc1", f"'http://127.0.0.1:8501?dc=dc1' {URL}"),
        ("agentAddress", "http://127.0.0.1:8501#top", f"'http://127.0.0.1:8501#top' {URL}"),
        ("agentAddress", " http://127.0.0.1:8501", f"' http://127.0.0.1:8501' {URL}"),
        ("agentAddress", "http://127.0.0.1:8501\n", f"'http://127.0.0.1:8501\\n' {URL}"),
        (
            "agentAddress",
            "http://me:pw@127.0.0.1:8501",
            "must be http://HOST:PORT or https://HOST:PORT, without a user or password",
        ),
        ("serverAddress", "http://127.0.0.1", f"'http://127.0.0.1' {URL}"),
        ("serverAddress", "http://\u212a:8500", f"'http://\u212a:8500' {URL}"),  # a K of Kelvin, small k for urlsplit
        ("agentCaFile", "/nowhere/ca.pem", "'/nowhere/ca.pem' must be a PEM file that exists where Pulumi runs"),
        ("agentCaFile", "/", "'/' must be a PEM file that exists where Pulumi runs"),
        ("agentCaFile", "x" * 5000, f"'{'x' * 5000}' must be a PEM file that exists where Pulumi runs"),
        ("tokenGenerations", "[]", f"[] {GENERATIONS}"),
        ("tokenGenerations", "[1, 1]", f"['1', '1'] {GENERATIONS}"),
        ("tokenGenerations", '["a b"]', "'a b' must be 1 to 63 of the characters A-Z a-z 0-9 - _"),
        ("gossipKey", "c2hvcnQ=", "must be 16, 24 or 32 bytes in base64, as `consul keygen` prints them"),
        ("gossipKey", f"{GOSSIP_KEY[:-1]}!", "must be 16, 24 or 32 bytes in base64, as `consul keygen` prints them"),
        ("clusterCaFile", "/nowhere/ca.pem", "'/nowhere/ca.pem' must be a PEM file that exists where Pulumi runs"),
        ("environment", "", f"'' {NAME}"),
        ("environment", "a b", f"'a b' {NAME}"),
        ("environment", "stag_ing", f"'stag_ing' {NAME}"),
        ("environment", "staging\n", f"'staging\\n' {NAME}"),
        ("environment", "x" * 64, f"'{'x' * 64}' {NAME}"),
        ("serviceHost", "0.0.0.0", f"'0.0.0.0' {NO_INTERFACE}"),  # noqa: S104 - refused
        ("serviceHost", "::", f"'::' {NO_INTERFACE}"),
        ("serviceHost", "10.0.0.300", f"'10.0.0.300' {NO_HOST}"),
        ("serviceHost", "a b", f"'a b' {NO_HOST}"),
        ("serviceHost", "http://127.0.0.3", f"'http://127.0.0.3' {NO_HOST}"),
        ("registration", "api", f"'api': {REGISTRATION}"),
        ("registration", "Catalog", f"'Catalog': {REGISTRATION}"),
        ("registration", "", f"'': {REGISTRATION}"),
        ("adopt", "maybe", "'maybe': must be true or false"),
        ("adopt", "", "'': must be true or false"),
        ("docker", "maybe", f"'maybe': {BOOLEAN}"),
        ("docker", "", f"'': {BOOLEAN}"),
        ("standIns", "maybe", f"'maybe': {BOOLEAN}"),
        ("network", "maybe", f"'maybe': {PROVIDED}"),
        ("network", "", f"'': {PROVIDED}"),
        ("network", "true", f"'true': {PROVIDED}"),
        ("network", "Created", f"'Created': {PROVIDED}"),
        ("server", "maybe", f"'maybe': {PROVIDED}"),
        ("server", "", f"'': {PROVIDED}"),
        ("consulImage", "", f"'' {EXACT_TAG}"),
        ("consulImage", "hashicorp/consul", f"'hashicorp/consul' {EXACT_TAG}"),
        ("consulImage", "hashicorp/consul:", f"'hashicorp/consul:' {EXACT_TAG}"),
        ("consulImage", "hashicorp/consul:latest", f"'hashicorp/consul:latest' {EXACT_TAG}"),
        ("consulImage", ":1.17.2", f"':1.17.2' {EXACT_TAG}"),
        ("consulImage", "registry.example:5000/consul", f"'registry.example:5000/consul' {EXACT_TAG}"),
        ("consulImage", "hashicorp/consul:1.17 2", f"'hashicorp/consul:1.17 2' {EXACT_TAG}"),
        ("consulImage", "Hashicorp/consul:1.17.2", f"'Hashicorp/consul:1.17.2' {EXACT_TAG}"),
        ("consulImage", "hashicorp/consul:-1", f"'hashicorp/consul:-1' {EXACT_TAG}"),
        ("consulImage", f"hashicorp/consul@sha256:{DIGEST}", f"'hashicorp/consul@sha256:{DIGEST}' {EXACT_TAG}"),
        (
            "consulImage",
            f"hashicorp/consul:latest@sha256:{DIGEST}",
            f"'hashicorp/consul:latest@sha256:{DIGEST}' {EXACT_TAG}",
        ),
        ("consulImage", "hashicorp/consul:1.17.2@sha256:0a", f"'hashicorp/consul:1.17.2@sha256:0a' {EXACT_TAG}"),
        ("consulImage", "hashicorp/consul:1.17.2\n", f"'hashicorp/consul:1.17.2\\n' {EXACT_TAG}"),
        ("esmImage", "", f"'' {EXACT_TAG}"),
        ("esmImage", "hashicorp/consul-esm", f"'hashicorp/consul-esm' {EXACT_TAG}"),
        ("esmImage", "hashicorp/consul-esm:latest", f"'hashicorp/consul-esm:latest' {EXACT_TAG}"),
        ("externalNode", "", f"'' {IDENTIFIER}"),
        ("externalNode", "a b", f"'a b' {IDENTIFIER}"),
        ("externalNode", "a.b", f"'a.b' {IDENTIFIER}"),
        ("externalNode", "x" * 64, f"'{'x' * 64}' {IDENTIFIER}"),
        ("publishOn", "", f"'' {INTERFACE}"),
        ("publishOn", "eth0", f"'eth0' {INTERFACE}"),
        ("publishOn", "localhost", f"'localhost' {INTERFACE}"),
        ("publishOn", "10.0.0.300", f"'10.0.0.300' {INTERFACE}"),
        ("publishOn", "127.0.0.1:8500", f"'127.0.0.1:8500' {INTERFACE}"),
        ("publishOn", "127.0.0.0/8", f"'127.0.0.0/8' {INTERFACE}"),
        ("publishOn", " 127.0.0.1", f"' 127.0.0.1' {INTERFACE}"),
        ("publishOn", "http://127.0.0.1", f"'http://127.0.0.1' {INTERFACE}"),
        ("security", "maybe", f"'maybe': {STAGE}"),
        ("security", "On", f"'On': {STAGE}"),
        ("security", "yes", f"'yes': {STAGE}"),
        ("publishOn", "fe80::1%a b", f"'fe80::1%a b' {INTERFACE}"),
        ("agentAdress", "http://127.0.0.1:8501", "is no key of this project: agentAddress is"),
        ("agent_token", TOKEN, "is no key of this project: agentToken is"),
        ("colour", "red", f"is no key of this project: the keys are {KEYS}"),
    ],
)
def test_a_wrong_value_is_named_with_its_file_and_key_and_what_would_be_right(key: str, value: str, said: str) -> None:
    assert refusal({**LEAST, key: value}) == f"Pulumi.test.yaml: {key}: {said}"


@pytest.mark.parametrize(
    "image",
    [
        *("hashicorp/consul:latest:1.17.2", "hashicorp//consul:1.17.2"),
        *("registry.example:５/consul:1.17.2", "registry..example/consul:1.17.2", "-/consul:1.17.2"),  # noqa: RUF001
        *("hashicorp/consul_-_esm:1.17.2", f"hashicorp/consul:{'1' * 129}"),
    ],
)
def test_an_image_that_docker_cannot_name_is_refused(image: str) -> None:
    assert refusal({**LEAST, "consulImage": image}) == f"Pulumi.test.yaml: consulImage: {image!r} {EXACT_TAG}"


@pytest.mark.parametrize(
    ("key", "shown"),
    [("a\nb", r"a\nb"), ("\x1b[31m", r"\x1b[31m"), ("\u202e", r"\u202e"), ("\ud800", r"\ud800"), ("", "''")],
)
def test_a_key_that_cannot_be_printed_is_named_in_plain_letters(key: str, shown: str) -> None:
    assert refusal({**LEAST, key: "x"}) == f"Pulumi.test.yaml: {shown}: is no key of this project: the keys are {KEYS}"


def test_a_key_that_is_missing_is_named_with_the_command_that_sets_it() -> None:
    assert refusal({"agentAddress": "http://127.0.0.1:8501"}) == (
        "Pulumi.test.yaml: serverAddress: is missing: add `serverAddress: VALUE` to its config"
    )


def test_every_mistake_has_a_line_of_its_own() -> None:
    assert refusal({"agentAddress": "consul", "environment": "a b", "adopt": "maybe", "hots": "x"}).splitlines() == [
        f"Pulumi.test.yaml: agentAddress: 'consul' {URL}",
        "Pulumi.test.yaml: serverAddress: is missing: add `serverAddress: VALUE` to its config",
        f"Pulumi.test.yaml: environment: 'a b' {NAME}",
        "Pulumi.test.yaml: adopt: 'maybe': must be true or false",
        "Pulumi.test.yaml: hots: is no key of this project: hosts is",
    ]


@pytest.mark.parametrize("namespace", ["consul-stagin", "Consul-staging", "consul_staging"])
def test_a_key_of_a_project_that_is_spelled_almost_like_this_one_is_refused(namespace: str, tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.test.yaml"
    file.write_text(f"config: {{'{namespace}:adopt': true, 'docker:host': 'ssh://a', 'consul:address': 'b:1'}}")
    with pytest.raises(SettingsError) as refused:
        settings.of_file(file, "consul-staging")
    assert str(refused.value) == (
        f"Pulumi.test.yaml: {namespace}:adopt: must begin with consul-staging:, as each setting of this project"
    )


def test_a_mistake_is_printed_without_a_traceback() -> None:
    # Pulumi prints a RunError's message alone.
    assert issubclass(SettingsError, pulumi.RunError)


@pytest.mark.parametrize(
    "address",
    [
        *("http://a b:8501", "http://10.0.0.300:8501", "http://-x:8501"),
        *("http://[::1:8501", "http://[zz]:8501", "http://a\u2100:8501"),  # urlsplit refuses them
        *("http://[::1]x:8501", "http://x[::1]:8501"),  # urlsplit drops the x
    ],
)
def test_an_address_whose_host_is_none_is_named_with_what_would_be_right(address: str) -> None:
    assert refusal({**LEAST, "agentAddress": address}) == f"Pulumi.test.yaml: agentAddress: {address!r} {URL}"


# Keys that do not fit together


@pytest.mark.parametrize(
    ("address", "config"),
    [
        ("agentAddress", {}),
        ("agentAddress", {"security": "off"}),
        ("agentAddress", {"server": "created", "security": "off"}),
        ("agentAddress", {"registration": "catalog"}),
        ("agentAddress", {"registration": "files"}),
        ("serverAddress", {"server": "created", "security": "off"}),
    ],
    ids=str,
)
def test_an_agent_or_a_server_that_the_stack_deploys_without_security_has_no_tls(
    address: str, config: dict[str, str]
) -> None:
    assert refusal({**LEAST, address: SECURED[address], **config}) == (
        f"Pulumi.test.yaml: {address}: {SECURED[address]!r} must be http with security off: "
        "what this stack deploys has no TLS then"
    )


def test_a_created_server_needs_another_port_than_the_agent() -> None:
    assert refusal({**LEAST, "server": "created", "serverAddress": "http://127.0.0.1:8501"}) == (
        "Pulumi.test.yaml: serverAddress: must have another port than agentAddress: both are published on publishOn"
    )


def misfit(**config: str) -> str:
    """What is said of a config beside the server's address, without the file's name."""
    file, _, said = refusal({"serverAddress": "http://127.0.0.1:8500", **config}).partition(": ")
    assert file == "Pulumi.test.yaml"
    return said


@pytest.mark.parametrize("address", [{}, {"agentAddress": ""}], ids=["missing", "empty"])
@pytest.mark.parametrize("docker", ["true", "false"])
@pytest.mark.parametrize("registration", ["agent", "catalog"])
def test_the_other_ways_to_register_need_the_agents_address(
    registration: str, address: dict[str, str], docker: str
) -> None:
    assert misfit(registration=registration, docker=docker, **address) == (
        f"agentAddress: is missing: registration {registration} needs the agent's API, such as http://127.0.0.1:8501; "
        "where it cannot be reached from here, set registration: files"
    )


AGENT = LEAST["agentAddress"]


SANDBOX = {
    "agentAddress": "http://127.0.0.2:8500",
    "serverAddress": "http://127.0.0.1:8500",
    "serviceHost": "127.0.0.3",
    "docker": "false",
    "sandbox": "true",
}


@pytest.mark.parametrize("host", ["127.0.0.3", "::1"])
def test_a_sandbox_is_on_loopback_addresses(host: str) -> None:
    assert load({**SANDBOX, "serviceHost": host}, "Pulumi.test.yaml").sandbox


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"docker": "true"}, "docker: must be false with sandbox: Consul and the stand-ins are processes"),
        (
            {"agentAddress": "http://127.0.0.2:8501"},
            "agentAddress: 'http://127.0.0.2:8501' must be http://127.X.Y.Z:8500 with sandbox: Consul's own port, ",
        ),
        (
            {"serverAddress": "http://consul.example:8500"},
            "serverAddress: 'http://consul.example:8500' must be http://127.X.Y.Z:8500 with sandbox: Consul's own ",
        ),
        (
            {"serverAddress": "http://127.0.0.2:8500"},
            "serverAddress: must be another address than agentAddress with sandbox: both use Consul's own ports",
        ),
        ({"serviceHost": ""}, "serviceHost: None must be a loopback address with sandbox, such as 127.0.0.3"),
        (
            {"serviceHost": "10.0.0.3"},
            "serviceHost: '10.0.0.3' must be a loopback address with sandbox, such as 127.0.0.3",
        ),
    ],
)
def test_a_sandbox_elsewhere_is_refused(config: dict[str, str], message: str) -> None:
    assert refusal({**SANDBOX, **config}).startswith(f"Pulumi.test.yaml: {message}")


@pytest.mark.parametrize(("key", "value"), [("sandbox", "true"), ("standIns", "true")])
def test_a_stack_with_stand_ins_is_there_to_be_tried(key: str, value: str) -> None:
    config = SANDBOX if key == "sandbox" else {**LEAST, "standIns": "true"}
    assert load({**config, key: value}, "Pulumi.test.yaml").trial
    assert not of().trial


def test_registration_catalog_needs_docker() -> None:
    assert misfit(registration="catalog", agentAddress=AGENT, docker="false") == (
        "docker: must be true with registration catalog: consul-esm runs the checks from a container"
    )


def test_registration_files_needs_docker() -> None:
    assert misfit(registration="files", docker="false") == (
        "docker: must be true with registration files: they are written into the agent's container"
    )


@pytest.mark.parametrize("node", ["consul-agent-shared", "staging-consul", "Consul-Agent-Shared"])
def test_registration_catalog_needs_a_node_that_is_no_agents_own(node: str) -> None:
    # An agent's anti-entropy removes from its node what the agent does not know.
    assert misfit(registration="catalog", agentAddress=AGENT, externalNode=node) == (
        f"externalNode: {node!r} is an agent's own node, which would remove all of them again: "
        "it must be a node of its own, such as staging-external"
    )


@pytest.mark.parametrize("registration", ["agent", "files"])
@pytest.mark.parametrize("node", ["consul-agent-shared", "staging-consul"])
def test_a_node_that_nothing_is_registered_on_may_have_any_name(registration: str, node: str) -> None:
    assert of(registration=registration, externalNode=node).external_node == node


NO_TEMPLATES = "must be a folder that has files NAME.ctmpl, such as templates"


def test_a_folder_with_templates_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a.conf.ctmpl").touch()
    assert of(templates=str(tmp_path)).templates == str(tmp_path)


def test_a_folder_without_templates_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.conf").touch()
    assert refusal({**LEAST, "templates": str(tmp_path)}) == f"Pulumi.test.yaml: templates: '{tmp_path}' {NO_TEMPLATES}"


@pytest.mark.parametrize("folder", ["no/such/folder", "settings.py", "x" * 300])
def test_what_is_no_folder_has_no_templates(folder: str) -> None:
    assert refusal({**LEAST, "templates": folder}) == f"Pulumi.test.yaml: templates: {folder!r} {NO_TEMPLATES}"


def test_templates_need_docker(tmp_path: Path) -> None:
    (tmp_path / "a.conf.ctmpl").touch()
    assert misfit(agentAddress=AGENT, docker="false", templates=str(tmp_path)) == (
        "templates: must not be set without docker: consul-template runs in a container"
    )


@pytest.mark.parametrize("registration", ["catalog", "files"])
def test_only_registration_agent_adopts(registration: str) -> None:
    assert misfit(registration=registration, agentAddress=AGENT, adopt="true") == (
        f"adopt: must be false with registration {registration}: it is for agent, and for kvConfiguration"
    )


@pytest.mark.parametrize("registration", ["agent", "catalog", "files"])
def test_every_way_to_register_takes_a_token(registration: str) -> None:
    assert of(registration=registration, agentToken=TOKEN).agent_token == TOKEN


def test_a_server_may_have_tls_all_the_same() -> None:
    assert of(registration="catalog", serverAddress="https://consul.example:8501").server_address == (
        "https://consul.example:8501"
    )


def test_a_created_server_may_have_any_port_where_the_agent_has_none() -> None:
    [found] = load(
        {"registration": "files", "server": "created", "serverAddress": "https://127.0.0.1:8501"}, ""
    ).docker_hosts
    assert (found.agent_publish, found.server_publish) == (None, Publish("127.0.0.1", 8501, https=True))


def test_an_existing_server_may_have_the_agents_port() -> None:
    assert of(serverAddress="http://10.0.0.5:8501").server == "existing"


def test_of_several_things_that_do_not_fit_together_the_first_is_reported() -> None:
    assert misfit(registration="files", docker="false", adopt="true").startswith("docker: must be true")


# How far the cluster is secured

HTTP = {"agentAddress": "http://127.0.0.1:8501", "serverAddress": "http://127.0.0.1:8500"}


@pytest.mark.parametrize("stage", ["accepted", "sent", "on"])
def test_a_stage_of_security_is_kept(stage: str) -> None:
    assert of(**{**SECURED, "security": stage}).stage == stage


def test_security_off_is_kept() -> None:
    assert of(server="created", security="off").stage == "off"


def test_the_apis_certificates_are_to_name_the_hosts_of_their_addresses_and_where_they_are_published() -> None:
    found = host(agentAddress="http://consul.example:8501", serverAddress="http://10.0.0.5:8500", publishOn="10.0.0.6")
    assert found.reached_at == {"127.0.0.1", "10.0.0.6", "consul.example", "10.0.0.5"}


@pytest.mark.parametrize(("written", "meant"), [("true", "on"), ("on", "on"), ("false", "off"), ("off", "off")])
def test_what_pulumi_hands_over_of_a_truth_value_or_of_a_text_is_the_same_stage(written: str, meant: str) -> None:
    addresses = {"on": SECURED, "off": {**HTTP, "server": "created"}}[meant]
    assert of(**{**addresses, "security": written}).stage == meant


@pytest.mark.parametrize(
    ("written", "meant"), [("on", "on"), ("'on'", "on"), ("true", "on"), ("off", "off"), ('"off"', "off")]
)
def test_a_stacks_file_may_have_on_and_off_quoted_or_not(tmp_path: Path, written: str, meant: str) -> None:
    addresses = {"on": SECURED, "off": {**HTTP, "server": "created"}}[meant]
    keys = {**addresses, "security": written}
    lines = "".join(f"  consul-staging:{key}: {value}\n" for key, value in keys.items())
    path = tmp_path / "Pulumi.test.yaml"
    path.write_text(f"config:\n{lines}")
    assert settings.of_file(path, "consul-staging").stage == meant


@pytest.mark.parametrize("empty", [{}, {"security": ""}], ids=["missing", "empty"])
@pytest.mark.parametrize(
    ("config", "stage"),
    [
        ({**SECURED}, "on"),
        ({**HTTP, "server": "existing"}, "off"),
        ({**HTTP, "server": "created", "docker": "false"}, "off"),
        ({**HTTP, "server": "existing", "docker": "false"}, "off"),
    ],
    ids=["created", "existing", "created without docker", "existing without docker"],
)
def test_a_cluster_is_secured_altogether_where_the_stack_makes_it_and_else_not(
    config: dict[str, str], stage: str, empty: dict[str, str]
) -> None:
    others = {key: value for key, value in config.items() if key != "security"}
    assert load({**others, **empty}, "Pulumi.test.yaml").stage == stage


@pytest.mark.parametrize("address", ["agentAddress", "serverAddress"])
@pytest.mark.parametrize("config", [{}, {"security": ""}], ids=["on", "default"])
def test_a_secured_cluster_has_https_alone(address: str, config: dict[str, str]) -> None:
    assert refusal({**SECURED, **config, address: HTTP[address]}) == (
        f"Pulumi.test.yaml: {address}: {HTTP[address]!r} must be https with security on: plain HTTP is refused"
    )


@pytest.mark.parametrize("stage", ["accepted", "sent"])
@pytest.mark.parametrize("agent", ["http://127.0.0.1:8501", "https://127.0.0.1:8501"])
@pytest.mark.parametrize("server", ["http://127.0.0.1:8500", "https://127.0.0.1:8500"])
def test_on_the_way_to_a_secured_cluster_either_address_is_taken(stage: str, agent: str, server: str) -> None:
    found = of(**{**SECURED, "security": stage, "agentAddress": agent, "serverAddress": server})
    assert (found.agent_address, found.server_address) == (agent, server)


def test_an_agent_that_is_not_published_needs_no_https_address_in_a_secured_cluster() -> None:
    assert of(**{**SECURED, "agentAddress": "", "registration": "files"}).stage == "on"


@pytest.mark.parametrize("stage", ["accepted", "sent", "on"])
def test_without_docker_nothing_is_secured(stage: str) -> None:
    assert refusal({**SECURED, "docker": "false", "security": stage}) == (
        f"Pulumi.test.yaml: security: {stage!r} must be off without docker: "
        "it is for the Consul that this stack deploys"
    )


@pytest.mark.parametrize("stage", ["accepted", "sent", "on"])
def test_an_existing_server_cannot_be_secured(stage: str) -> None:
    assert refusal({**SECURED, "server": "existing", "security": stage}) == (
        f"Pulumi.test.yaml: security: {stage!r} must be off with server: existing: "
        "only who deploys the server can secure it"
    )


@pytest.mark.parametrize("stage", ["accepted", "sent", "on"])
@pytest.mark.parametrize(("key", "value"), [("agentToken", TOKEN), ("agentCaFile", str(AUTHORITY_FILE))])
def test_a_secured_cluster_takes_no_token_and_no_authority_of_others(key: str, value: str, stage: str) -> None:
    assert refusal({**SECURED, "security": stage, key: value}) == (
        f"Pulumi.test.yaml: {key}: must not be set with security {stage}: the stack makes its own tokens and authority"
    )


def test_a_created_server_is_secured_by_default_and_then_takes_no_token_of_others() -> None:
    config = {key: value for key, value in SECURED.items() if key != "security"}
    assert refusal({**config, "agentToken": TOKEN}) == (
        "Pulumi.test.yaml: agentToken: must not be set with security on: the stack makes its own tokens and authority"
    )


def test_without_security_a_token_and_an_authority_of_others_are_taken() -> None:
    found = of(security="off", agentToken=TOKEN, agentCaFile=str(AUTHORITY_FILE))
    assert (found.agent_token, found.ca) == (TOKEN, AUTHORITY)


def test_without_a_file_there_is_no_authority() -> None:
    assert of().ca is None


@pytest.mark.parametrize("name", ["staging", "local"])
def test_a_committed_stack_whose_server_is_anothers_is_not_secured(name: str) -> None:
    assert settings.of_file(ROOT / f"Pulumi.{name}.yaml", "consul-staging").stage == "off"


# An agent that joins a Consul that others secured

SECRETS = ("nodeToken", "gossipKey", "agentCertificateKey")


@pytest.fixture(scope="module")
def of_others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return all that others who secured a Consul can hand over."""
    folder = tmp_path_factory.mktemp("others")
    authority = trustme.CA()
    certificate = authority.issue_cert("client.dc1.consul")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "client.pem")
    return {
        "nodeToken": TOKEN,
        "gossipKey": GOSSIP_KEY,
        "clusterCaFile": str(folder / "ca.pem"),
        "agentCertificateFile": str(folder / "client.pem"),
        "agentCertificateKey": certificate.private_key_pem.bytes().decode(),
    }


def test_the_keys_of_others_are_kept(of_others: dict[str, str]) -> None:
    found = of_stack({**LEAST, **of_others}, SECRETS)
    assert {key: getattr(found, re.sub("[A-Z]", lambda match: f"_{match[0].lower()}", key)) for key in of_others} == (
        of_others
    )


def test_the_authority_of_the_cluster_is_also_that_of_the_apis_unless_they_have_another(
    of_others: dict[str, str],
) -> None:
    cluster = {"clusterCaFile": of_others["clusterCaFile"]}
    assert of(**cluster).ca == Path(of_others["clusterCaFile"]).read_text()
    assert of(**cluster, agentCaFile=str(AUTHORITY_FILE)).ca == AUTHORITY


@pytest.mark.parametrize("key", [*SECRETS, "clusterCaFile", "agentCertificateFile"])
@pytest.mark.parametrize("config", [{"docker": "false"}, {"server": "created", "security": "off"}], ids=str)
def test_only_an_agent_of_an_existing_server_takes_the_keys_of_others(
    of_others: dict[str, str], config: dict[str, str], key: str
) -> None:
    assert refusal({**LEAST, **config, key: of_others[key]}) == (
        f"Pulumi.test.yaml: {key}: must not be set without docker and server: existing: others secured that Consul"
    )


@pytest.mark.parametrize("key", SECRETS)
def test_a_key_of_others_in_plain_text_is_refused(of_others: dict[str, str], key: str) -> None:
    with pytest.raises(SettingsError, match=f"{key}: is in plain text: pulumi config set --stack .+ --secret {key}"):
        of_stack({**LEAST, **of_others}, tuple({*SECRETS} - {key}))


@pytest.mark.parametrize("key", SECRETS)
def test_a_key_of_others_is_not_in_the_settings_text(of_others: dict[str, str], key: str) -> None:
    assert of_others[key] not in repr(of(**of_others))


TOGETHER = "agentCertificateKey: must be set where agentCertificateFile is, and only there"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"agentCertificateKey": ""}, TOGETHER),
        ({"agentCertificateFile": ""}, TOGETHER),
        (
            {"agentCertificateFile": str(AUTHORITY_FILE)},
            f"agentCertificateKey: must be the private key of {AUTHORITY_FILE}, as PEM text without a passphrase",
        ),
        ({"clusterCaFile": ""}, "clusterCaFile: is missing: the authority that signed agentCertificateFile"),
    ],
)
def test_a_certificate_that_is_not_whole_is_refused(
    of_others: dict[str, str], config: dict[str, str], said: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        of_stack({**LEAST, **of_others, **config}, SECRETS)
    assert str(caught.value) == f"Pulumi.test.yaml: {said}"


@pytest.mark.parametrize(("address", "https"), [("https://127.0.0.1:8501", True), ("http://127.0.0.1:8501", False)])
def test_an_agent_with_a_certificate_of_its_own_is_published_as_its_address_says(
    of_others: dict[str, str], address: str, https: bool
) -> None:
    [found] = of(**{**of_others, "agentAddress": address}).docker_hosts
    assert found.agent_publish == Publish("127.0.0.1", 8501, https)


def test_an_agent_whose_certificate_the_server_makes_has_no_https_address() -> None:
    config = {"clusterCaFile": str(AUTHORITY_FILE), "agentAddress": "https://127.0.0.1:8501"}
    assert "agentAddress: 'https://127.0.0.1:8501' must be http with security off" in refusal({**LEAST, **config})


# The token is in no message


def test_the_token_is_not_in_the_settings_repr() -> None:
    assert TOKEN not in repr(of(agentToken=TOKEN))


def test_the_token_is_not_in_the_settings_text() -> None:
    assert TOKEN not in str(of(agentToken=TOKEN))


def test_the_token_is_not_in_the_message_about_another_key() -> None:
    assert TOKEN not in refusal({**LEAST, "agentToken": TOKEN, "adopt": "maybe", "environment": "a b"})


@pytest.mark.parametrize("key", ["agenttoken", "agentTokn", "agent_token", "token"])
def test_the_token_is_not_in_the_message_about_its_mistyped_key(key: str) -> None:
    assert TOKEN not in refusal({**LEAST, key: TOKEN})


@pytest.mark.parametrize("value", [[TOKEN], {"value": TOKEN}], ids=["list", "mapping"])
def test_the_token_is_not_in_the_message_about_its_wrong_type(value: object) -> None:
    assert TOKEN not in refusal({**LEAST, "agentToken": value})


def test_pydantics_error_with_the_token_in_it_is_not_kept_as_the_cause() -> None:
    with pytest.raises(SettingsError) as caught:
        of(agentToken=TOKEN, adopt="maybe")
    assert (caught.value.__cause__, caught.value.__suppress_context__) == (None, True)


# The stack's own config


def of_stack(config: dict[str, str], secrets: tuple[str, ...] = ()) -> Settings:
    found: list[Settings] = []
    deploy(lambda: found.append(settings.of_stack()), config, secrets)
    return found[0]


def test_the_stacks_config_is_read() -> None:
    assert of_stack({**LEAST, "environment": "production"}).environment == "production"


def test_keys_of_other_projects_are_not_read() -> None:
    def program() -> None:
        pulumi.runtime.set_config("docker:host", "unix:///var/run/docker.sock")
        settings.of_stack()

    deploy(program, LEAST)


def test_a_mistake_in_the_stacks_config_names_the_stacks_file() -> None:
    with pytest.raises(SettingsError, match=re.escape("Pulumi.test.yaml: environment: 'a b' ")):
        of_stack({**LEAST, "environment": "a b"})


def test_a_token_that_is_a_secret_is_read() -> None:
    assert of_stack({**LEAST, "agentToken": TOKEN}, ("agentToken",)).agent_token == TOKEN


def test_a_token_in_plain_text_is_refused_with_the_command_that_keeps_it_secret() -> None:
    with pytest.raises(SettingsError) as caught:
        of_stack({**LEAST, "agentToken": TOKEN})
    assert str(caught.value) == (
        "Pulumi.test.yaml: agentToken: is in plain text: pulumi config set --stack test --secret agentToken"
    )


def test_an_empty_token_needs_not_be_a_secret() -> None:
    assert of_stack({**LEAST, "agentToken": ""}).agent_token is None


# A stack's file, before any engine runs


def of_file(folder: Path, config: object) -> Settings:
    path = folder / "Pulumi.test.yaml"
    path.write_text(yaml.safe_dump({"config": config}))
    return settings.of_file(path, "consul-staging")


def test_a_stacks_file_may_have_lists_and_maps(tmp_path: Path) -> None:
    found = of_file(tmp_path, {**LEAST, "leaveOut": ["a"], "locations": {"b": "c:1"}}).services
    assert found.left_out == {"a"}
    assert found.locations == {"b": Location("c", 1)}


def test_a_stacks_file_is_read_without_its_secrets_and_other_projects_keys(tmp_path: Path) -> None:
    keys = {**LEAST, "agentToken": {"secure": "v1:abc"}}
    config = {"docker:host": "unix:///x"} | {f"consul-staging:{key}": value for key, value in keys.items()}
    assert of_file(tmp_path, config) == of()


def test_yamls_empty_binary_is_a_key_that_is_not_set(tmp_path: Path) -> None:
    keys = {**LEAST, "agentToken": b""}
    assert of_file(tmp_path, {f"consul-staging:{key}": value for key, value in keys.items()}) == of()


@pytest.mark.parametrize("config", [None, [], "text"])
def test_a_stacks_file_without_a_config_is_named(tmp_path: Path, config: object) -> None:
    with pytest.raises(SettingsError, match=r"^Pulumi\.test\.yaml: config: must map keys to values, such as "):
        of_file(tmp_path, config)


def refusal_of_file(folder: Path, content: str | bytes) -> str:
    path = folder / "Pulumi.test.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SettingsError) as caught:
        settings.of_file(path, "consul-staging")
    return str(caught.value)


def test_a_key_without_a_project_is_the_projects_own_as_it_is_for_pulumi(tmp_path: Path) -> None:
    assert of_file(tmp_path, {**LEAST, "environment": "production"}).environment == "production"


@pytest.mark.parametrize("key", ["1", "null", "true", "2001-01-01", f"0x{'f' * 5000}"])
def test_a_key_that_yaml_takes_for_no_text_is_refused(tmp_path: Path, key: str) -> None:
    said = refusal_of_file(tmp_path, f"config: {{? {key} : x}}")
    assert said.startswith("Pulumi.test.yaml: config: must map keys to values, such as ")


@pytest.mark.parametrize("value", ["2024", "2001-01-01", "[staging]", "{a: b}", f"0x{'f' * 5000}"])
def test_a_value_that_yaml_takes_for_no_text_is_refused_and_not_printed(tmp_path: Path, value: str) -> None:
    said = refusal_of_file(tmp_path, f"config: {{serverAddress: x, environment: {value}}}")
    assert "\nPulumi.test.yaml: environment: must be text: put it in quotes" in said


def test_a_stacks_file_begins_with_a_byte_order_mark_or_not(tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.test.yaml"
    path.write_bytes(yaml.safe_dump({"config": LEAST}).encode("utf-8-sig"))
    assert settings.of_file(path, "consul-staging") == of()


def test_what_is_wrong_with_a_stacks_yaml_is_reported_with_its_place(tmp_path: Path) -> None:
    assert refusal_of_file(tmp_path, "config:\n  environment: a: b\n") == (
        "Pulumi.test.yaml: is not YAML: see line 2, column 17"
    )


@pytest.mark.parametrize(
    ("content", "twice"),
    [
        ("config:\n  environment: a\nconfig:\n  serviceHost: b\n", "'config' stands twice: see line 3, column 1"),
        ("config:\n  environment: a\n  environment: b\n", "'environment' stands twice: see line 3, column 3"),
        ("config:\n  locations:\n    a: b\n    a: c\n", "'a' stands twice: see line 4, column 5"),
    ],
)
def test_a_key_that_stands_twice_in_a_stacks_file_is_refused(tmp_path: Path, content: str, twice: str) -> None:
    assert refusal_of_file(tmp_path, content) == f"Pulumi.test.yaml: is not YAML: {twice}"


@pytest.mark.parametrize(
    "content",
    [
        *(b"config: {environment: \xff}", b"config: {environment: \0}"),
        *(b"config: {environment: 2001-99-99}", b"config: {environment: !!timestamp x}"),
        *(b"config: {environment: !!int x}", b"config: {environment: !!int ''}", b"config: {environment: !!bool x}"),
        *(b"config: {environment: %s}" % (b"9" * 5000), b"config: {environment: 1%s.5}" % (b":00" * 200)),
        b"[" * 3000,
    ],
)
def test_a_stacks_file_with_what_yaml_cannot_read_is_named(tmp_path: Path, content: bytes) -> None:
    assert refusal_of_file(tmp_path, content) == (
        "Pulumi.test.yaml: is not YAML: a character, a number or a date in it is none, or it is nested too deep"
    )


@pytest.mark.parametrize(
    "token", [f"{TOKEN}: x", f"*{TOKEN}", f"!{TOKEN} x", f"!!int {TOKEN}", f"'{TOKEN}", f"[{TOKEN}"]
)
def test_the_token_is_not_in_the_message_about_yaml_that_is_none(tmp_path: Path, token: str) -> None:
    assert TOKEN not in refusal_of_file(tmp_path, f"config:\n  consul-staging:agentToken: {token}\n")


# Monitoring

MONITORED = {"docker": "true", "monitoring": "true"}


def test_prometheus_is_published_at_its_address_and_only_with_monitoring() -> None:
    assert of(**MONITORED).prometheus_publish == Publish("127.0.0.1", 9090)
    assert of(**MONITORED, prometheusAddress="http://127.0.0.9:9190").prometheus_publish == Publish("127.0.0.9", 9190)
    assert of(**MONITORED, prometheusAddress="http://10.0.0.7:9090").prometheus_publish == Publish("10.0.0.7", 9090)
    assert of(**MONITORED, prometheusAddress="").prometheus_publish is None
    assert of().prometheus_publish is None


EXACT_TAG = "must be an image with an exact tag, such as hashicorp/consul:1.17.2, and not latest"
NO_TLS = "must be http://IP:PORT, with an IP address of the Docker host: Prometheus' UI has no TLS"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {"docker": "false"},
            "monitoring: must be false without docker: Prometheus and consul_exporter are containers",
        ),
        (
            {"prometheusAddress": "http://docker.example:9090"},
            f"prometheusAddress: 'http://docker.example:9090' {NO_TLS}",
        ),
        (
            {"prometheusAddress": "https://127.0.0.1:9090"},
            f"prometheusAddress: 'https://127.0.0.1:9090' {NO_TLS}",
        ),
        ({"prometheusAddress": "http://127.0.0.1:8501"}, "prometheusAddress: must have another port than agentAddress"),
        (
            {"prometheusAddress": "http://127.0.0.1:8500"},
            "prometheusAddress: must have another port than serverAddress",
        ),
        (
            {"prometheusImage": "prom/prometheus:latest"},
            f"prometheusImage: 'prom/prometheus:latest' {EXACT_TAG}",
        ),
    ],
)
def test_monitoring_that_cannot_be_is_one_message(config: dict[str, str], said: str) -> None:
    assert refusal({**LEAST, **MONITORED, **config}) == f"Pulumi.test.yaml: {said}"


def test_monitoring_is_for_one_docker_host() -> None:
    host = {"engine": "unix:///var/run/docker.sock", "address": "127.0.0.1", "server": True, "services": ["user"]}
    config = {**SECURED, "hosts": json.dumps({"h1": host}), "monitoring": "true"}
    said = "monitoring: must be false with hosts: one Prometheus on one host is all that it deploys"
    assert refusal(config) == f"Pulumi.test.yaml: {said}"
