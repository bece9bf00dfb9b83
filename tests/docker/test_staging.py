"""What the guide's deployment promises, on a real Docker engine, with registrations over the agent's API."""

import re
import time

import consul
import pytest
import urllib3

from operations.health import statuses
from operations.local import Local
from tests.docker.conftest import AGENT, SERVER, changes, docker, members, ours, passing, within


def node_services(stack: Local) -> list[str]:
    """Return the ids of what the catalog has on the agent's node; nothing while no server answers."""
    try:
        answer = urllib3.request("GET", f"{stack.consul.address}/v1/catalog/node-services/{AGENT}").json()
    except (urllib3.exceptions.HTTPError, ValueError):
        return []
    return sorted(entry["ID"] for entry in answer["Services"])


def test_members_shows_server_and_agent_alive_with_the_guides_names(staging: Local) -> None:
    assert members() == {SERVER: "alive", AGENT: "alive"}


def test_the_catalog_shows_each_of_the_40_once_and_consul(staging: Local) -> None:
    assert node_services(staging) == sorted(service.id for service in staging.roster.services)
    names = urllib3.request("GET", f"{staging.consul.address}/v1/catalog/services").json()
    assert len(names) == 41
    assert "consul" in names


def test_every_check_passes_and_its_output_says_that_it_ran(staging: Local) -> None:
    outputs = [check["Output"] for check in staging.consul.all_checks().values()]
    assert len(outputs) == 40
    assert all(re.match(r"HTTP GET http://isa-\S+/health: 200 OK|TCP connect isa-\S+: Success", o) for o in outputs)


def test_discovery_through_the_agent_as_in_the_guide(staging: Local) -> None:
    client = consul.Consul(host="127.0.0.1", port=8501)
    _, services = client.health.service("billing_service", passing=True)
    assert [(s["Service"]["Address"], s["Service"]["Port"]) for s in services] == [("isa-billing", 8216)]


def test_the_agents_metrics_answer_in_prometheus_format(staging: Local) -> None:
    answer = urllib3.request("GET", f"{staging.consul.address}/v1/agent/metrics?format=prometheus")
    assert b"consul_runtime_alloc_bytes" in answer.data


def test_the_apis_are_published_on_this_machine_alone(staging: Local) -> None:
    assert docker("port", AGENT, "8500") == "127.0.0.1:8501"
    assert docker("port", SERVER, "8500") == "127.0.0.1:8500"


def test_a_second_up_changes_nothing_and_a_refresh_finds_no_drift(staging: Local) -> None:
    assert changes(staging) == {"same": 94}
    assert changes(staging, refresh=True) == {"same": 94}


def test_a_stopped_container_is_critical_within_15_s_and_passing_after_its_start(staging: Local) -> None:
    docker("stop", "--time", "1", "isa-billing")
    within(15, lambda: statuses(staging.consul, staging.roster)["billing_service"] == "critical")
    docker("start", "isa-billing")
    within(15, lambda: statuses(staging.consul, staging.roster)["billing_service"] == "passing")


def test_a_killed_agent_is_failed_within_10_s_and_its_services_drop_out_of_passing(staging: Local) -> None:
    def discovered() -> bool:
        url = f"{staging.ui.removesuffix('/ui')}/v1/health/service/billing_service?passing"
        return bool(urllib3.request("GET", url).json())

    assert discovered()
    docker("kill", AGENT)
    within(10, lambda: members()[AGENT] == "failed")
    within(2, lambda: not discovered())
    docker("start", AGENT)
    passing(staging)
    within(10, discovered)


def test_a_restarted_agent_comes_back_with_all_40_and_without_up(staging: Local) -> None:
    docker("restart", "--time", "30", AGENT)
    passing(staging)
    assert len(node_services(staging)) == 40


def test_a_restarted_server_has_all_40_back_without_up(staging: Local) -> None:
    docker("restart", "--time", "30", SERVER)
    assert docker("inspect", "--format", "{{.RestartCount}}", AGENT) == "0"
    within(60, lambda: node_services(staging) == sorted(service.id for service in staging.roster.services))
    passing(staging)


def test_a_replaced_agent_leaves_comes_back_and_has_all_40(staging: Local) -> None:
    urn = next(u for u in staging.engine.urns() if u.endswith("::agent-container"))
    before = docker("inspect", "--format", "{{.Id}}", AGENT)
    assert changes(staging, replace=[urn])["replace"] == 1
    assert docker("inspect", "--format", "{{.Id}}", AGENT) != before
    passing(staging)
    assert members() == {SERVER: "alive", AGENT: "alive"}
    assert changes(staging, refresh=True) == {"same": 94}


def test_an_agent_recreated_without_its_volume_is_filled_again_by_up_refresh(staging: Local) -> None:
    docker("stop", "--time", "30", AGENT)
    docker("rm", "--volumes", AGENT)
    docker("volume", "rm", f"{AGENT}-data")
    assert changes(staging, refresh=True)["create"] == 42  # container, volume and the 40
    passing(staging)
    assert len(node_services(staging)) == 40


def test_a_service_stopped_for_longer_than_90_s_is_gone_and_back_after_up_refresh(staging: Local) -> None:
    docker("stop", "--time", "1", "isa-billing")
    within(90 + 30 + 15, lambda: "billing_service" not in node_services(staging))
    docker("start", "isa-billing")
    assert changes(staging, refresh=True)["create"] == 1
    within(15, lambda: statuses(staging.consul, staging.roster)["billing_service"] == "passing")


@pytest.mark.timeout(400)
def test_five_minutes_later_the_same_is_true(staging: Local) -> None:
    time.sleep(300)  # anti-entropy runs every one to two minutes
    assert node_services(staging) == sorted(service.id for service in staging.roster.services)
    passing(staging, 1)
    assert changes(staging, refresh=True) == {"same": 94}


def test_destroy_leaves_nothing_of_ours_on_docker(staging: Local) -> None:
    staging.engine.destroy()
    assert ours() == ""
