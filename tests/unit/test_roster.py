import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from services import roster as roster_module
from services.ai_services import AI, ai_service
from services.checks import HttpCheck, TcpCheck, TtlCheck
from services.consul_definition import check_target, definition
from services.environment import Environment, Location
from services.group import Group, Options
from services.grpc_services import GRPC, grpc_service
from services.model import Service, TaggedAddress, Weights
from services.roster import Roster, RosterError, load_roster
from services.user_services import USER
from tests.forty_services import FORTY, Line, forty_roster

pytestmark = pytest.mark.real_roster

STAGING = Environment("staging")


def service(**changes: Any) -> Service:  # noqa: ANN401 - any field of a service
    return Service(**{**dict(USER.service(STAGING, "billing", 8216)), **changes})


def check(check_id: str) -> HttpCheck:
    return HttpCheck(
        id=check_id,
        interval=timedelta(seconds=10),
        timeout=timedelta(seconds=5),
        deregister_critical_service_after=timedelta(seconds=90),
    )


# The project's own roster, whatever it holds


def test_the_roster_is_valid_and_each_group_has_services_of_its_own_kind_alone() -> None:
    roster = load_roster(STAGING)
    groups = [kind for kind in ("user", "ai", "grpc") for _ in roster.of_kind(kind)]
    assert [each.kind for each in roster.services] == groups
    assert len(roster) > 0


# A group


def test_each_service_of_a_group_has_what_its_line_states() -> None:
    assert [_facts(each) for each in forty_roster().services] == [_line_facts(line) for line in FORTY]


def _facts(each: Service) -> tuple[object, ...]:
    [only] = each.checks
    assert isinstance(only, HttpCheck | TcpCheck)
    assert only.deregister_critical_service_after
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
        USER.service(STAGING, "billing", 8216, interval=timedelta(seconds=20)),
        ai_service(STAGING, "mcp", 8081, interval=timedelta(seconds=20)),
        grpc_service(STAGING, "minio", 50051, "storage", interval=timedelta(seconds=20)),
    ],
    ids=["user", "ai", "grpc"],
)
def test_a_line_may_give_an_interval_of_its_own(made: Service) -> None:
    [check] = made.checks
    assert not isinstance(check, TtlCheck)
    assert check.interval == timedelta(seconds=20)


@pytest.mark.parametrize(
    ("made", "group"),
    [
        (USER.service(STAGING, "billing", 8216), USER),
        (ai_service(STAGING, "mcp", 8081), AI),
        (grpc_service(STAGING, "minio", 50051, "storage"), GRPC),
    ],
    ids=["user", "ai", "grpc"],
)
def test_a_line_without_a_check_has_that_of_its_group(made: Service, group: Group) -> None:
    assert made.checks == (group.check.model_copy(update={"id": made.checks[0].id}),)


# What a line can say


def test_a_line_may_give_a_path_of_its_own() -> None:
    made = USER.service(STAGING, "billing", 8216, path="/ready")
    assert check_target(made, made.checks[0]) == "http://isa-billing:8216/ready"


def test_tags_and_meta_of_a_line_stand_beside_the_groups() -> None:
    made = grpc_service(STAGING, "minio", 50051, "storage", tags=("preferred",), meta={"base_path": "/api/v1/minio"})
    assert made.tags == ("v1", "grpc", "infrastructure", "staging", "storage", "preferred")
    assert made.meta == {
        "version": "v1",
        "environment": "staging",
        "team": "infrastructure",
        "protocol": "grpc",
        "base_path": "/api/v1/minio",
    }


def test_checks_of_a_line_stand_in_the_place_of_the_groups_and_are_named_after_the_service() -> None:
    made = USER.service(STAGING, "billing", 8216, checks=(HttpCheck(path="/ready"), TcpCheck(port=9000), TtlCheck()))
    assert [each.id for each in made.checks] == [
        "billing_service-health",
        "billing_service-tcp",
        "billing_service-ttl",
    ]


