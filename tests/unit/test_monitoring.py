"""The component over mocks: the containers of Prometheus and of consul_exporter, and their files."""

from functools import cache

import pulumi
import pytest
import yaml

from components.monitoring import Monitoring, MonitoringArgs
from consul_cluster.cluster_names import STAGING_NAMES
from docker_hosts import Publish
from monitoring.alert_rules import alert_rules
from monitoring.monitored_cluster import MonitoredCluster
from monitoring.scrape_configuration import scrape_configuration
from services.roster import Roster
from tests.forty_services import forty_roster
from tests.unit.pulumi_mocks import (
    CONTAINER,
    NETWORK,
    OTHER_ID,
    REMOTE_IMAGE,
    VOLUME,
    Deployed,
    on_docker,
    program_with,
    secret,
    stack_config,
)
from tests.unit.test_docker_components import HARDENED

TOKEN = "5c1b2b5e-consul-acl-token"  # noqa: S105 - no real one
AUTHORITY = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
TYPE = "consul-staging:docker:Monitoring"
CLUSTER = MonitoredCluster(STAGING_NAMES, "staging-consul:8500", 8500, "consul-exporter:9107")
SECURED_CLUSTER = MonitoredCluster(
    STAGING_NAMES, "staging-consul:8501", 8501, "consul-exporter:9107", https=True, token=True
)
CONTAINERS = ("monitoring-exporter-container", "monitoring-prometheus-container")
every_container = pytest.mark.parametrize("container", CONTAINERS)


def monitoring(
    cluster: MonitoredCluster = CLUSTER,
    roster: Roster | None = None,
    publish: Publish | None = None,
    token: str | None = None,
    ca: str | None = None,
) -> Deployed:
    services = roster or forty_roster(names=("billing_service",))
    images = ("prom/prometheus:v3.5.0", "prom/consul-exporter:v0.13.0")
    args = MonitoringArgs(*images, pulumi.Output.from_input(NETWORK), cluster, services, publish, token, ca)
    return on_docker(lambda: Monitoring("monitoring", args))[0]


@cache
def plain() -> Deployed:
    return monitoring(publish=Publish("127.0.0.1", 9090))


@cache
def guarded() -> Deployed:
    return monitoring(SECURED_CLUSTER, token=TOKEN, ca=AUTHORITY)


def files(deployed: Deployed, container: str) -> dict[str, object]:
    return {each["file"]: each["content"] for each in deployed.sent(container).get("uploads", [])}


def test_it_is_a_component_two_images_two_containers_and_a_volume() -> None:
    assert {name: request.type for name, request in plain().requests.items()} == {
        "monitoring": TYPE,
        "monitoring-exporter-image": REMOTE_IMAGE,
        "monitoring-exporter-container": CONTAINER,
        "monitoring-prometheus-image": REMOTE_IMAGE,
        "monitoring-prometheus-data": VOLUME,
        "monitoring-prometheus-container": CONTAINER,
    }


