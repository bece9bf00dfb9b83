"""What was broken at a step, in one of the ways, the next plain `up` completes: some of what `make faults` tries."""

from collections.abc import Iterator

import pytest

from tests.broken_requests import Kind
from tests.local.fault_injection import Laboratory, laboratory


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    with laboratory(tmp_path_factory.mktemp("faults")) as lab:
        yield lab


@pytest.mark.parametrize(
    ("change", "at", "kind"),
    [
        ("create", 3, "kill after"),
        ("create", 7, "answer lost"),
        ("edit", 6, "kill before"),
        ("edit", 9, "500"),
        ("remove all", 5, "no answer"),
        ("remove all", 7, "403"),
    ],
)
def test_a_deployment_that_was_broken_is_completed_by_the_next(
    lab: Laboratory, change: str, at: int, kind: Kind
) -> None:
    assert lab.inject(change, at, kind) == []


def test_a_service_that_was_left_out_is_seen(lab: Laboratory) -> None:
    four = lab.changes["create"].after
    assert lab.inject("create", 3, "kill after") == []
    lab.stack.consul.deregister("mcp_service")
    assert any(each.startswith("on the agent: ") for each in lab.violations(four))


def test_a_fault_that_did_not_strike_is_no_success(lab: Laboratory) -> None:
    assert lab.inject("create", 1000, "500") == ["create 1000 500: nothing was broken"]
