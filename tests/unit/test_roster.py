import importlib.util
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import ValidationError

from services import ai_services, grpc_services, user_services
from services import roster as roster_module
from services.ai_services import ai_service
from services.consul_definition import check_target, definition
from services.environment import Environment
from services.grpc_services import grpc_service
from services.model import HttpCheck, Service, TcpCheck
from services.roster import Roster, RosterError, load_roster
from services.user_services import user_service
from tests.forty_services import FORTY, Line, forty_roster

pytestmark = pytest.mark.real_roster

STAGING = Environment("staging")


def service(**changes: Any) -> Service:  # noqa: ANN401 - any field of a service
    return Service(**{**dict(user_service(STAGING, "billing", 8216)), **changes})


def check(check_id: str) -> HttpCheck:
    return HttpCheck(
        id=check_id,
        interval=timedelta(seconds=10),
        timeout=timedelta(seconds=5),
        deregister_critical_service_after=timedelta(seconds=90),
    )


# The project's own roster, whatever it holds


def test_the_roster_is_valid_and_each_group_has_services_of_its_own_kind_alone() -> None:
    roster = load_roster()
    groups = [kind for kind in ("user", "ai", "grpc") for _ in roster.of_kind(kind)]
    assert [each.kind for each in roster.services] == groups
    assert len(roster) > 0


# A group


def test_each_service_of_a_group_has_what_its_line_states() -> None:
    assert [_facts(each) for each in forty_roster().services] == [_line_facts(line) for line in FORTY]


def _facts(each: Service) -> tuple[object, ...]:
    [only] = each.checks
    spans = (only.interval, only.timeout, only.deregister_critical_service_after)
    names = (each.kind, each.id, each.name, each.container, each.host, each.port, each.tags, dict(each.meta))
    return *names, type(only), only.id, check_target(each, only), tuple(span.total_seconds() for span in spans)


def _line_facts(line: Line) -> tuple[object, ...]:
    grpc = line.kind == "grpc"
    names = (line.kind, line.name, line.name, line.container, line.container, line.port, tuple(line.tags), line.meta)
    return *names, TcpCheck if grpc else HttpCheck, line.check_id, line.target, (30, 3, 90) if grpc else (10, 5, 90)


@pytest.mark.parametrize(
    "made",
    [
        user_service(STAGING, "billing", 8216, interval=timedelta(seconds=20)),
        ai_service(STAGING, "mcp", 8081, interval=timedelta(seconds=20)),
        grpc_service(STAGING, "minio", 50051, "storage", interval=timedelta(seconds=20)),
    ],
    ids=["user", "ai", "grpc"],
)
def test_a_line_may_give_an_interval_of_its_own(made: Service) -> None:
    assert made.checks[0].interval == timedelta(seconds=20)


@pytest.mark.parametrize(
    ("made", "group"),
    [
        (user_service(STAGING, "billing", 8216), user_services),
        (ai_service(STAGING, "mcp", 8081), ai_services),
        (grpc_service(STAGING, "minio", 50051, "storage"), grpc_services),
    ],
    ids=["user", "ai", "grpc"],
)
def test_a_line_without_an_interval_has_that_of_its_group(made: Service, group: ModuleType) -> None:
    assert made.checks[0].interval == group.INTERVAL


# What a stack decides


def test_the_environment_is_a_tag_and_a_meta_value_of_every_service_in_place_of_any_other() -> None:
    for each in load_roster("production").services:
        assert ("production" in each.tags, "staging" in each.tags) == (True, False)
        assert each.meta["environment"] == "production"


def test_an_empty_environment_is_refused() -> None:
    with pytest.raises(RosterError, match="tags"):
        load_roster("")


def test_a_host_stands_for_every_container_and_the_containers_keep_their_names() -> None:
    moved, stated = load_roster(host="127.0.0.3").services, load_roster().services
    assert {each.host for each in moved} == {"127.0.0.3"}
    assert [each.container for each in moved] == [each.container for each in stated]
    assert all("127.0.0.3:" in check_target(each, each.checks[0]) for each in moved)


def test_a_host_that_is_none_is_refused() -> None:
    with pytest.raises(RosterError, match=r"'0\.0\.0\.0' is every interface, not a host"):
        load_roster(host="0.0.0.0")  # noqa: S104 - refused


# What must hold for services side by side


