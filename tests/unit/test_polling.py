import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from consul_cluster.client import Consul, ConsulError
from services.roster import Roster
from tests.docker.catalog_watch import watch_catalog
from tests.forty_services import forty_roster
from tests.polling import polling


@pytest.fixture
def once() -> Iterator[threading.Event]:
    """Set by the first poll; a poll that never comes fails the test that waits for it."""
    event = threading.Event()
    yield event
    assert event.is_set()


def test_a_function_is_polled_while_the_block_runs_and_no_longer(once: threading.Event) -> None:
    polls: list[int] = []

    def poll() -> None:
        polls.append(1)
        if len(polls) == 3:
            once.set()

    with polling(poll, 0.001):
        assert once.wait(10)
    after = len(polls)
    time.sleep(0.05)
    assert len(polls) == after


def test_what_a_poll_raises_fails_the_test(once: threading.Event) -> None:
    def poll() -> None:
        once.set()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), polling(poll, 0.001):
        assert once.wait(10)


def test_what_the_block_raises_comes_first(once: threading.Event) -> None:
    def poll() -> None:
        once.set()
        raise ZeroDivisionError

    nothing: dict[str, str] = {}
    with pytest.raises(KeyError), polling(poll, 0.001):
        once.wait(10) and nothing["key"]


def test_too_few_polls_fail_the_test() -> None:
    with pytest.raises(AssertionError, match="fewer than 1000000"), polling(int, 0.001, at_least=1_000_000):
        pass


class FakeCatalog(Consul):
    """A Consul whose catalog has the same checks for ever, or does not answer."""

    def __init__(self, checks: list[dict[str, Any]] | None) -> None:
        super().__init__("http://127.0.0.1:9")
        self.answer = checks
        self.requests = threading.Semaphore(0)

    def catalog_checks(self) -> list[dict[str, Any]]:
        self.requests.release()
        if self.answer is None:
            raise ConsulError("no answer")
        return self.answer

    def await_requests(self, count: int) -> None:
        for _ in range(count):
            assert self.requests.acquire(timeout=10)


ONE = Roster(services=forty_roster().services[:1])
PASSING = {"ServiceName": ONE.services[0].name, "Status": "passing"}
CRITICAL = {**PASSING, "Status": "critical"}


def test_a_catalog_that_never_answers_fails_the_test() -> None:
    catalog = FakeCatalog(None)
    with pytest.raises(AssertionError, match="the catalog answered 0 times"), watch_catalog(ONE, catalog):
        catalog.await_requests(3)


def test_the_next_way_to_the_catalog_is_taken_where_one_does_not_answer() -> None:
    catalog = FakeCatalog([PASSING])
    with watch_catalog(ONE, FakeCatalog(None), catalog) as watch:
        catalog.await_requests(12)
    assert (watch.twice, watch.missing < 1) == (set(), True)


def test_a_service_that_is_there_twice_is_noticed() -> None:
    catalog = FakeCatalog([PASSING, PASSING])
    with watch_catalog(ONE, catalog) as watch:
        catalog.await_requests(12)
    assert watch.twice == {PASSING["ServiceName"]}


def test_the_time_without_a_passing_instance_is_measured() -> None:
    catalog = FakeCatalog([CRITICAL])
    with watch_catalog(ONE, catalog) as watch:
        catalog.await_requests(12)
    assert watch.missing >= 0.1  # eleven pauses


def test_what_is_wrong_with_an_answer_fails_the_test() -> None:
    catalog = FakeCatalog([{"Status": "passing"}])
    with pytest.raises(KeyError, match="ServiceName"), watch_catalog(ONE, catalog):
        catalog.await_requests(1)
