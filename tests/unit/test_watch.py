"""What `watch` makes of what Consul says, and how it says it."""

import json
import re
import time
from collections.abc import Iterator, Mapping
from io import StringIO
from itertools import islice

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from consul_cluster.client import Consul, ConsulError, NoAnswerError
from consul_cluster.health_status import service_statuses
from operations.pulumi_engine import EngineError
from operations.stack import Stack
from operations.watch import status_stream as feeding
from operations.watch import watch as command
from operations.watch.events import Away, Back, Changed, Started, fields, line
from operations.watch.screen import screen
from operations.watch.service_board import Board
from operations.watch.status_stream import host_stream, stack_stream
from services.field_types import OWNER_KEY
from tests.fake_consul import AGENT, SERVER, FakeConsul, running
from tests.forty_services import forty_roster
from tests.unit.stacks import consul_of, only_stack, stack_at

ROSTER = forty_roster()
OWNER_PREFIX = "pulumi/consul-staging/local/"
GONE = NoAnswerError("GET http://127.0.0.2:8500/v1/health/node/x: no answer: refused")


def statuses(**others: str) -> dict[str, str]:
    return {**{service.id: "passing" for service in ROSTER.services}, **others}


def board() -> Board:
    return Board(ROSTER, AGENT)


@pytest.fixture(name="clock")
def _clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


# A service's status


def check(service_id: str, status: str) -> dict[str, str]:
    return {"CheckID": "", "ServiceID": service_id, "Status": status}


@pytest.mark.parametrize("first", ["passing", "warning", "critical"])
@pytest.mark.parametrize("second", ["passing", "warning", "critical"])
def test_a_services_status_is_the_worst_of_its_checks(first: str, second: str) -> None:
    found = service_statuses([check("billing_service", first), check("billing_service", second)], ROSTER)
    assert found["billing_service"] == max(first, second, key=["passing", "warning", "critical"].index)


def test_a_service_on_a_dead_node_is_critical_whatever_its_last_check_was() -> None:
    found = service_statuses([check("", "critical"), check("billing_service", "passing")], ROSTER)
    assert found["billing_service"] == "critical"


def test_a_service_without_a_check_is_missing() -> None:
    assert service_statuses([check("", "passing")], ROSTER)["billing_service"] == "missing"


# The board


def test_the_first_look_is_one_event_and_no_change() -> None:
    (event,) = board().take(statuses())
    assert isinstance(event, Started)


def test_the_same_again_is_no_event() -> None:
    here = board()
    here.take(statuses())
    assert here.take(statuses()) == []


def test_a_change_names_the_service_and_both_statuses() -> None:
    here = board()
    here.take(statuses())
    (event,) = here.take(statuses(billing_service="critical"))
    assert isinstance(event, Changed)
    assert (event.service, event.old, event.new) == ("billing_service", "passing", "critical")


def test_what_has_not_changed_is_so_since_the_start() -> None:
    here = board()
    here.take(statuses())
    assert here.seconds("billing_service") is None


def test_a_change_starts_the_time_in_the_new_state(clock: list[float]) -> None:
    here = board()
    here.take(statuses())
    here.take(statuses(billing_service="critical"))
    clock[0] += 12
    assert here.seconds("billing_service") == 12
    assert here.seconds("auth_service") is None


def test_a_second_change_has_how_long_the_first_state_was(clock: list[float]) -> None:
    here = board()
    here.take(statuses())
    here.take(statuses(billing_service="critical"))
    clock[0] += 12
    (event,) = here.take(statuses())
    assert isinstance(event, Changed)
    assert event.seconds == 12


def test_consul_away_is_one_event_and_its_return_another() -> None:
    here = board()
    here.take(statuses())
    kinds = [[event.kind for event in here.take(said)] for said in (GONE, GONE, statuses(), statuses())]
    assert kinds == [["away"], [], ["back"], []]


def test_what_changed_while_consul_was_away_is_an_event_when_it_is_back() -> None:
    here = board()
    here.take(statuses())
    here.take(GONE)
    assert [event.kind for event in here.take(statuses(billing_service="critical"))] == ["back", "change"]