@pytest.mark.parametrize(
    ("twins", "message"),
    [
        (
            (service(id="billing", name="a", port=1), service(id="billing", name="b", port=2, checks=[check("b")])),
            "id 'billing' is used 2 times (billing in services/user_services.py, billing in services/user_services.py)",
        ),
        (
            (service(id="a", name="billing", port=1), service(id="b", name="billing", port=2, checks=[check("b")])),
            "name 'billing' is used 2 times (a in services/user_services.py, b in services/user_services.py)",
        ),
        (
            (service(id="a", name="a"), service(id="b", name="b", kind="ai", checks=[check("b")])),
            "address 'isa-billing:8216' is used 2 times (a in services/user_services.py, b in services/ai_services.py)",
        ),
        (
            (service(id="a", name="a", port=1), service(id="b", name="b", port=2)),
            "check id 'billing_service-health' is used 2 times (a in services/user_services.py, b in services/user",
        ),
        # The catalog's index knows no case.
        (
            (service(id="a", name="a", port=1), service(id="A", name="b", port=2, checks=[check("b")])),
            "id 'a' is used 2 times (a in services/user_services.py, A in services/user_services.py)",
        ),
        (
            (service(id="a", name="a", port=1), service(id="b", name="A", port=2, checks=[check("b")])),
            "name 'a' is used 2 times (a in services/user_services.py, b in services/user_services.py)",
        ),
        (
            (service(id="a", name="a"), service(id="b", name="b", host="ISA-billing", checks=[check("b")])),
            "address 'isa-billing:8216' is used 2 times (a in services/user_services.py, b in services/user_",
        ),
        # Registered, the second check would silently stand in for the first.
        ((service(checks=[check("same"), check("same")]),), "check id 'same' is used 2 times"),
    ],
    ids=[
        "id",
        "name",
        "host and port",
        "check id",
        "id in another case",
        "name in another case",
        "host in another case",
        "check id in one service",
    ],
)
def test_what_two_services_cannot_share_is_refused_with_both(twins: tuple[Service, ...], message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Roster(services=twins)
    assert message in str(refused.value)


def test_two_services_with_one_port_on_two_hosts_are_accepted() -> None:
    pair = (service(), service(id="b", name="b", host="isa-b", checks=[check("b")]))
    assert len(Roster(services=pair)) == 2


def test_a_roster_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_roster().services = ()  # type: ignore[misc]


# A new service


def test_one_more_entry_is_one_more_service_and_changes_no_other() -> None:
    before = forty_roster().services
    after = Roster(services=(*before, user_service(STAGING, "search", 8228)))
    new = [definition(each) for each in after.services if each not in before]
    assert [each["name"] for each in new] == ["search_service"]
    assert len(after) == len(before) + 1


# A mistake in a group's file

_FILE = """
from datetime import timedelta
from functools import partial
from services.user_services import user_service
def user_services(environment):
    user = partial(user_service, environment)
    return (
        user("account", 8201),
        {line}
    )
"""


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Replace the user services by those of a file with one line of the test's own."""

    def edit(line: str) -> None:
        file = tmp_path / "user_services.py"
        file.write_text(_FILE.format(line=line))
        spec = importlib.util.spec_from_file_location("edited", file)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "edited", module)
        spec.loader.exec_module(module)
        monkeypatch.setattr(roster_module, "_GROUPS", (module.user_services,))

    return edit


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('user("billing", 99999),', "port: 99999: input should be less than or equal to 65535"),
        (
            'user("billing", 8216, timedelta(0)),',
            "interval: datetime.timedelta(0): value error, must be longer than 0 s",
        ),
    ],
    ids=["port", "interval"],
)
def test_a_mistake_in_a_line_is_one_message_with_its_file_and_line(
    edited: Callable[[str], None], line: str, message: str
) -> None:
    edited(line)
    with pytest.raises(RosterError) as refused:
        load_roster()
    assert str(refused.value) == f"services/user_services.py, line 9: {message}"


def test_two_lines_that_want_the_same_are_one_message_that_names_both(edited: Callable[[str], None]) -> None:
    edited('user("account", 8202),')
    with pytest.raises(RosterError) as refused:
        load_roster()
    assert str(refused.value) == (
        "id 'account_service' is used 2 times (account_service in services/user_services.py, account_service in "
        "services/user_services.py): it must be unique"
    )
