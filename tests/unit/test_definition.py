import json

import pytest

from consul_cluster.agent_configuration import (
    EXTERNAL_NODE_META,
    agent_config,
    esm_config,
    reloadable_config,
    server_config,
)
from consul_cluster.cluster_names import STAGING_NAMES
from services.consul_definition import (
    definition,
    definition_file,
    definition_files,
    from_notes,
    notes,
    register_request,
    summary,
)
from services.model import Service
from services.roster import Roster
from tests.forty_services import FORTY, forty_roster

STAGING = {service.name: service for service in forty_roster().services}
BILLING = STAGING["billing_service"]
MINIO = STAGING["minio_grpc_service"]


# The body of the agent's API


def test_the_api_body_of_billing_service_is_exactly_this() -> None:
    assert register_request(definition(BILLING)) == {
        "ID": "billing_service",
        "Name": "billing_service",
        "Address": "isa-billing",
        "Port": 8216,
        "Tags": ["v1", "fastapi", "user-microservice", "staging"],
        "Meta": {"version": "v1", "environment": "staging", "team": "user-platform"},
        "Checks": [
            {
                "CheckID": "billing_service-health",
                "Name": "billing_service HTTP",
                "HTTP": "http://isa-billing:8216/health",
                "Interval": "10s",
                "Timeout": "5s",
                "DeregisterCriticalServiceAfter": "1m30s",
                "Notes": "GET http://isa-billing:8216/health; deregistered after 1m30s critical",
            }
        ],
    }


def test_the_api_body_of_minio_grpc_service_is_exactly_this() -> None:
    assert register_request(definition(MINIO)) == {
        "ID": "minio_grpc_service",
        "Name": "minio_grpc_service",
        "Address": "isa-minio-grpc",
        "Port": 50051,
        "Tags": ["v1", "grpc", "infrastructure", "staging", "storage"],
        "Meta": {"version": "v1", "environment": "staging", "team": "infrastructure", "protocol": "grpc"},
        "Checks": [
            {
                "CheckID": "minio_grpc_service-tcp",
                "Name": "minio_grpc_service TCP",
                "TCP": "isa-minio-grpc:50051",
                "Interval": "30s",
                "Timeout": "3s",
                "DeregisterCriticalServiceAfter": "1m30s",
                "Notes": "TCP isa-minio-grpc:50051; deregistered after 1m30s critical",
            }
        ],
    }


# Definition files


def test_billing_service_stands_in_a_definition_file_exactly_so() -> None:
    assert definition_file([BILLING]) == {
        "services": [
            {
                "id": "billing_service",
                "name": "billing_service",
                "address": "isa-billing",
                "port": 8216,
                "tags": ["v1", "fastapi", "user-microservice", "staging"],
                "meta": {"version": "v1", "environment": "staging", "team": "user-platform"},
                "checks": [
                    {
                        "id": "billing_service-health",
                        "name": "billing_service HTTP",
                        "http": "http://isa-billing:8216/health",
                        "interval": "10s",
                        "timeout": "5s",
                        "deregister_critical_service_after": "1m30s",
                        "notes": "GET http://isa-billing:8216/health; deregistered after 1m30s critical",
                    }
                ],
            }
        ]
    }


def test_minio_grpc_service_stands_in_a_definition_file_exactly_so() -> None:
    assert definition_file([MINIO]) == {
        "services": [
            {
                "id": "minio_grpc_service",
                "name": "minio_grpc_service",
                "address": "isa-minio-grpc",
                "port": 50051,
                "tags": ["v1", "grpc", "infrastructure", "staging", "storage"],
                "meta": {"version": "v1", "environment": "staging", "team": "infrastructure", "protocol": "grpc"},
                "checks": [
                    {
                        "id": "minio_grpc_service-tcp",
                        "name": "minio_grpc_service TCP",
                        "tcp": "isa-minio-grpc:50051",
                        "interval": "30s",
                        "timeout": "3s",
                        "deregister_critical_service_after": "1m30s",
                        "notes": "TCP isa-minio-grpc:50051; deregistered after 1m30s critical",
                    }
                ],
            }
        ]
    }