def test_a_container_or_a_host_of_its_own_is_where_a_service_is_found() -> None:
    assert USER.service(STAGING, "billing", 8216, container="billing-1").host == "billing-1"
    elsewhere = USER.service(STAGING, "billing", 8216, host="10.0.0.7")
    assert (elsewhere.host, elsewhere.container) == ("10.0.0.7", "isa-billing")


def test_a_group_of_ones_own_is_its_tags_its_meta_and_its_check() -> None:
    batch = Group(
        kind="batch",
        title="Batch jobs",
        suffix="_job",
        tags=("v1", "batch"),
        meta={"team": "data"},
        check=TtlCheck(ttl=timedelta(minutes=5), deregister_critical_service_after=None),
    )
    assert definition(batch.service(STAGING, "invoice", None)) == {
        "id": "invoice_job",
        "name": "invoice_job",
        "address": "isa-invoice-job",
        "port": 0,
        "tags": ["v1", "batch", "staging"],
        "meta": {"version": "v1", "environment": "staging", "team": "data"},
        "checks": {
            "invoice_job-ttl": {
                "name": "invoice_job TTL",
                "ttl": "5m0s",
            }
        },
    }


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({"weights": Weights(passing=10, warning=0)}, {"weights": {"passing": 10, "warning": 0}}),
        ({"enable_tag_override": True}, {"enable_tag_override": True}),
        (
            {"tagged_addresses": {"wan": TaggedAddress(address="billing.example", port=443)}},
            {"tagged_addresses": {"wan": {"address": "billing.example", "port": 443}}},
        ),
        ({"tagged_addresses": {"lan": TaggedAddress(address="isa-billing", port=8216)}}, {}),
        ({"weights": Weights()}, {}),
    ],
)
def test_a_field_of_a_line_is_in_the_definition_unless_consul_has_it_anyway(
    options: Options, fields: dict[str, Any]
) -> None:
    stated = definition(USER.service(STAGING, "billing", 8216))
    assert definition(USER.service(STAGING, "billing", 8216, **options)) == {**stated, **fields}


# What a stack decides


def test_a_stack_may_leave_services_out() -> None:
    every = load_roster(STAGING).services
    left = load_roster(Environment("staging", left_out=frozenset({every[0].id}))).services
    assert left == every[1:]


def test_a_stack_may_have_a_service_at_another_host_or_port() -> None:
    first, second, third, *_ = load_roster(STAGING).services
    places = {first.id: Location("10.0.0.7", 9000), second.id: Location(port=9001), third.id: Location("10.0.0.8")}
    moved = load_roster(Environment("staging", "127.0.0.3", places)).services
    assert [each.address for each in moved[:3]] == ["10.0.0.7:9000", "127.0.0.3:9001", f"10.0.0.8:{third.port}"]
    assert all(check_target(each, each.checks[0]).startswith(f"http://{each.address}/") for each in moved[:3])


@pytest.mark.parametrize(
    ("environment", "key"),
    [
        (Environment("staging", left_out=frozenset({"acount_service"})), "leaveOut"),
        (Environment("staging", locations={"acount_service": Location(port=1)}), "locations"),
    ],
)
def test_an_id_that_no_service_has_is_refused_with_the_one_that_is_meant(
    edited: Callable[[str], None], environment: Environment, key: str
) -> None:
    edited("")
    with pytest.raises(RosterError) as refused:
        load_roster(environment)
    assert str(refused.value) == f"{key}: 'acount_service' is no id of a service in services/: account_service is"


def test_an_id_that_no_service_has_is_no_guess_at_one_that_only_ends_alike(edited: Callable[[str], None]) -> None:
    edited('user("ota", 8107),')
    with pytest.raises(RosterError) as refused:
        load_roster(Environment("staging", left_out=frozenset({"report_service"})))
    assert str(refused.value) == "leaveOut: 'report_service' is no id of a service in services/"


