"""`verify` on a real Consul 1.17.2: each thing is made wrong for real, found, named, and told what to do about."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import urllib3

from consul_cluster.cluster_names import STAGING_NAMES
from services.field_types import OWNER_KEY
from tests.local.clones import Clone
from tests.local.stacks import OWNER, TWELVE, register, repair

OURS = {OWNER_KEY: f"{OWNER}registration-order_service"}
OTHERS = {OWNER_KEY: "pulumi/consul-staging/other/registration-order_service"}


@pytest.fixture(autouse=True)
def _repair(clone: Clone) -> Iterator[None]:
    yield
    repair(clone.sandbox)


def duplicate(clone: Clone, service_id: str, meta: dict[str, str]) -> None:
    clone.agent.register({"ID": service_id, "Name": "order_service", "Port": 1, "Meta": meta})


def put(address: str, path: str, body: dict[str, Any]) -> None:
    answer = urllib3.request("PUT", f"{address}{path}", json=body)
    assert answer.status == 200, answer.data


def findings(clone: Clone) -> dict[str, list[dict[str, str]]]:
    """Return the findings of each area that has some; the command must then have ended with 1."""
    result = clone.run("verify", "--json")
    areas = json.loads(result.stdout)["areas"]
    found = {area: verdict["findings"] for area, verdict in areas.items() if verdict["findings"]}
    assert result.returncode == bool(found), result.stderr
    return found


def finding(clone: Clone, area: str) -> dict[str, str]:
    """Return the one finding, which must be of an area."""
    found = findings(clone)
    assert list(found) == [area], found
    (one,) = found[area]
    return one


def within(seconds: float, clone: Clone, area: str) -> dict[str, str]:
    """Return an area's first finding, once there is one."""
    until = time.monotonic() + seconds
    while not (found := findings(clone)).get(area):
        assert time.monotonic() < until, found
    return found[area][0]


def test_what_the_engine_deployed_is_well_in_a_line_an_area(clone: Clone) -> None:
    result = clone.run("verify")
    assert result.returncode == 0, result.stdout + result.stderr
    headline, *areas = result.stdout.splitlines()
    assert re.fullmatch(r"local: all is well \(\d\.\d\d s\)", headline)
    assert [line.split()[:2] for line in areas] == [
        ["ok", area] for area in ("APIs", "members", "registrations", "health", "discovery", "metrics", "others")
    ]


def test_an_interval_that_alone_was_changed_is_well_though_the_servers_are_not_told_of_it(clone: Clone) -> None:
    with edited(clone, _BILLING, _BILLING.replace("seconds=1", "seconds=2")):
        assert clone.make("up").returncode == 0
        done = clone.run("verify", "--wait", "15s")
        assert (done.returncode, done.stdout.splitlines()[0].partition(" (")[0]) == (0, "local: all is well")


def test_a_service_without_a_port_is_deployed_and_well(clone: Clone) -> None:
    report = "USER.service(environment, 'report', None, checks=(TtlCheck(ttl=timedelta(seconds=3)),))"
    with edited(clone, _BILLING, f"{_BILLING}, {report}", "\nfrom services.checks import TtlCheck\n"):
        first = clone.make("up")
        assert first.returncode == 0, first.stdout + first.stderr
        assert clone.run("verify").returncode == 0
        again = clone.make("up")
        assert (again.returncode, f"{len(TWELVE) + 3} unchanged" in again.stdout) == (0, True), again.stdout
        assert "report_service" in clone.run("self-registrations").stdout
        drilled = clone.run("drill", "report_service")
        assert drilled.returncode == 0, drilled.stdout + drilled.stderr


_BILLING = "USER.service(environment, 'billing', 8216, interval=timedelta(seconds=1))"


@contextmanager
def edited(clone: Clone, line: str, other: str, appended: str = "") -> Iterator[None]:
    """Have another line in the roster, and the deployed services as before afterwards."""
    users = clone.folder / "services" / "user_services.py"
    before = users.read_text()
    assert line in before
    try:
        users.write_text(before.replace(line, other) + appended)
        yield
    finally:
        users.write_text(before)
        clone.make("up")


def test_a_deregistered_service_is_found(clone: Clone) -> None:
    clone.agent.deregister("billing_service")
    one = finding(clone, "registrations")
    assert one["subject"] == "billing_service"
    assert one["found"] == "it is not registered there"
    assert one["advice"] == "make start-service SERVICE=billing_service STACK=local, then make heal STACK=local"


def test_a_port_that_was_changed_through_the_agents_api_is_found(clone: Clone) -> None:
    register(clone.sandbox, clone.service("billing_service"), port=9999)
    found = within(5, clone, "registrations")
    assert (found["subject"], found["expected"]) == ("billing_service", "port 8216")
    assert found["found"].endswith(": port 9999")


def test_a_check_that_was_changed_through_the_agents_api_is_found(clone: Clone) -> None:
    billing = clone.service("billing_service")
    slow = billing.checks[0].model_copy(update={"interval": timedelta(seconds=20)})
    register(clone.sandbox, billing.model_copy(update={"checks": (slow,)}))
    found = within(5, clone, "registrations")
    assert found["expected"] == "billing_service-health interval 1s"
    assert found["found"].endswith(": billing_service-health interval 20s")