@pytest.mark.parametrize(("kind", "count"), [("user", 28), ("ai", 3), ("grpc", 9)])
def test_a_groups_file_holds_its_services_and_no_other(kind: str, count: int) -> None:
    found = [each["id"] for each in definition_file(forty_roster().of_kind(kind))["services"]]
    assert (found, len(found)) == ([line.name for line in FORTY if line.kind == kind], count)


@pytest.mark.parametrize("kind", ["user", "ai", "grpc"])
def test_a_groups_file_is_json_and_nothing_is_lost_in_it(kind: str) -> None:
    content = definition_file(forty_roster().of_kind(kind))
    assert json.loads(json.dumps(content)) == content


def test_a_file_of_no_services_has_an_empty_list() -> None:
    assert definition_file([]) == {"services": []}


def test_there_is_a_file_for_each_group_with_its_services() -> None:
    found = definition_files(forty_roster())
    assert {name: [each["id"] for each in content["services"]] for name, content in found.items()} == {
        f"{kind}-services.json": [line.name for line in FORTY if line.kind == kind] for kind in ("user", "ai", "grpc")
    }


def test_of_no_services_there_are_three_files_all_the_same() -> None:
    # One that is not written would stay where the agent reads it.
    nothing: dict[str, list[object]] = {"services": []}
    assert definition_files(Roster(services=())) == {
        "user-services.json": nothing,
        "ai-services.json": nothing,
        "grpc-services.json": nothing,
    }


# Definitions by themselves


def test_a_definition_has_its_checks_by_id() -> None:
    assert [definition(STAGING[line.name])["checks"] for line in FORTY] == [
        {line.check_id: line.check} for line in FORTY
    ]


def test_a_definition_can_be_changed_without_changing_its_service() -> None:
    # The component adds its mark to the meta.
    definition(BILLING)["meta"]["managed-by"] = "somebody"
    assert BILLING.meta == {"version": "v1", "environment": "staging", "team": "user-platform"}


def test_an_ipv6_host_is_bare_as_an_address_and_bracketed_in_a_url() -> None:
    fields = definition(forty_roster(host="::1").services[0])
    assert (fields["address"], fields["checks"]["account_service-health"]["http"]) == (
        "::1",
        "http://[::1]:8201/health",
    )


# Notes


def test_notes_have_what_the_agents_api_does_not_return() -> None:
    fields = {"http": "http://isa-billing:8216/health", "deregister_critical_service_after": "1m30s"}
    assert notes(fields) == "GET http://isa-billing:8216/health; deregistered after 1m30s critical"


def test_notes_of_an_http_check_are_read_back() -> None:
    assert from_notes("GET http://isa-billing:8216/health; deregistered after 1m30s critical") == {
        "http": "http://isa-billing:8216/health",
        "deregister_critical_service_after": "1m30s",
    }


def test_notes_of_a_tcp_check_are_read_back() -> None:
    assert from_notes("TCP isa-minio-grpc:50051; deregistered after 1m30s critical") == {
        "tcp": "isa-minio-grpc:50051",
        "deregister_critical_service_after": "1m30s",
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Ask the billing team.",
        "FETCH http://a:1/; deregistered after 1m30s critical",
        "GET http://a:1/; deregistered after 1m30s critical, or so",
        "See: TCP a:1; deregistered after 1m30s critical",
    ],
)
def test_somebody_elses_notes_are_not_taken_for_ours(text: str) -> None:
    assert from_notes(text) == {}


# The summary