def test_a_line_that_shares_the_address_of_no_service_is_refused(edited: Callable[[str], None]) -> None:
    edited('user("invoice", 8216, same_address_as="acount_service"),')
    with pytest.raises(RosterError) as refused:
        load_roster(Environment("staging"))
    assert str(refused.value) == (
        "services/user_services.py, line 10: invoice_service: same_address_as: "
        "'acount_service' is no id of a service in services/: account_service is"
    )


def test_the_environment_is_a_tag_and_a_meta_value_of_every_service_in_place_of_any_other() -> None:
    for each in load_roster(Environment("production")).services:
        assert ("production" in each.tags, "staging" in each.tags) == (True, False)
        assert each.meta["environment"] == "production"


def test_an_empty_environment_is_refused() -> None:
    with pytest.raises(RosterError, match="tags"):
        load_roster(Environment(""))


def test_a_host_stands_for_every_container_and_the_containers_keep_their_names() -> None:
    moved, stated = load_roster(Environment("staging", "127.0.0.3")).services, load_roster(STAGING).services
    assert {each.host for each in moved} == {"127.0.0.3"}
    assert [each.container for each in moved] == [each.container for each in stated]
    assert all("127.0.0.3:" in check_target(each, each.checks[0]) for each in moved)


def test_a_host_that_is_none_is_refused() -> None:
    with pytest.raises(RosterError, match=r"'0\.0\.0\.0' is every interface, not a host"):
        load_roster(Environment("staging", "0.0.0.0"))  # noqa: S104 - refused


# What must hold for services side by side


