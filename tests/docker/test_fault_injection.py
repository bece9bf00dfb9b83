"""What Docker refuses, or what dies on the way, the next `up` completes: some of what `make faults` tries."""

from collections.abc import Iterator

import pytest

from tests.docker.fault_injection import Laboratory, State, laboratory

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def lab() -> Iterator[Laboratory]:
    with laboratory() as lab:
        assert lab.start(State("four")) == []
        yield lab


@pytest.mark.parametrize(
    ("fault", "at"),
    [
        ("engine killed", 10),
        ("server dies", 7),
        ("agent dies", 4),
        ("500", 3),
        ("500", 7),  # the files of the agent's configuration
        ("500", 15),  # the agent's network
        ("no answer", 5),
        ("answer lost", 1),
        ("answer lost", 4),
    ],
)
def test_a_replacement_of_the_agent_that_was_broken_is_completed_by_the_next_up(
    lab: Laboratory, fault: str, at: int
) -> None:
    assert lab.inject(State("another agent", retry=f"{10 + at}s"), fault, at) == (True, [])


def test_a_service_whose_removal_the_dead_server_did_not_hear_of_is_gone_from_the_catalog(lab: Laboratory) -> None:
    lab.deploy(State("five", added=True))
    assert lab.inject(State("four"), "server dies", 1) == (True, [])


@pytest.mark.parametrize("fault", ["500", "answer lost"])
def test_a_container_that_was_not_connected_to_its_network_is_made_again(lab: Laboratory, fault: str) -> None:
    assert lab.inject(State("five", added=True), fault, 4) == (True, [])
    assert lab.inject(State("four"), "", 0) == (False, [])


def test_a_service_whose_agent_died_before_it_removed_it_is_gone_when_the_agent_is_back(lab: Laboratory) -> None:
    lab.deploy(State("five", added=True))
    assert lab.inject(State("four"), "agent dies", 1) == (True, [])


def test_a_service_keeps_its_maintenance_where_the_server_dies_while_it_moves_to_definition_files(
    lab: Laboratory,
) -> None:
    lab.deploy(State("catalog", {"registration": "catalog"}))
    assert lab.inject(State("files", {"registration": "files"}), "server dies", 1) == (True, [])


def test_a_fault_that_did_not_strike_is_no_success(lab: Laboratory) -> None:
    struck, _ = lab.inject(State("four"), "500", 1000)
    assert not struck
