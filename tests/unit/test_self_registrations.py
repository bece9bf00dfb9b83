"""What `compare` says of each way in which a service can be registered, and what it asks Consul for."""

import json
from collections.abc import Iterator

import pytest
import typer
from typer.testing import CliRunner, Result

from operations import self_registrations as command
from operations.self_registrations import Comparison, compare_stack
from operations.stack import Stack
from services.checks import TtlCheck
from services.environment import Environment
from services.roster import Roster
from services.user_services import USER
from tests.fake_consul import AGENT, SERVER, FakeConsul, running
from tests.unit.stacks import BILLING, MINIO, only_stack, stack_at, two_services

CHECK = f"{BILLING}-check"
MARK = {"managed-by": "pulumi/consul-staging/local/registration-billing_service"}
HOST = "isa-billing"
RELEASE = "deploy a release that does not register itself"


@pytest.fixture
def consul() -> Iterator[FakeConsul]:
    """A catalog in which the agent has both services."""
    with running(FakeConsul()) as fake:
        fake.add_node(AGENT, Address="10.0.0.2")
        fake.add_node(SERVER, Address="10.0.0.1")
        fake.add(AGENT, BILLING, BILLING, {"Type": "http"}, Address=HOST, Port=8216, Meta=MARK)
        minio = {"managed-by": "pulumi/consul-staging/local/registration-minio_grpc_service"}
        fake.add(AGENT, MINIO, MINIO, {"Type": "tcp"}, Port=50051, Meta=minio)
        yield fake


def own(
    fake: FakeConsul,
    status: str = "passing",
    kind: str = "ttl",
    node: str = SERVER,
    **fields: object,
) -> None:
    """Have billing register itself, as the platform's services do."""
    stated = {"Address": HOST, "Port": 8216, **fields}
    fake.add(node, "billing-1", BILLING, {"Type": kind, "Status": status}, **stated)


def stack(fake: FakeConsul) -> Stack:
    return stack_at(fake.address, fake.address, two_services())


def billing(fake: FakeConsul) -> Comparison:
    return compare_stack(stack(fake))[0]


def test_a_service_with_heartbeats_and_a_passing_check_at_one_address_can_drop_them(consul: FakeConsul) -> None:
    own(consul)
    one = billing(consul)
    assert (one.verdict.step, one.can_drop, one.verdict.wrong) == ("release", True, False)
    assert [(each.node, each.heartbeat) for each in one.own] == [(SERVER, "passing")]


def test_a_service_that_only_the_agent_has_is_done(consul: FakeConsul) -> None:
    one = billing(consul)
    assert (one.verdict.step, one.verdict.message, one.can_drop) == ("done", "nothing to do", False)


def test_a_service_that_the_agent_does_not_have_is_to_be_deployed(consul: FakeConsul) -> None:
    del consul.services[BILLING]
    own(consul)
    one = billing(consul)
    assert (one.ours, one.verdict.step, one.verdict.wrong) == (None, "deploy", False)


@pytest.mark.parametrize("found", ["warning", "missing"])
def test_a_service_whose_check_does_not_pass_keeps_its_heartbeats(consul: FakeConsul, found: str) -> None:
    if found == "missing":
        del consul.checks[CHECK]
    else:
        consul.set_status(CHECK, found)
    own(consul)
    one = billing(consul)
    assert (one.verdict.step, one.can_drop, one.verdict.wrong) == ("compare", False, False)
    assert found in one.verdict.message


def test_a_service_whose_agent_is_gone_keeps_its_heartbeats(consul: FakeConsul) -> None:
    own(consul)
    consul.add_check(AGENT, "", CheckID="serfHealth", Status="critical")
    assert not billing(consul).can_drop


def test_a_service_at_another_address_keeps_its_heartbeats_and_the_address_is_reported(consul: FakeConsul) -> None:
    own(consul, Address="10.0.0.77")
    one = billing(consul)
    assert (one.verdict.step, one.verdict.wrong) == ("compare", False)
    assert "billing-1 is at 10.0.0.77:8216" in one.verdict.message


