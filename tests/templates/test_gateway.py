"""What a gateway sees of services that stop, start and change, with the files that consul-template writes."""

import json
import time

import pytest

from tests.templates.gateway import HTTP, SECOND_BILLING, Gateway, burst
from tests.waiting import within

BILLING, AUTH = "billing_service", "auth_service"
FORTY_TTL = [f"burst-{number}" for number in range(1, 41)]


@pytest.fixture
def quiet(running: Gateway) -> Gateway:
    """A gateway whose services all answer, and whose nginx has read the last files."""
    running.sandbox.start()
    within(30, lambda: set(running.answering(HTTP).values()) == {200} and len(running.upstreams(BILLING)) == 2)
    time.sleep(3)
    return running


def test_through_the_gateway_all_31_http_services_answer(quiet: Gateway) -> None:
    assert len(HTTP) == 31
    assert quiet.answering(HTTP) == dict.fromkeys(HTTP, 200)


def test_prometheus_has_each_instance_of_each_http_service_as_a_target(quiet: Gateway) -> None:
    targets = json.loads(quiet.written["prometheus-targets.json"])
    services = [service for service in quiet.sandbox.roster.services if service.kind != "grpc"]
    expected = [([each.address], {"service": each.name, "service_id": each.id}) for each in services]
    assert sorted((each["targets"], each["labels"]["service_id"]) for each in targets) == sorted(
        (address, labels["service_id"]) for address, labels in expected
    )
    assert {each["labels"]["service"] for each in targets} == set(HTTP)


def test_an_instance_that_refuses_connections_is_out_within_15_s_and_no_request_fails_and_back_after_its_start(
    quiet: Gateway,
) -> None:
    services = {service.id: service for service in quiet.sandbox.roster.services}
    first, second = services[BILLING].address, services[SECOND_BILLING].address
    assert quiet.upstreams(BILLING) == [first, second]
    stand_in = quiet.sandbox.stand_in(services[BILLING])
    stand_in.stop()
    reloads = quiet.reloads
    within(15, lambda: quiet.upstreams(BILLING) == [second] and quiet.reloads > reloads)
    time.sleep(1)  # nginx starts the workers that know
    before = len(quiet.answered_by())
    assert {quiet.get(BILLING) for _ in range(200)} == {200}
    assert set(quiet.answered_by()[before:]) == {("200", second)}
    stand_in.start()
    within(15, lambda: quiet.upstreams(BILLING) == [first, second])
    time.sleep(3)
    before = len(quiet.answered_by())
    assert {quiet.get(BILLING) for _ in range(20)} == {200}
    assert set(quiet.answered_by()[before:]) == {("200", first), ("200", second)}


def test_while_an_instance_stops_and_starts_no_request_to_the_other_services_fails(quiet: Gateway) -> None:
    [auth] = [service for service in quiet.sandbox.roster.services if service.id == AUTH]
    others = [name for name in HTTP if name != AUTH]
    stand_in = quiet.sandbox.stand_in(auth)
    stand_in.stop()
    answered = [quiet.answering(others)]

    def unavailable() -> bool:
        answered.append(quiet.answering(others))
        return quiet.get(AUTH) == 503

    within(15, unavailable)
    stand_in.start()

    def available() -> bool:
        answered.append(quiet.answering(others))
        return quiet.get(AUTH) == 200

    within(15, available)
    assert {status for each in answered for status in each.values()} == {200}


@pytest.fixture
def bursting(quiet: Gateway) -> Gateway:
    """The same with forty more services, whose statuses a test reports itself, and which pass."""
    agent = quiet.sandbox.agent_api
    for service_id in FORTY_TTL:
        check = {"CheckID": f"service:{service_id}", "TTL": "10m", "Status": "passing"}
        service = {"ID": service_id, "Name": service_id, "Tags": ["fastapi"], "Address": "127.0.0.1", "Port": 9}
        agent.register({**service, "Checks": [check]})
    within(15, lambda: all(quiet.upstreams(service_id) for service_id in FORTY_TTL))
    time.sleep(4)
    return quiet


def test_forty_statuses_that_change_within_a_second_cause_one_or_two_reloads(bursting: Gateway) -> None:
    before = bursting.reloads
    assert burst(bursting, "fail", FORTY_TTL) < 1
    within(10, lambda: not any(bursting.upstreams(service_id) for service_id in FORTY_TTL))
    time.sleep(5)
    assert 1 <= bursting.reloads - before <= 2
    for service_id in FORTY_TTL:
        bursting.sandbox.agent_api.deregister(service_id)


def test_while_consul_is_away_the_last_files_stay_and_the_gateway_answers(quiet: Gateway) -> None:
    before, sandbox = quiet.written, quiet.sandbox
    for process in (sandbox.server_process, sandbox.agent_process):
        found = process.running
        assert found
        found.kill()
        found.wait(5)
    time.sleep(50)  # with the default of 12 attempts, consul-template would have ended
    assert quiet.consul_template.poll() is None
    assert quiet.written == before
    assert quiet.answering(HTTP) == dict.fromkeys(HTTP, 200)
    sandbox.start()
    within(60, lambda: set(quiet.answering(HTTP).values()) == {200} and len(quiet.upstreams(BILLING)) == 2)
    # It follows again.
    [auth] = [service for service in sandbox.roster.services if service.id == AUTH]
    time.sleep(15)
    sandbox.stand_in(auth).stop()
    within(20, lambda: not quiet.upstreams(AUTH))
