from datetime import timedelta
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import ValidationError

from services import roster as roster_module
from services.definition import check_target, definition
from services.group import Platform
from services.model import HttpCheck, Kind, Service, TcpCheck
from services.roster import RosterError, roster
from services.rules import Roster
from tests.unit.guide import GUIDE, Line

STAGING = {service.name: service for service in roster().services}

every_line = pytest.mark.parametrize("line", GUIDE, ids=lambda line: line.name)


def service(**changes: Any) -> Service:  # noqa: ANN401 - any field of a service
    return Service(**{**dict(Platform("staging").user("billing", 8216)), **changes})


def check(check_id: str) -> HttpCheck:
    return HttpCheck(
        id=check_id,
        interval=timedelta(seconds=10),
        timeout=timedelta(seconds=5),
        deregister_critical_service_after=timedelta(seconds=90),
    )


# What is on it


def test_it_holds_40_services() -> None:
    assert len(roster()) == 40


@pytest.mark.parametrize(("kind", "count"), [("user", 28), ("ai", 3), ("grpc", 9)])
def test_a_group_holds_as_many_services_as_the_guide_counts(kind: Kind, count: int) -> None:
    assert len(list(roster().of_kind(kind))) == count


@pytest.mark.parametrize("kind", ["user", "ai", "grpc"])
def test_a_group_holds_the_guides_names_in_the_guides_order(kind: Kind) -> None:
    assert [each.name for each in roster().of_kind(kind)] == [line.name for line in GUIDE if line.kind == kind]


def test_the_28th_user_service_is_document_service_on_8227() -> None:
    # The guide counts 28 and lists 27.
    last = list(roster().of_kind("user"))[27]
    assert (last.name, last.port) == ("document_service", 8227)


# Each of its services


@every_line
def test_an_id_is_the_name(line: Line) -> None:
    assert STAGING[line.name].id == line.name


@every_line
def test_a_port_is_the_guides(line: Line) -> None:
    assert STAGING[line.name].port == line.port


@every_line
def test_a_service_has_a_container_of_its_own(line: Line) -> None:
    assert STAGING[line.name].container == line.container


@every_line
def test_a_service_is_at_its_container(line: Line) -> None:
    assert STAGING[line.name].host == line.container


@every_line
def test_tags_are_those_of_the_group(line: Line) -> None:
    assert STAGING[line.name].tags == tuple(line.tags)


@every_line
def test_meta_is_that_of_the_group(line: Line) -> None:
    assert STAGING[line.name].meta == line.meta


@every_line
def test_a_service_has_one_check_of_its_groups_kind(line: Line) -> None:
    assert [type(each) for each in STAGING[line.name].checks] == [TcpCheck if line.kind == "grpc" else HttpCheck]


@every_line
def test_a_check_id_begins_with_its_services_name(line: Line) -> None:
    assert STAGING[line.name].checks[0].id == line.check_id


@every_line
def test_a_check_connects_to_its_service(line: Line) -> None:
    found = STAGING[line.name]
    assert check_target(found, found.checks[0]) == line.target


@every_line
def test_http_is_checked_every_10_s_and_tcp_every_30_s(line: Line) -> None:
    assert STAGING[line.name].checks[0].interval == timedelta(seconds=30 if line.kind == "grpc" else 10)


@every_line
def test_http_has_5_s_to_answer_and_tcp_3_s(line: Line) -> None:
    assert STAGING[line.name].checks[0].timeout == timedelta(seconds=3 if line.kind == "grpc" else 5)


@every_line
def test_a_service_is_deregistered_after_90_s_critical(line: Line) -> None:
    assert STAGING[line.name].checks[0].deregister_critical_service_after == timedelta(seconds=90)


@pytest.mark.parametrize(
    "made",
    [
        Platform("staging").user("billing", 8216, interval=timedelta(seconds=20)),
        Platform("staging").ai("mcp", 8081, interval=timedelta(seconds=20)),
        Platform("staging").grpc("minio", 50051, "storage", interval=timedelta(seconds=20)),
    ],
    ids=["user", "ai", "grpc"],
)
def test_a_line_may_give_an_interval_of_its_own(made: Service) -> None:
    assert made.checks[0].interval == timedelta(seconds=20)


# What a stack decides


def test_the_environment_becomes_a_tag_of_every_service() -> None:
    assert all("production" in each.tags for each in roster("production").services)


def test_the_environment_becomes_a_meta_value_of_every_service() -> None:
    assert {each.meta["environment"] for each in roster("production").services} == {"production"}


def test_no_service_keeps_the_tag_of_another_environment() -> None:
    assert not any("staging" in each.tags for each in roster("production").services)


def test_an_empty_environment_is_refused() -> None:
    with pytest.raises(RosterError, match="tags"):
        roster("")


def test_a_host_stands_for_every_container() -> None:
    assert {each.host for each in roster(host="127.0.0.3").services} == {"127.0.0.3"}


@every_line
def test_a_check_connects_to_the_host_that_stands_for_its_container(line: Line) -> None:
    found = {each.name: each for each in roster(host="127.0.0.3").services}[line.name]
    assert check_target(found, found.checks[0]) == line.target.replace(line.container, "127.0.0.3")