def test_an_instance_without_an_address_is_at_its_nodes(consul: FakeConsul) -> None:
    own(consul, Address="")
    assert billing(consul).own[0].at == "10.0.0.1:8216"


def test_another_port_than_the_rosters_is_wrong(consul: FakeConsul) -> None:
    own(consul, Port=8299)
    verdict = billing(consul).verdict
    assert verdict.wrong
    assert verdict.message == "billing-1 is at port 8299, the roster says 8216"


def test_a_service_without_a_port_that_registers_itself_without_one_can_drop_its_heartbeats() -> None:
    report = USER.service(Environment("staging"), "report", None, checks=(TtlCheck(),))
    with running(FakeConsul()) as fake:
        fake.add_node(SERVER, Address="10.0.0.1")
        ours = {"managed-by": "pulumi/consul-staging/local/registration-report_service"}
        stated = {"Address": "isa-report", "Port": 0}
        fake.add(AGENT, report.id, report.name, {"Type": "ttl"}, Meta=ours, **stated)
        fake.add(SERVER, "report-1", report.name, {"Type": "ttl"}, **stated)
        [one] = compare_stack(stack_at(fake.address, fake.address, Roster(services=(report,))))
    assert (one.verdict.step, one.can_drop, one.verdict.wrong) == ("release", True, False)
    assert one.own[0].at == "isa-report"


def test_heartbeats_of_a_service_whose_check_fails_are_wrong(consul: FakeConsul) -> None:
    consul.set_status(CHECK, "critical")
    own(consul)
    assert billing(consul).verdict.wrong


def test_a_service_that_fails_its_check_and_sends_no_heartbeats_is_down_and_not_wrong(consul: FakeConsul) -> None:
    consul.set_status(CHECK, "critical")
    own(consul, "critical")
    assert not billing(consul).verdict.wrong


def test_what_stopped_its_heartbeats_left_something_to_deregister(consul: FakeConsul) -> None:
    own(consul, "critical")
    one = billing(consul)
    assert (one.verdict.step, one.verdict.message) == ("done", f"deregister what it left: billing-1 on {SERVER}")


def test_a_registration_without_a_ttl_check_sends_no_heartbeats(consul: FakeConsul) -> None:
    consul.add(SERVER, "billing-1", BILLING, Address=HOST, Port=8216)
    consul.add(SERVER, "billing-2", BILLING, {"Type": "http"}, Address=HOST, Port=8216)
    assert [each.heartbeat for each in billing(consul).own] == [None, None]


def test_the_id_at_the_agent_in_another_partys_hands_is_wrong(consul: FakeConsul) -> None:
    consul.services[BILLING]["Meta"] = {}
    verdict = billing(consul).verdict
    assert verdict.message == f"another party holds the id billing_service at the agent: {RELEASE}"
    assert verdict.wrong


def test_the_id_at_the_server_that_is_to_check_it_meanwhile_is_wrong(consul: FakeConsul) -> None:
    consul.add(SERVER, BILLING, BILLING, {"Type": "ttl"}, Address=HOST, Port=8216)
    verdict = billing(consul).verdict
    assert verdict.message.startswith("staging-consul has its id: give its line another one")
    assert verdict.wrong


def test_a_registration_that_took_the_place_of_the_stacks_is_wrong_and_named(consul: FakeConsul) -> None:
    del consul.services[BILLING]
    own(consul, node=AGENT)
    verdict = billing(consul).verdict
    assert verdict.message == f"billing-1 stands in its place at the agent: {RELEASE}"
    assert (verdict.step, verdict.wrong) == ("deploy", True)


def test_a_service_that_registers_itself_with_an_http_check_is_not_taken_for_what_it_left(consul: FakeConsul) -> None:
    own(consul, kind="http")
    assert billing(consul).verdict.message == RELEASE