def test_consul_away_at_the_start_is_an_event_too() -> None:
    here = board()
    assert [event.kind for event in (*here.take(GONE), *here.take(statuses()))] == ["away", "back", "start"]


# The events


NOW = board().take(GONE)[0].time


def test_a_change_is_a_line_with_time_service_old_and_new() -> None:
    said = line(Changed(NOW, "billing_service", "passing", "critical", None))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d billing_service passing -> critical", said)


def test_the_first_line_counts_and_names_what_does_not_pass() -> None:
    said = Started(NOW, AGENT, statuses(billing_service="critical")).text
    assert said == "39 of 40 passing on consul-agent-shared: billing_service critical"


def test_the_first_line_of_40_that_pass_is_short() -> None:
    assert Started(NOW, AGENT, statuses()).text == "40 of 40 passing on consul-agent-shared"


@pytest.mark.parametrize(
    ("event", "own"),
    [
        (Started(NOW, AGENT, {"a": "passing"}), {"event": "start", "node": AGENT, "statuses": {"a": "passing"}}),
        (
            Changed(NOW, "a", "passing", "critical", 1.5),
            {"event": "change", "service": "a", "old": "passing", "new": "critical", "seconds": 1.5},
        ),
        (Away(NOW, "why"), {"event": "away", "reason": "why"}),
        (Back(NOW), {"event": "back"}),
    ],
)
def test_an_event_for_machines_has_its_fields(event: Started | Changed | Away | Back, own: dict[str, object]) -> None:
    assert json.loads(json.dumps(fields(event))) == {"time": NOW.isoformat(timespec="milliseconds"), **own}


# The feed


@pytest.fixture(name="fake")
def _fake() -> FakeConsul:
    return consul_of(stack_at(None, "http://127.0.0.1:1", ROSTER, registration="files", docker=True))


@pytest.fixture(name="fed")
def _fed(fake: FakeConsul, monkeypatch: pytest.MonkeyPatch) -> Iterator[Iterator[Mapping[str, str] | ConsulError]]:
    monkeypatch.setattr(feeding, "_PAUSE", 0)
    with running(fake):
        stack = stack_at(fake.address, fake.address, ROSTER)
        yield host_stream(stack, stack.hosts[0])


Fed = Iterator[Mapping[str, str] | ConsulError]


def test_the_feed_begins_with_what_is(fed: Fed) -> None:
    assert next(fed) == statuses()


def test_over_several_hosts_a_state_that_cannot_be_read_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_credentials(_: Stack) -> Consul:
        raise EngineError("incorrect passphrase")

    stack = stack_at("http://127.0.0.1:1", "http://127.0.0.1:1", ROSTER)
    monkeypatch.setattr(Stack, "hosts", stack.hosts * 2)
    monkeypatch.setattr(Stack, "consul", property(no_credentials))
    with pytest.raises(EngineError, match="incorrect passphrase"):
        next(stack_stream(stack))


def test_a_change_ends_the_wait_at_once(fake: FakeConsul, fed: Fed) -> None:
    next(fed)
    fake.set_status("billing_service-health", "critical")
    started = time.monotonic()
    assert next(fed) == statuses(billing_service="critical")
    assert time.monotonic() - started < 0.5


@pytest.mark.parametrize(
    ("owner", "status"), [(f"{OWNER_PREFIX}registration", "drained"), ("nobody of the stack", "missing")]
)
def test_a_service_that_is_drained_is_told_from_one_that_is_missing(
    fake: FakeConsul, fed: Fed, owner: str, status: str
) -> None:
    next(fed)
    fake.remove(AGENT, "billing_service")
    fake.nodes[SERVER]["Services"]["billing_service"] = {"Service": "billing_service", "Meta": {OWNER_KEY: owner}}
    fake.index += 1
    assert next(fed) == statuses(billing_service=status)


def test_it_asks_with_the_index_of_the_last_answer_and_a_wait(fake: FakeConsul, fed: Fed) -> None:
    fake.index = 7
    next(fed)
    fake.set_status("billing_service-health", "critical")
    next(fed)
    assert [request.query for request in fake.requests] == [
        {"index": ["0"], "wait": ["10s"]},
        {"index": ["7"], "wait": ["10s"]},
    ]


