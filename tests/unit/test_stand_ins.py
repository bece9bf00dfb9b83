"""Which processes stand in for which services."""

import json
from pathlib import Path

from operations.sandbox.stand_ins import StandIn, stand_ins
from services.checks import GrpcCheck, HttpCheck, TcpCheck, TtlCheck
from services.environment import Environment
from services.model import Service
from services.roster import Roster
from services.user_services import USER

WHERE = Environment("staging", "127.0.0.3")
AGENT = "http://127.0.0.2:8500"


def of(*services: Service) -> dict[str, StandIn]:
    return stand_ins(Roster(services=services), AGENT, Path("folder"))


def task(stand_in: StandIn) -> dict[str, object]:
    document: dict[str, object] = json.loads(str(stand_in.process.command[-1]))
    return document


def test_a_stand_in_answers_the_path_that_the_check_asks_for() -> None:
    found = of(USER.service(WHERE, "billing", 8216, path="/ready"))["billing_service"]
    assert found.addresses == [("127.0.0.3", 8216)]
    assert task(found) == {"host": "127.0.0.3", "ports": [[8216, "http", ["/ready"]]], "agent": AGENT, "reports": []}


def test_a_stand_in_listens_on_every_port_that_is_checked() -> None:
    checks = (HttpCheck(), GrpcCheck(port=9000), TcpCheck(port=9001))
    found = of(USER.service(WHERE, "billing", 8216, checks=checks))["billing_service"]
    assert task(found)["ports"] == [[8216, "http", ["/health"]], [9000, "grpc", []], [9001, "tcp", []]]


def test_a_stand_in_of_a_service_with_a_ttl_check_reports_three_times_in_its_ttl() -> None:
    found = of(USER.service(WHERE, "report", None, checks=(TtlCheck(),)))["report_service"]
    assert (found.addresses, task(found)["reports"]) == ([], [["report_service-ttl", 10.0]])


def test_two_names_of_one_address_have_one_stand_in() -> None:
    renamed = USER.service(WHERE, "invoice", 8216, path="/ready", same_address_as="billing_service")
    found = of(USER.service(WHERE, "billing", 8216), renamed)
    assert found["billing_service"] == found["invoice_service"]
    assert task(found["billing_service"])["ports"] == [[8216, "http", ["/health", "/ready"]]]


def test_two_services_of_one_container_have_a_stand_in_each() -> None:
    found = of(USER.service(WHERE, "a", 1001, container="isa"), USER.service(WHERE, "b", 1002, container="isa"))
    assert [each.process.name for each in found.values()] == ["isa", "b_service"]