def test_what_clients_would_lose_comes_first_with_what_the_roster_has_to_say(consul: FakeConsul) -> None:
    meta = {"base_path": "/api/v1/billing", "version": "1.4.0", "environment": "staging"}
    own(consul, Tags=["v1", "preferred"], Meta=meta)
    one = billing(consul)
    assert (one.verdict.step, one.can_drop, one.verdict.wrong) == ("compare", False, False)
    assert one.verdict.message == (
        "first, its line in services/user_services.py: tags=('preferred',), "
        "meta={'base_path': '/api/v1/billing', 'version': '1.4.0'}"
    )


def test_what_the_roster_states_already_is_not_lost(consul: FakeConsul) -> None:
    own(consul, Tags=["v1", "fastapi"], Meta={"team": "user-platform"})
    assert billing(consul).can_drop


def test_of_several_instances_each_is_compared_with_what_registered_itself_at_its_address(consul: FakeConsul) -> None:
    where = Environment("staging")
    second = USER.service(where, "billing", 8217, id="billing_service-2", container="isa-billing-2")
    both = Roster(services=(USER.service(where, "billing", 8216), second))
    owner = {"managed-by": "pulumi/consul-staging/local/registration-billing_service-2"}
    consul.add(AGENT, second.id, BILLING, {"Type": "http"}, Address="isa-billing-2", Port=8217, Meta=owner)
    own(consul, Address="isa-billing-2", Port=8217)
    first, other = compare_stack(stack_at(consul.address, consul.address, both))
    assert (first.ours and first.ours.id, first.own) == (BILLING, ())
    assert (other.ours and other.ours.id, [each.id for each in other.own]) == (second.id, ["billing-1"])


def test_a_service_of_another_name_is_nobodys_duplicate(consul: FakeConsul) -> None:
    consul.add(SERVER, BILLING, "invoices", {"Type": "ttl"})
    assert billing(consul).own == ()


def test_it_asks_once_a_node_and_twice_more_whatever_the_number_of_services(consul: FakeConsul) -> None:
    own(consul)
    compare_stack(stack(consul))
    assert len(consul.requests) == 4


# The command


def typed(consul: FakeConsul, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    only_stack(monkeypatch, lambda: stack(consul))
    app = typer.Typer()
    app.command()(command.self_registrations)
    return CliRunner().invoke(app, arguments)


def test_all_consistent_is_0(consul: FakeConsul, monkeypatch: pytest.MonkeyPatch) -> None:
    own(consul)
    assert typed(consul, monkeypatch).exit_code == 0


def test_a_contradiction_is_1(consul: FakeConsul, monkeypatch: pytest.MonkeyPatch) -> None:
    own(consul, Port=8299)
    assert typed(consul, monkeypatch).exit_code == 1


def test_what_is_safe_to_release_is_in_the_output(consul: FakeConsul, monkeypatch: pytest.MonkeyPatch) -> None:
    own(consul)
    output = typed(consul, monkeypatch).output
    assert f"To release: {RELEASE}; or, where ACLs are on, give the service a token that can only read." in output
    assert "Do not point one that registers itself at the shared agent" in output


def test_piped_it_is_a_line_a_service_with_tabs_between(consul: FakeConsul, monkeypatch: pytest.MonkeyPatch) -> None:
    own(consul)
    lines = typed(consul, monkeypatch).output.splitlines()
    assert lines[1].split("\t") == [
        BILLING,
        "passing isa-billing:8216",
        f"passing heartbeat, isa-billing:8216 on {SERVER}",
        "release",
        RELEASE,
    ]


def test_as_json_each_service_has_what_is_to_change(consul: FakeConsul, monkeypatch: pytest.MonkeyPatch) -> None:
    own(consul)
    first, second = json.loads(typed(consul, monkeypatch, "--json").output)
    assert (first["service"], first["step"], first["can_drop"]) == (BILLING, "release", True)
    assert first["to_state"] == ""
    assert first["own"][0] == {
        "id": "billing-1",
        "node": SERVER,
        "at": "isa-billing:8216",
        "status": "passing",
        "heartbeat": "passing",
        "tags": [],
        "meta": {},
    }
    assert second["step"] == "done"
