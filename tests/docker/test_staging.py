"""What a deployed staging promises, on a real Docker engine, with each of the three registrations."""

import re
import time

import consul
import pytest
import urllib3

from operations.stack import Stack
from operations.up import wait_for_passing
from operations.verify.report import report
from tests.docker.conftest import (
    AGENT,
    SERVER,
    all_40,
    changes,
    docker,
    instances,
    members,
    ours,
    passing,
    status,
)
from tests.waiting import within

RAN = r"HTTP GET http://isa-\S+/health: 200 OK|TCP connect isa-\S+: Success"


@pytest.fixture(scope="module", autouse=True)
def _services() -> None:
    """The program has the project's own services, with the intervals that they have in staging."""


def discovered(stack: Stack, name: str) -> bool:
    url = f"{stack.settings.server_address}/v1/health/service/{name}?passing"
    return bool(urllib3.request("GET", url).json())


def registration(stack: Stack) -> str:
    return stack.settings.registration


def test_members_shows_server_and_agent_alive_under_their_names(staging: Stack) -> None:
    assert members() == {SERVER: "alive", AGENT: "alive"}


def test_the_catalog_shows_each_of_the_40_once_and_consul(staging: Stack) -> None:
    assert instances(staging) == all_40(staging)
    names = urllib3.request("GET", f"{staging.consul.address}/v1/catalog/services").json().keys()
    of_consul = {"consul", "consul-esm"} if registration(staging) == "catalog" else {"consul"}
    assert names - {name for name, _ in all_40(staging)} == of_consul


def test_no_check_is_critical(staging: Stack) -> None:
    assert urllib3.request("GET", f"{staging.consul.address}/v1/health/state/critical").json() == []


def test_every_check_passes_and_its_output_says_that_it_ran(staging: Stack) -> None:
    checks = [check for check in staging.consul.node_checks(staging.node) if check["ServiceName"] != ""]
    assert len(checks) == 40
    assert [check["Output"] for check in checks if not re.match(RAN, check["Output"])] == []


def test_make_up_counts_each_of_the_40_as_passing(staging: Stack) -> None:
    assert set(wait_for_passing(staging).values()) == {"passing"}


def test_verify_finds_all_well(staging: Stack) -> None:
    assert [verdict for verdict in report(staging).verdicts if not verdict.well] == []


def test_a_client_of_the_agent_discovers_a_service(staging: Stack) -> None:
    client = consul.Consul(host="127.0.0.1", port=8501)
    _, services = client.health.service("billing_service", passing=True)
    assert [(s["Service"]["Address"], s["Service"]["Port"]) for s in services] == [("isa-billing", 8216)]


def test_the_agents_metrics_answer_in_prometheus_format(staging: Stack) -> None:
    answer = urllib3.request("GET", f"{staging.consul.address}/v1/agent/metrics?format=prometheus")
    assert b"consul_runtime_alloc_bytes" in answer.data


def test_the_apis_are_published_on_this_machine_alone(staging: Stack) -> None:
    assert docker("port", AGENT, "8500") == "127.0.0.1:8501"
    assert docker("port", SERVER, "8500") == "127.0.0.1:8500"


def test_a_second_up_changes_nothing_and_a_refresh_finds_no_drift(staging: Stack) -> None:
    assert changes(staging).keys() == {"same"}
    assert changes(staging, refresh=True).keys() == {"same"}


def test_a_stopped_container_is_critical_within_15_s_and_passing_after_its_start(staging: Stack) -> None:
    docker("stop", "--time", "1", "isa-billing")
    within(15, lambda: status(staging, "billing_service") == "critical")
    assert not discovered(staging, "billing_service")
    docker("start", "isa-billing")
    within(15, lambda: status(staging, "billing_service") == "passing")


def test_of_a_critical_service_up_refresh_starts_the_stand_in_and_leaves_the_registration(staging: Stack) -> None:
    docker("stop", "--time", "1", "isa-billing")
    within(15, lambda: status(staging, "billing_service") == "critical")
    assert {what: count for what, count in changes(staging, refresh=True).items() if what != "same"} == {"update": 1}
    within(15, lambda: status(staging, "billing_service") == "passing")


def test_a_killed_agent_is_failed_within_10_s_and_its_services_drop_out_of_passing(staging: Stack) -> None:
    its_service = "consul-esm" if registration(staging) == "catalog" else "billing_service"
    assert discovered(staging, its_service)
    docker("kill", AGENT)
    within(10, lambda: members()[AGENT] == "failed")
    within(2, lambda: not discovered(staging, its_service))
    docker("start", AGENT)
    passing(staging)
    within(45, lambda: discovered(staging, its_service))


def test_a_restarted_agent_comes_back_with_all_40_and_without_up(staging: Stack) -> None:
    docker("restart", "--time", "30", AGENT)
    within(45, lambda: instances(staging) == all_40(staging))
    passing(staging)


def test_a_restarted_server_has_all_40_back_without_up(staging: Stack) -> None:
    docker("restart", "--time", "30", SERVER)
    within(60, lambda: instances(staging) == all_40(staging))
    passing(staging)
    assert docker("inspect", "--format", "{{.RestartCount}}", AGENT) == "0"


def test_a_replaced_agent_leaves_comes_back_and_has_all_40(staging: Stack) -> None:
    urn = next(u for u in staging.engine.urns() if u.endswith("::agent-container"))
    before = docker("inspect", "--format", "{{.Id}}", AGENT)
    assert changes(staging, replace=[urn])["replace"] == 2  # and what makes it read its files
    assert docker("inspect", "--format", "{{.Id}}", AGENT) != before
    passing(staging)
    assert members() == {SERVER: "alive", AGENT: "alive"}
    assert changes(staging, refresh=True).keys() == {"same"}


def test_an_agent_recreated_without_its_volumes_is_filled_again_by_up_refresh(staging: Stack) -> None:
    docker("stop", "--time", "30", AGENT)
    docker("rm", AGENT, f"{AGENT}-reload")
    docker("volume", "rm", f"{AGENT}-data", f"{AGENT}-files")
    changes(staging, refresh=True)
    within(45, lambda: instances(staging) == all_40(staging))
    passing(staging)
    assert changes(staging, refresh=True).keys() == {"same"}


def test_a_service_stopped_for_longer_than_90_s_is_gone_and_comes_back_as_the_readme_says(staging: Stack) -> None:
    docker("stop", "--time", "1", "isa-billing")
    within(90 + 30 + 15, lambda: ("billing_service", staging.node) not in instances(staging))
    docker("start", "isa-billing")
    if registration(staging) == "files":
        docker("exec", AGENT, "consul", "reload")
    else:
        assert changes(staging, refresh=True)["create"] == 1
    within(15, lambda: status(staging, "billing_service") == "passing")


@pytest.mark.timeout(400)
def test_two_minutes_later_the_same_is_true(staging: Stack) -> None:
    time.sleep(125)  # anti-entropy runs every one to two minutes
    assert instances(staging) == all_40(staging)
    passing(staging, 1)
    assert changes(staging, refresh=True).keys() == {"same"}


def test_destroy_leaves_nothing_of_ours_on_docker(staging: Stack) -> None:
    staging.engine.destroy()
    assert ours() == ""