def test_the_container_of_prometheus_is_exactly_this() -> None:
    inputs = plain().inputs("monitoring-prometheus-container")
    inputs.pop("uploads")  # have tests of their own
    assert inputs == {
        "name": "consul-prometheus",
        "image": OTHER_ID,
        "hostname": "consul-prometheus",
        "user": "nobody",
        "command": [
            "--config.file=/etc/prometheus/prometheus.yml",
            "--storage.tsdb.path=/prometheus",
            "--storage.tsdb.retention.time=15d",
            "--storage.tsdb.retention.size=2GB",
            "--query.lookback-delta=45s",
        ],
        "networksAdvanced": [{"name": "staging_staging-network"}],
        "ports": [{"internal": 9090, "ip": "127.0.0.1", "external": 9090}],
        "volumes": [{"containerPath": "/prometheus", "volumeName": "consul-prometheus-data"}],
        "healthcheck": {
            "tests": ["CMD", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:9090/-/ready"],
            "interval": "5s",
            "timeout": "5s",
            "startPeriod": "10s",
            "retries": 6,
        },
        "wait": True,
        "waitTimeout": 60,
        "restart": "unless-stopped",
        "destroyGraceSeconds": 30,
        "stopTimeout": 30,
        **HARDENED,
    }


def test_the_container_of_consul_exporter_is_exactly_this() -> None:
    assert plain().inputs("monitoring-exporter-container") == {
        "name": "consul-exporter",
        "image": OTHER_ID,
        "hostname": "consul-exporter",
        "user": "nobody",
        "command": ["--consul.server=http://staging-consul:8500", "--consul.timeout=5s", "--consul.request-limit=50"],
        "envs": [],
        "uploads": [],
        "networksAdvanced": [{"name": "staging_staging-network"}],
        "healthcheck": {
            "tests": ["CMD", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:9107/"],
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


def test_an_address_that_is_not_published_publishes_nothing() -> None:
    assert guarded().inputs("monitoring-prometheus-container").get("ports", []) == []


def test_prometheus_is_given_its_configuration_and_the_rules_of_the_roster() -> None:
    given = files(plain(), "monitoring-prometheus-container")
    roster = forty_roster(names=("billing_service",))
    assert {path: yaml.safe_load(str(content)) for path, content in given.items()} == {
        "/etc/prometheus/prometheus.yml": scrape_configuration(CLUSTER),
        "/etc/prometheus/consul-rules.yml": alert_rules(roster, CLUSTER, "test"),
    }


def test_another_roster_is_another_container_of_prometheus_and_the_same_exporter() -> None:
    other = monitoring(roster=forty_roster(names=("order_service",)), publish=Publish("127.0.0.1", 9090))
    prometheus, exporter = "monitoring-prometheus-container", "monitoring-exporter-container"
    assert files(other, prometheus) != files(plain(), prometheus)  # other uploads replace a container
    assert other.sent(exporter) == plain().sent(exporter)


@every_container
def test_a_container_is_deleted_before_it_is_replaced_and_removed_where_a_run_left_it(container: str) -> None:
    # Two containers cannot have one name.
    assert plain().requests[container].deleteBeforeReplace
    assert plain().functions_before_creation(container) == 1


def test_prometheus_waits_for_consul_exporter() -> None:
    assert "monitoring-exporter-container" in plain().waits_for("monitoring-prometheus-container")


# A secured cluster


@every_container
def test_of_a_secured_cluster_both_are_given_its_authority_and_the_token_as_a_secret(container: str) -> None:
    given = files(guarded(), container)
    assert given["/etc/prometheus/consul-ca.pem"] == AUTHORITY
    assert given["/etc/prometheus/consul-token"] == secret(TOKEN)


def test_of_a_secured_cluster_the_exporter_is_told_where_they_are() -> None:
    inputs = guarded().inputs("monitoring-exporter-container")
    assert inputs["command"][0] == "--consul.server=https://staging-consul:8501"
    assert inputs["command"][-1] == "--consul.ca-file=/etc/prometheus/consul-ca.pem"
    assert inputs["envs"] == ["CONSUL_HTTP_TOKEN_FILE=/etc/prometheus/consul-token"]


def test_the_token_stands_in_the_two_files_alone() -> None:
    sent = {name: guarded().sent(name) for name in guarded().requests}
    for container in CONTAINERS:
        for upload in sent[container]["uploads"]:
            if upload["file"] == "/etc/prometheus/consul-token":
                del upload["content"]
    assert TOKEN not in repr((sent, guarded().outputs))


# In a stack

ON = {**stack_config("docker-local"), "monitoring": "true"}
SECURED = {
    **ON,
    "security": "on",
    "agentAddress": "https://127.0.0.1:8501",
    "serverAddress": "https://127.0.0.1:8500",
}


def test_one_setting_switches_it_on_in_docker_local() -> None:
    off, on = (set(program_with(config)[0].requests) for config in (stack_config("docker-local"), ON))
    assert on - off == {
        "monitoring",
        "monitoring-exporter-image",
        "monitoring-exporter-container",
        "monitoring-prometheus-image",
        "monitoring-prometheus-data",
        "monitoring-prometheus-container",
    }
    assert off - on == set()


def test_what_it_changes_of_all_else_is_that_the_server_keeps_metrics() -> None:
    (off, _), (on, _) = program_with(stack_config("docker-local")), program_with(ON)
    changed = {name for name in off.requests if off.sent(name) != on.sent(name)}
    assert changed == {"server-carry"}


def test_its_images_and_its_port_are_looked_for_before_anything_is_created() -> None:
    [expected] = program_with(ON)[1].expected
    assert list(expected.images) == ["prom/prometheus:v3.5.0", "prom/consul-exporter:v0.13.0"]
    assert expected.ports["consul-prometheus"] == Publish("127.0.0.1", 9090)


def test_prometheus_address_is_an_output_where_it_is_published() -> None:
    assert program_with(ON)[0].exports["prometheus"] == "http://127.0.0.1:9090"
    assert "prometheus" not in program_with({**ON, "prometheusAddress": ""})[0].exports
    assert "prometheus" not in program_with(stack_config("docker-local"))[0].exports


def test_a_secured_stack_makes_a_token_for_it_and_gives_it_to_nothing_else() -> None:
    deployed = program_with(SECURED)[0]
    token = "secret-of-acl-monitoring-token-id"  # noqa: S105 - no real one
    assert files(deployed, CONTAINERS[0])["/etc/prometheus/consul-token"] == secret(token)
    others = {name: deployed.sent(name) for name in deployed.requests if name not in CONTAINERS}
    assert token not in repr(others)


def test_an_existing_servers_stack_asks_through_its_agent_with_the_token_that_is_given() -> None:
    config = {**stack_config("staging"), "monitoring": "true", "agentToken": TOKEN}
    deployed, engine = program_with(config, secrets=["agentToken"])
    inputs = deployed.inputs("monitoring-exporter-container")
    assert inputs["command"][0] == "--consul.server=http://consul-agent-shared:8500"
    assert files(deployed, "monitoring-exporter-container") == {"/etc/prometheus/consul-token": secret(TOKEN)}
    [expected] = engine.expected
    assert expected.server
    [_, registration] = expected.server.rights
    assert ("agent", "consul-agent-shared", "read") in registration.rights
