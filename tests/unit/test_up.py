from dataclasses import replace

import pytest

from operations.up import wait_for_passing
from tests.fake_consul import FakeConsul, running
from tests.unit.stacks import stack_at, two_services


@pytest.mark.parametrize(
    ("registration", "line"), [("agent", "0 of 2 passing"), ("catalog", "2 of 2 passing")], ids=["agent", "catalog"]
)
def test_what_is_waited_for_is_on_the_node_of_the_registration(registration: str, line: str) -> None:
    lines: list[str] = []
    with running(FakeConsul()) as consul:
        for service in two_services().services:
            consul.add("staging-external", service.id, service.name, {"Status": "passing"})
        config = {"registration": registration, "docker": registration != "agent"}
        stack = stack_at(consul.address, consul.address, two_services(), **config)
        wait_for_passing(replace(stack, engine=replace(stack.engine, print_line=lines.append)), seconds=0)
    assert lines == [line]