def test_an_index_that_went_back_is_asked_anew(fake: FakeConsul, fed: Fed) -> None:
    fake.index = 7
    next(fed)
    fake.index = 3
    list(islice(fed, 2))
    assert fake.requests[-1].query["index"] == ["0"]


def test_a_consul_that_fails_is_reported_without_retries_and_asked_again(fake: FakeConsul, fed: Fed) -> None:
    next(fed)
    fake.refuses, fake.index = (500, "No cluster leader"), 2
    said = next(fed)
    assert "Consul answers 500: No cluster leader" in str(said)
    assert len(fake.requests) == 2
    fake.refuses = None
    assert next(fed) == statuses()
    assert fake.requests[-1].query["index"] == ["0"]  # at once, and not when something changes


# What is printed


def run(monkeypatch: pytest.MonkeyPatch, *said: Mapping[str, str] | ConsulError, **options: bool) -> str:
    """Return what the command prints of a feed that a Ctrl-C ends; it must end with 0."""

    def fed(*_: object) -> Iterator[Mapping[str, str] | ConsulError]:
        yield from said
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "stack_stream", fed)
    only_stack(monkeypatch, target)
    app = typer.Typer()
    app.command()(command.watch)
    result = CliRunner().invoke(app, [f"--{name}" for name, on in options.items() if on])
    assert result.exit_code == 0, result.output
    return result.stdout


def target() -> Stack:
    return stack_at(None, "http://127.0.0.1:1", registration="files", docker=True)


def test_piped_it_prints_a_line_for_each_change(monkeypatch: pytest.MonkeyPatch) -> None:
    said = run(monkeypatch, statuses(), statuses(billing_service="critical"), statuses()).splitlines()
    assert [each.partition(" ")[2] for each in said] == [
        "40 of 40 passing on consul-agent-shared",
        "billing_service passing -> critical",
        "billing_service critical -> passing",
    ]


def test_piped_it_prints_that_consul_is_away_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    said = run(monkeypatch, statuses(), GONE, statuses(billing_service="critical")).splitlines()
    assert [each.partition(" ")[2] for each in said[1:]] == [
        f"no news: {GONE}",
        "news again: Consul answers",
        "billing_service passing -> critical",
    ]


def test_piped_it_has_no_escape_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in run(monkeypatch, statuses(), GONE, statuses(billing_service="critical"))


def test_json_is_an_object_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    said = run(monkeypatch, statuses(), statuses(billing_service="critical"), json=True).splitlines()
    assert [json.loads(each)["event"] for each in said] == ["start", "change"]


def shown(here: Board) -> str:
    printed = StringIO()
    Console(file=printed, width=120, highlight=False).print(screen(here))
    return "\n".join(each.rstrip() for each in printed.getvalue().splitlines())


def test_the_screen_has_each_service_under_its_type_with_its_status() -> None:
    here = board()
    here.take(statuses())
    user, ai, grpc = re.split("AI services|gRPC infrastructure", shown(here).partition("User microservices")[2])
    assert [part.count("passing ") for part in (user, ai, grpc)] == [28, 3, 9]


def test_the_screen_has_since_when(clock: list[float]) -> None:
    here = board()
    here.take(statuses())
    here.take(statuses(billing_service="critical"))
    clock[0] += 12
    said = shown(here)
    assert "critical billing_service 12 s" in said
    assert said.count("since start") == 39


def test_the_screen_begins_with_what_does_not_pass() -> None:
    here = board()
    here.take(statuses(memory_service="critical"))
    assert shown(here).splitlines()[:2] == [
        "39 passing, 1 critical on consul-agent-shared. Ctrl-C ends",
        "critical memory_service since start",
    ]


def test_the_screen_keeps_what_was_known_while_consul_is_away() -> None:
    here = board()
    here.take(statuses())
    here.take(GONE)
    said = shown(here)
    assert "no news: GET http://127.0.0.2:8500" in said
    assert said.count("passing ") == 40 + 1


def test_the_screen_before_any_news_is_one_line() -> None:
    assert shown(board()).startswith("no news yet")