@pytest.mark.parametrize(
    ("service", "said"),
    [
        (BILLING, {"address": "isa-billing:8216", "check": "http://isa-billing:8216/health"}),
        (MINIO, {"address": "isa-minio-grpc:50051", "check": "isa-minio-grpc:50051"}),
    ],
    ids=["http", "tcp"],
)
def test_a_summary_has_where_a_service_is_and_what_its_check_requests(service: Service, said: dict[str, str]) -> None:
    assert summary(service) == said


def test_a_summary_names_every_check() -> None:
    both = Service(**{**dict(BILLING), "checks": BILLING.checks + MINIO.checks})
    assert summary(both)["check"] == "http://isa-billing:8216/health, isa-billing:8216"


# The agents' configuration files


def test_the_shared_agents_configuration_is_exactly_this() -> None:
    assert agent_config(STAGING_NAMES, "staging-consul") == {
        "node_name": "consul-agent-shared",
        "datacenter": "dc1",
        "bind_addr": "0.0.0.0",  # noqa: S104 - within the container's network
        "client_addr": "0.0.0.0",  # noqa: S104 - the same
        "disable_update_check": True,
        "server": False,
        "retry_join": ["staging-consul"],
        "retry_interval": "5s",
        "enable_local_script_checks": True,
        "telemetry": {"prometheus_retention_time": "24h", "disable_hostname": True},
    }


def test_the_servers_configuration_is_exactly_this() -> None:
    assert server_config(STAGING_NAMES) == {
        "node_name": "staging-consul",
        "datacenter": "dc1",
        "bind_addr": "0.0.0.0",  # noqa: S104 - within the container's network
        "client_addr": "0.0.0.0",  # noqa: S104 - the same
        "disable_update_check": True,
        "server": True,
        "bootstrap_expect": 1,
        "ui_config": {"enabled": True},
    }


def test_what_the_agent_reads_again_while_it_runs_is_exactly_this() -> None:
    assert reloadable_config() == {"log_level": "INFO"}


@pytest.mark.parametrize(
    "config", [agent_config(STAGING_NAMES, "staging-consul"), server_config(STAGING_NAMES)], ids=["agent", "server"]
)
def test_what_can_be_read_again_stands_in_no_file_that_needs_a_new_start(config: dict[str, object]) -> None:
    assert [key for key in reloadable_config() if key in config] == []


def test_the_configuration_of_consul_esm_is_exactly_this() -> None:
    assert esm_config(STAGING_NAMES) == {
        "datacenter": "dc1",
        "http_addr": "consul-agent-shared:8500",
        "external_node_meta": {"external-node": "true"},
        "client_address": "127.0.0.1:8080",
        "telemetry": {"prometheus_retention_time": "24h", "disable_hostname": True},
    }


def test_consul_esm_is_given_a_token_where_there_is_one() -> None:
    assert esm_config(STAGING_NAMES, "a-token") == {**esm_config(STAGING_NAMES), "token": "a-token"}


def test_consul_esm_reaches_a_secured_agent_over_https_and_has_its_authority() -> None:
    assert esm_config(STAGING_NAMES, "a-token", "/etc/consul-esm/ca.pem") == {
        **esm_config(STAGING_NAMES, "a-token"),
        "http_addr": "https://consul-agent-shared:8501",
        "ca_file": "/etc/consul-esm/ca.pem",
    }


def test_consul_esm_looks_after_a_node_with_the_meta_that_the_external_one_has_and_does_not_ping_it() -> None:
    assert EXTERNAL_NODE_META == {"external-node": "true", "external-probe": "false"}


def test_an_agent_takes_other_interfaces() -> None:
    found = agent_config(STAGING_NAMES, "127.0.0.1", bind="127.0.0.2", client="127.0.0.4")
    assert (found["bind_addr"], found["client_addr"]) == ("127.0.0.2", "127.0.0.4")


def test_a_server_takes_other_interfaces() -> None:
    found = server_config(STAGING_NAMES, bind="127.0.0.1", client="127.0.0.4")
    assert (found["bind_addr"], found["client_addr"]) == ("127.0.0.1", "127.0.0.4")