@pytest.mark.parametrize(
    ("twins", "message"),
    [
        (
            (service(id="billing", name="a", port=1), service(id="billing", name="b", port=2, checks=[check("b")])),
            "id 'billing' is used 2 times (billing in services/user_services.py; billing in services/user_services.py)",
        ),
        (
            (service(id="a", name="a"), service(id="b", name="b", kind="ai", checks=[check("b")])),
            "address 'isa-billing:8216' is used 2 times (a in services/user_services.py; b in services/ai_services.py)",
        ),
        (
            (service(id="a", name="a", port=1), service(id="b", name="b", port=2)),
            "check id 'billing_service-health' is used 2 times (a in services/user_services.py; b in services/user",
        ),
        # The catalog's index knows no case.
        (
            (service(id="a", name="a", port=1), service(id="A", name="b", port=2, checks=[check("b")])),
            "id 'a' is used 2 times (a in services/user_services.py; A in services/user_services.py)",
        ),
        (
            (service(id="a", name="a", port=1), service(id="b", name="A", port=2, checks=[check("b")])),
            "names A and a (a in services/user_services.py; b in services/user_services.py) are one to Consul's",
        ),
        (
            (service(id="a", name="a"), service(id="b", name="b", host="ISA-billing", checks=[check("b")])),
            "address 'isa-billing:8216' is used 2 times (a in services/user_services.py; b in services/user_",
        ),
        # Registered, the second check would silently stand in for the first.
        ((service(checks=[check("same"), check("same")]),), "check id 'same' is used 2 times"),
    ],
    ids=[
        "id",
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


def test_several_instances_of_a_name_have_an_id_and_an_address_each() -> None:
    other = USER.service(STAGING, "billing", 8216, id="billing_service-2", container="isa-billing-2")
    both = Roster(services=(USER.service(STAGING, "billing", 8216), other))
    assert [each.name for each in both.services] == ["billing_service", "billing_service"]


def test_two_names_on_one_address_are_accepted_where_one_says_so() -> None:
    renamed = USER.service(STAGING, "invoice", 8216, container="isa-billing", same_address_as="billing_service")
    assert len(Roster(services=(USER.service(STAGING, "billing", 8216), renamed))) == 2


def test_a_third_name_on_one_address_has_to_say_so_too() -> None:
    here: Options = {"container": "isa"}
    names: dict[str, Options] = {
        "billing": here,
        "invoice": {**here, "same_address_as": "billing_service"},
        "receipt": here,
    }
    services = [USER.service(STAGING, name, 8216, **own) for name, own in names.items()]
    with pytest.raises(ValidationError, match="say so in a line: same_address_as='billing_service'"):
        Roster(services=tuple(services))


def test_services_without_a_port_stand_side_by_side_in_one_container() -> None:
    jobs = (USER.service(STAGING, name, None, container="isa-jobs", checks=(TtlCheck(),)) for name in ("a", "b"))
    assert len(Roster(services=tuple(jobs))) == 2


def test_two_services_with_one_port_on_two_hosts_are_accepted() -> None:
    pair = (service(), service(id="b", name="b", host="isa-b", checks=[check("b")]))
    assert len(Roster(services=pair)) == 2


def test_a_roster_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_roster(STAGING).services = ()  # type: ignore[misc]


# A new service


def test_one_more_entry_is_one_more_service_and_changes_no_other() -> None:
    before = forty_roster().services
    after = Roster(services=(*before, USER.service(STAGING, "search", 8228)))
    new = [definition(each) for each in after.services if each not in before]
    assert [each["name"] for each in new] == ["search_service"]
    assert len(after) == len(before) + 1


# A mistake in a group's file

TCP_FIELDS = [field for field in TcpCheck.model_fields if field != "kind"]
_FILE = """
from datetime import timedelta
from functools import partial
from services.checks import HttpCheck, TcpCheck
from services.user_services import USER
def user_services(environment):
    user = partial(USER.service, environment)
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
        monkeypatch.setattr(roster_module, "_SERVICES", ((USER, module.user_services),))

    return edit


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('user("billing", 99999),', "port: 99999: input should be less than or equal to 65535"),
        (
            'user("billing", 8216, interval=timedelta(0)),',
            "HttpCheck: interval: 0 s: must be longer than 0 s",
        ),
        (
            'user("billing", 8216, interval=30),',
            "HttpCheck: interval: 30: must be a timedelta with its unit, such as timedelta(seconds=30)",
        ),
        (
            'user("billing", 8216, interval=timedelta(minutes=2)),',
            (
                "HttpCheck: a check begins in critical, and this one can take 120 s until it passes: Consul would "
                "remove the service after 90 s. State deregister_critical_service_after=None, or a longer time"
            ),
        ),
        (
            'user("billing", 8216, pth="/ready"),',
            f"pth: there is no such field, but {', '.join(Options.__annotations__)}",
        ),
        (
            'user("billing", 8216, checks=(TcpCheck(path="/ready"),)),',
            f"TcpCheck: path: there is no such field, but {', '.join(TCP_FIELDS)}",
        ),
        ('user("billing", 8216, checks=HttpCheck()),', "checks: must be a tuple, which has a comma: (HttpCheck(),)"),
        ('user("billing", 8216, meta=("a", "b")),', 'meta: must be a dictionary: {"team": "billing"}'),
        (
            'user("billing_service", 8216),',
            "name: 'billing_service' must be one without _service, which its group adds",
        ),
        ('user("", 8216),', "name: '' must be one without _service, which its group adds"),
        (
            'user("billing", 8216, tags=("v1",)),',
            "tags: 'v1' is there 2 times: with those of its group, each must be there once",
        ),
        ('user("billing", 8216, tags=("a\\nb",)),', r"tags: 'a\nb' has characters that cannot be printed"),
        (
            'user("billing", 8216, path="/ready", checks=(HttpCheck(),)),',
            "path cannot stand beside checks: put it into a check",
        ),
        (
            'user("billing", 8216, tags=("preferred")),',
            'tags: must be a tuple, which has a comma: ("preferred",)',
        ),
        ('user("bill ing", 8216),', "name: 'bill ing_service' must be 1 to 63 of the characters A-Z a-z 0-9 - _"),
        ('user("billing", 8216, container="a b"),', "container: 'a b' is neither a host name nor an IP address"),
        (
            'user("billing", 8216, path="re ady"),',
            (
                "HttpCheck: path: 're ady': must begin with / and have no spaces; a character that is not ASCII is "
                "written as %XX"
            ),
        ),
        ('usr("billing", 8216),', "name 'usr' is not defined"),
        ('user("billing"),', "Group.service() missing 1 required positional argument: 'port'"),
        ('user("billing", None),', "checks: the http check needs a port: the service has none"),
    ],
)
def test_a_mistake_in_a_line_is_one_message_with_its_file_and_line(
    edited: Callable[[str], None], line: str, message: str
) -> None:
    edited(line)
    with pytest.raises(RosterError) as refused:
        load_roster(STAGING)
    assert str(refused.value) == f"services/user_services.py, line 10: {message}"


@pytest.mark.parametrize(
    "made",
    [
        lambda: grpc_service(STAGING, "minio", 50051, "storage", tags="preferred"),  # type: ignore[arg-type]
        lambda: ai_service(STAGING, "mcp", 8081, meta="team"),  # type: ignore[arg-type]
    ],
)
def test_one_value_where_several_belong_is_refused_in_each_group(made: Callable[[], Service]) -> None:
    with pytest.raises(ValueError, match=r"must be a (tuple, which has a comma|dictionary): "):
        made()


@pytest.mark.parametrize("line", ['("billing", 8216),', "None,", "user,"])
def test_a_line_that_is_no_service_is_one_message(edited: Callable[[str], None], line: str) -> None:
    edited(line)
    with pytest.raises(RosterError) as refused:
        load_roster(STAGING)
    said = str(refused.value)
    assert said.startswith("services/user_services.py: ")
    assert said.endswith("is no service: a line is user(NAME, PORT), with a comma after it")


@pytest.mark.parametrize(
    ("name", "mistake", "message"),
    [
        ("grpc_services.py", 'user("billing", 8216', ", line {}: '(' was never closed"),
        ("user_services.py", 'USER.check = HttpCheck(path="a b")', ", line {}: path: "),
        ("ai_services.py", 'AI = Group(kind="ai")', ", line {}: Group.__init__() missing 5 required positional "),
        ("configuration_values.py", 'FOR_ALL_SERVICES = {"on": true}', ", line {}: name 'true' is not defined"),
        ("configuration_values.py", 'FOR_ALL_SERVICES = {"a b": 1}', ": FOR_ALL_SERVICES: key 'a b' must be 1 to 256 "),
        (
            "configuration_values.py",
            "FOR_ALL_SERVICES = None",
            ": FOR_ALL_SERVICES: Input should be a valid dictionary",
        ),
        ("roster.py", "from services.batch_services import BATCH", ", line {}: No module named 'services.batch_serv"),
    ],
)
def test_a_mistake_in_what_a_file_says_is_one_message_with_its_place(
    tmp_path: Path, name: str, mistake: str, message: str
) -> None:
    project = Path(roster_module.__file__).parents[1]
    shutil.copytree(project / "services", tmp_path / "services")
    with (tmp_path / "services" / name).open("a") as file:
        file.write(f"\n\n{mistake}\n")
    line = len((project / "services" / name).read_text().splitlines()) + 3
    command = (sys.executable, "-m", "operations", "status")
    run = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(project)}, capture_output=True, text=True, check=False
    )
    assert run.stderr.startswith(f"error: services/{name}{message.format(line)}")
    assert (run.returncode, run.stderr.count("\n")) == (2, 1)


def test_two_lines_that_want_the_same_are_one_message_that_names_both(edited: Callable[[str], None]) -> None:
    edited('user("account", 8202),')
    with pytest.raises(RosterError) as refused:
        load_roster(STAGING)
    assert str(refused.value) == (
        "id 'account_service' is used 2 times (account_service in services/user_services.py, line 9; account_service "
        "in services/user_services.py, line 10): it must be unique"
    )
