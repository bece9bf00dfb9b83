import json
from functools import cache

import pulumi

from components.consul_esm import ConsulEsm, ConsulEsmArgs
from tests.unit.pulumi_mocks import CONTAINER, NETWORK, REMOTE_IMAGE, Deployed, on_docker, secret
from tests.unit.test_docker_components import HARDENED

ESM = "hashicorp/consul-esm:0.9.0"
ESM_ID = "sha256:e50e50e50e50"
TOKEN = "5c1b2b5e-consul-acl-token"  # noqa: S105 - no real one
AUTHORITY = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
TYPE = "consul-staging:docker:ConsulEsm"
COMPONENT = f"urn:pulumi:test::consul-staging::pulumi:pulumi:Stack${TYPE}::esm"


def esm(token: str | None = None, ca: str | None = None) -> Deployed:
    return on_docker(lambda: ConsulEsm("esm", ConsulEsmArgs(ESM, pulumi.Output.from_input(NETWORK), token, ca)))[0]


@cache
def plain() -> Deployed:
    return esm()


@cache
def guarded() -> Deployed:
    return esm(TOKEN)


def test_it_is_a_component_an_image_and_a_container() -> None:
    types = {name: request.type for name, request in plain().requests.items()}
    assert types == {"esm": TYPE, "esm-image": REMOTE_IMAGE, "esm-container": CONTAINER}


def test_the_component_has_no_outputs() -> None:
    assert plain().outputs[COMPONENT] == {}


def test_another_name_for_the_component_is_another_name_for_each_resource() -> None:
    found = on_docker(lambda: ConsulEsm("monitor", ConsulEsmArgs(ESM, NETWORK)))[0]
    assert list(found.requests) == ["monitor", "monitor-image", "monitor-container"]


def test_the_image_has_its_tag_and_is_kept_when_the_stack_is_destroyed() -> None:
    assert plain().inputs("esm-image") == {"name": "hashicorp/consul-esm:0.9.0", "keepLocally": True}


def test_the_container_is_exactly_this() -> None:
    inputs = plain().inputs("esm-container")
    inputs.pop("uploads")  # have tests of their own
    assert inputs == {
        "name": "consul-esm",
        "image": ESM_ID,
        "hostname": "consul-esm",
        "command": ["consul-esm", "-config-file=/etc/consul-esm/config.json"],
        "networksAdvanced": [{"name": "staging_staging-network"}],
        "healthcheck": {
            "tests": ["CMD", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/metrics"],
            "interval": "5s",
            "timeout": "5s",
            "startPeriod": "10s",
            "retries": 6,
        },
        "wait": True,
        "waitTimeout": 60,
        "restart": "unless-stopped",
        "destroyGraceSeconds": 10,
        **HARDENED,
    }


def test_it_is_given_one_file_with_exactly_its_config() -> None:
    config = {
        "datacenter": "dc1",
        "http_addr": "consul-agent-shared:8500",
        "external_node_meta": {"external-node": "true"},
        "client_address": "127.0.0.1:8080",
        "telemetry": {"prometheus_retention_time": "24h", "disable_hostname": True},
    }
    assert plain().inputs("esm-container")["uploads"] == [
        {"file": "/etc/consul-esm/config.json", "content": json.dumps(config, indent=2)}
    ]


def test_the_container_waits_for_its_image() -> None:
    assert plain().waits_for("esm-container") == {"esm-image"}


def test_the_container_is_deleted_before_it_is_replaced() -> None:
    # Two containers cannot have one name.
    assert plain().requests["esm-container"].deleteBeforeReplace


# The token


def test_the_token_stands_nowhere_else() -> None:
    inputs = {name: guarded().sent(name) for name in guarded().requests}
    del inputs["esm-container"]["uploads"][0]["content"]
    assert TOKEN not in repr((inputs, guarded().outputs))


# A secured cluster


@cache
def secured() -> Deployed:
    return esm(TOKEN, AUTHORITY)


def test_in_a_secured_cluster_it_is_given_its_config_as_a_secret_and_the_authority() -> None:
    config = {
        "datacenter": "dc1",
        "http_addr": "https://consul-agent-shared:8501",
        "external_node_meta": {"external-node": "true"},
        "client_address": "127.0.0.1:8080",
        "telemetry": {"prometheus_retention_time": "24h", "disable_hostname": True},
        "token": TOKEN,
        "ca_file": "/etc/consul-esm/ca.pem",
    }
    assert secured().sent("esm-container")["uploads"] == [
        {"file": "/etc/consul-esm/config.json", "content": secret(json.dumps(config, indent=2))},
        {"file": "/etc/consul-esm/ca.pem", "content": AUTHORITY},
    ]


def test_in_a_secured_cluster_the_container_is_otherwise_the_same() -> None:
    open_, closed = plain().inputs("esm-container"), secured().inputs("esm-container")
    assert {**closed, "uploads": None} == {**open_, "uploads": None}


def test_the_token_is_not_in_the_arguments_repr() -> None:
    assert TOKEN not in repr(ConsulEsmArgs(ESM, NETWORK, TOKEN))