def test_a_host_leaves_the_containers_their_names() -> None:
    assert [each.container for each in roster(host="127.0.0.3").services] == [line.container for line in GUIDE]


def test_a_host_that_is_none_is_refused() -> None:
    with pytest.raises(RosterError, match=r"'0\.0\.0\.0' is every interface, not a host"):
        roster(host="0.0.0.0")  # noqa: S104 - refused


# What must hold for services side by side


def test_two_services_with_one_id_are_refused() -> None:
    twins = (service(id="billing", name="a", port=1), service(id="billing", name="b", port=2, checks=[check("b")]))
    with pytest.raises(ValidationError, match=r"id 'billing' is used 2 times \(billing, billing\)"):
        Roster(services=twins)


def test_two_services_with_one_name_are_refused() -> None:
    twins = (service(id="a", name="billing", port=1), service(id="b", name="billing", port=2, checks=[check("b")]))
    with pytest.raises(ValidationError, match=r"name 'billing' is used 2 times \(a, b\)"):
        Roster(services=twins)


def test_two_services_at_one_host_and_port_are_refused() -> None:
    twins = (service(id="a", name="a"), service(id="b", name="b", checks=[check("b")]))
    with pytest.raises(ValidationError, match=r"address 'isa-billing:8216' is used 2 times \(a, b\)"):
        Roster(services=twins)


def test_two_services_with_one_check_id_are_refused() -> None:
    twins = (service(id="a", name="a", port=1), service(id="b", name="b", port=2))
    with pytest.raises(ValidationError, match=r"check id 'billing_service-health' is used 2 times \(a, b\)"):
        Roster(services=twins)


def test_one_service_with_two_checks_of_one_id_is_refused() -> None:
    # Registered, the second would silently stand in for the first.
    with pytest.raises(ValidationError, match="check id 'same' is used 2 times"):
        Roster(services=(service(checks=[check("same"), check("same")]),))


def test_a_refusal_names_the_file_to_mend() -> None:
    with pytest.raises(ValidationError, match=r"services/roster\.py: "):
        Roster(services=(service(), service()))


def test_two_services_with_one_port_on_two_hosts_are_accepted() -> None:
    pair = (service(), service(id="b", name="b", host="isa-b", checks=[check("b")]))
    assert len(Roster(services=pair)) == 2


def test_a_roster_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        roster().services = ()  # type: ignore[misc]


# Names and DNS


def test_consuls_dns_answers_for_none_of_the_guides_names() -> None:
    assert roster().not_in_dns == tuple(line.name for line in GUIDE)


def test_a_name_with_an_underscore_is_not_in_dns() -> None:
    assert not service(name="billing_service").in_dns


def test_a_name_with_a_dash_is_in_dns() -> None:
    assert service(name="billing-service").in_dns


def test_a_roster_leaves_names_that_are_in_dns_out_of_those_that_are_not() -> None:
    pair = (service(), service(id="b", name="search-service", port=8228, checks=[check("b")]))
    assert Roster(services=pair).not_in_dns == ("billing_service",)


# A new service


def test_one_more_entry_is_one_more_service_and_changes_no_other() -> None:
    before = roster().services
    after = Roster(services=(*before, Platform("staging").user("search", 8228)))
    new = [definition(each) for each in after.services if each not in before]
    assert [each["name"] for each in new] == ["search_service"]
    assert len(after) == 41


# A mistake in it


def edited(folder: Path, line: str, by: str) -> ModuleType:
    """The roster with another line in the place of one of its own."""
    source = Path(roster_module.__file__).read_text()
    assert source.count(line) == 1
    (folder / "roster.py").write_text(source.replace(line, by))
    spec = spec_from_file_location("edited", folder / "roster.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BILLING = 'platform.user("billing", 8216),'


@pytest.mark.parametrize(
    ("by", "said"),
    [
        ('platform.user("billing", 99999),', "port: 99999: input should be less than or equal to 65535"),
        (
            'platform.user("billing", 8216, timedelta(0)),',
            "interval: datetime.timedelta(0): value error, must be longer than 0 s",
        ),
    ],
    ids=["port", "interval"],
)
def test_a_mistake_in_an_entry_is_one_line_that_names_where_it_stands(tmp_path: Path, by: str, said: str) -> None:
    module = edited(tmp_path, BILLING, by)
    module.timedelta = timedelta  # type: ignore[attr-defined]
    number = 1 + (tmp_path / "roster.py").read_text().splitlines().index(f"        {by}")
    with pytest.raises(Exception, match=r"services/roster\.py") as raised:
        module.roster()
    assert (type(raised.value).__name__, str(raised.value)) == (
        "RosterError",
        f"services/roster.py, line {number}: {said}",
    )


def test_two_entries_that_want_the_same_are_one_line_that_names_both(tmp_path: Path) -> None:
    module = edited(tmp_path, BILLING, f'{BILLING} platform.user("billing", 8217),')
    with pytest.raises(Exception, match="billing_service") as raised:
        module.roster()
    assert str(raised.value) == (
        "services/roster.py: id 'billing_service' is used 2 times (billing_service, billing_service): it must be unique"
    )