def test_a_service_that_the_roster_does_not_know_is_found(clone: Clone) -> None:
    clone.agent.register({"ID": "web-1", "Name": "web", "Port": 80})
    one = finding(clone, "others")
    assert one["subject"] == "web"
    assert one["found"].startswith(f"id web-1 on {STAGING_NAMES.agent_node}, at {clone.sandbox.agent}:80, registered ")
    assert "add it to services/" in one["advice"]


@pytest.mark.parametrize(
    ("meta", "origin"),
    [
        (OURS, f"left behind by this stack ({OURS[OWNER_KEY]})"),
        ({}, "registered by the service itself, over the API"),
        (OTHERS, f"another party's ({OTHERS[OWNER_KEY]})"),
    ],
    ids=["ours", "its own", "another stack's"],
)
def test_a_duplicate_is_found_with_its_origin(clone: Clone, meta: dict[str, str], origin: str) -> None:
    duplicate(clone, "order-2", meta)
    one = finding(clone, "others")
    assert one["subject"] == "order_service"
    assert one["found"].startswith(f"id order-2 on {STAGING_NAMES.agent_node}, ")
    assert one["found"].endswith(origin)


def test_a_service_that_stopped_is_found_and_said_how_to_start(clone: Clone) -> None:
    clone.stand_in("billing_service").stop()
    found = within(5, clone, "health")
    assert found["subject"] == "billing_service"
    assert "connection refused" in found["found"]
    assert found["advice"].startswith("make start-service SERVICE=billing_service")


def test_a_self_registration_with_the_server_is_listed_and_is_no_finding(clone: Clone) -> None:
    at = {"Address": clone.service("billing_service").host, "Port": 8216}
    clone.server.register({"ID": "billing-host", "Name": "billing_service", **at, "Check": {"TTL": "30s"}})
    result = clone.run("verify")
    assert result.returncode == 0, result.stdout
    assert f"on {STAGING_NAMES.server_node} too, registered by the services themselves, over the API: " in result.stdout
    assert "billing_service (id billing-host)" in result.stdout


def left_by_a_dead_node(clone: Clone, service_id: str, meta: dict[str, str]) -> None:
    service = {"ID": service_id, "Service": "order_service", "Port": 1, "Meta": meta}
    body = {"Node": "old-agent", "Address": "10.0.0.9", "Service": service}
    put(clone.server.address, "/v1/catalog/register", body)


def test_what_a_dead_node_left_is_found(clone: Clone) -> None:
    left_by_a_dead_node(clone, "order_service", {})
    assert finding(clone, "others")["found"].endswith(
        "registered by the service itself, over the API; its node is dead"
    )


def test_fix_removes_ours_wherever_it_is_and_leaves_the_others(clone: Clone) -> None:
    duplicate(clone, "order-ours", OURS)
    duplicate(clone, "order-own", {})
    duplicate(clone, "order-other", OTHERS)
    left_by_a_dead_node(clone, "order_ours", OURS)
    left_by_a_dead_node(clone, "order_own", {})
    result = clone.run("verify", "--fix")
    assert result.returncode == 1
    assert re.findall(r"^removed .*", result.stdout, re.MULTILINE) == [
        f"removed order_service: id order-ours on {STAGING_NAMES.agent_node}",
        "removed order_service: id order_ours on old-agent",
    ]
    assert clone.agent.all_services().keys() - {s.id for s in clone.sandbox.roster.services} == {
        "order-own",
        "order-other",
    }
    assert set(clone.server.node_services("old-agent")) == {"order_own"}


def test_fix_of_ours_alone_ends_well(clone: Clone) -> None:
    duplicate(clone, "order-ours", OURS)
    result = clone.run("verify", "--fix", "--json")
    assert result.returncode == 0, result.stdout
    assert [stray["id"] for stray in json.loads(result.stdout)["removed"]] == ["order-ours"]


def test_fix_removes_what_the_server_itself_holds_for_good(clone: Clone) -> None:
    clone.server.register({"ID": "order-ours", "Name": "order_service", "Port": 1, "Meta": OURS})
    assert clone.run("verify", "--fix").returncode == 0
    assert clone.server.all_services() == {}


def test_piped_findings_have_no_escape_codes(clone: Clone) -> None:
    duplicate(clone, "order-2", {})
    result = clone.run("verify")
    assert result.returncode == 1
    assert "\x1b" not in result.stdout


def test_an_agent_that_is_away_is_one_message_with_what_the_servers_know(clone: Clone) -> None:
    process = clone.sandbox.agent_process.running
    assert process
    process.kill()
    found = within(20, clone, "members")
    assert (found["subject"], found["found"]) == (STAGING_NAMES.agent_node, "failed, node")
    result = clone.run("verify")
    assert f"http://{clone.sandbox.agent}:8500 (APIs)" in result.stdout
    assert "?      metrics        not seen" in result.stdout
    assert "Traceback" not in result.stderr


def test_a_stack_that_does_not_exist_is_one_message(clone: Clone) -> None:
    result = clone.run("verify", "--stack", "nope")
    assert result.returncode == 2
    assert (
        result.stderr
        == "error: there is no Pulumi.nope.yaml: the stacks of this project are docker-local, local, staging\n"
    )
